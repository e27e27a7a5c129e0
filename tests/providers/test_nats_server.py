"""The NATS provider on servers that are set up wrongly."""

from __future__ import annotations

import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from providers.nats import KIND
from providers.nats.provider import NatsProvider
from twin.domain.errors import Blocked
from twin.domain.targets import Target
from twin.testing.steps import make_ref, make_step

PROGRAM = Path(sysconfig.get_path("scripts")) / "nats-server"
STEP = make_step({"subjects": ["work.>"]}, {"password": "a-minted-password"})


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Callable[..., NatsProvider]]:
    """Starts a server with the given lines of configuration, and opens a provider for it."""
    started: list[subprocess.Popen[str]] = []
    (accounts := tmp_path / "accounts.conf").touch()

    def start(lines: str, accounts_file: Path = accounts) -> NatsProvider:
        (tmp_path / "nats.conf").write_text(
            f'{lines}\nlisten: "127.0.0.1:-1"\nsystem_account: SYS\n'
            'accounts { SYS: { users: [{user: sys, password: "system"}] }\n include "accounts.conf" }\n'
        )
        server = subprocess.Popen([PROGRAM, "-c", tmp_path / "nats.conf"], stderr=subprocess.PIPE, text=True)
        started.append(server)
        assert server.stderr is not None
        port = 0
        for line in server.stderr:
            if "Listening for client connections" in line:
                port = int(line.rsplit(":", 1)[1])
            if "Server is ready" in line:
                break
        config = {"host": "127.0.0.1", "port": port, "accounts_file": str(accounts_file)}
        credentials = {"system_user": "sys", "system_password": "system", "admin_password": "long enough for it"}
        return KIND.open(Target(name="nats/bare", provider="nats", config=config), credentials)

    yield start
    for server in started:
        server.kill()
        server.communicate()


async def test_a_server_without_jetstream_is_blocked(bare: Callable[..., NatsProvider]) -> None:
    with pytest.raises(Blocked) as caught:
        await bare("server_name: bare").identify()
    assert caught.value.key == "nats/bare/jetstream"


async def test_a_server_without_a_name_cannot_be_told_from_another(
    bare: Callable[..., NatsProvider], tmp_path: Path
) -> None:
    with pytest.raises(Blocked) as caught:
        await bare(f'jetstream {{ store_dir: "{tmp_path}" }}').identify()
    assert caught.value.key == "nats/bare/server-name"


async def test_a_configuration_that_the_server_refuses_is_blocked(
    bare: Callable[..., NatsProvider], tmp_path: Path
) -> None:
    provider = bare(f'server_name: bare\njetstream {{ store_dir: "{tmp_path}" }}')
    with (tmp_path / "nats.conf").open("a") as config:
        config.write("password_of_somebody: {")
    with pytest.raises(Blocked) as caught:
        await provider.apply(make_ref("jobs"), STEP)
    assert caught.value.key == "nats/bare/reload"
    assert "password_of_somebody" not in str(caught.value), "a parse error quotes the configuration"


@pytest.mark.parametrize("content", [None, "", "handmade: { users: [] }\n"], ids=["missing", "not included", "foreign"])
async def test_an_accounts_file_that_is_not_the_servers_is_blocked(
    bare: Callable[..., NatsProvider], tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "other.conf"
    if content is not None:
        path.write_text(content)
    provider = bare(f'server_name: bare\njetstream {{ store_dir: "{tmp_path}" }}', accounts_file=path)
    with pytest.raises(Blocked) as caught:
        await provider.apply(make_ref("jobs"), STEP)
    assert caught.value.key == "nats/bare/accounts-file"
    assert caught.value.owner == "platform"
    if content:
        assert path.read_text() == content, "what somebody else wrote is not overwritten"
