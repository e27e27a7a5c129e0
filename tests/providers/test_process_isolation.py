"""What an app sees of the worker (nothing), and what is seen of an app's secrets (nothing)."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psutil
import pytest

from providers.process import KIND
from providers.process.errors import translated, words_to_hide_in_logs
from providers.process.provider import ProcessProvider
from providers.process.spec import Service, parse
from providers.process.supervisor import LOG_BYTES, Log
from tests.providers.process_world import apps, ask, open_provider, processes, step
from tests.waiting import soon
from twin.children.hiding import hide, words_to_hide
from twin.domain.errors import Blocked, Invalid, Terminal, Transient
from twin.domain.identity import ComponentRef
from twin.domain.targets import Target
from twin.testing.steps import make_ref

SECRET = "pl4nted-s3cr3t-value"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "target"


@pytest.fixture
def provider(directory: Path) -> ProcessProvider:
    return open_provider(directory)


@pytest.fixture
async def ref(provider: ProcessProvider) -> AsyncIterator[ComponentRef]:
    ref = make_ref("app", type="process.service")
    yield ref
    await provider.remove(ref, step({"stop_grace": 0}))


def read(folder: str, name: str) -> str:
    return Path(folder, name).read_text()


def on_disk(directory: Path) -> str:
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert len(files) > 5, "there is something to look at"
    return "\n".join(path.read_bytes().decode(errors="replace") for path in files)


async def test_an_app_sees_nothing_of_the_worker(
    provider: ProcessProvider, ref: ComponentRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWIN_VAULT_KEY", "the key of the vault")
    applied = await provider.apply(ref, step({"env": {"DEBUG": True, "LIMIT": 3}}))
    said = ask(applied.outputs["url"])
    env = said["env"]
    env.pop("LC_CTYPE", None)  # the interpreter's own doing
    assert set(env) == {
        *("PATH", "HOME", "LANG", "TMPDIR", "PORT", "REPLICA", "DEBUG", "LIMIT"),
        *("TWIN_COMPONENT", "TWIN_ENVIRONMENT", "TWIN_SLOT"),
    }
    assert (env["DEBUG"], env["LIMIT"], env["REPLICA"]) == ("true", "3", "0")
    assert env["PORT"] == str(applied.outputs["ports"][0])
    assert env["HOME"] == said["cwd"]
    assert os.access(env["TMPDIR"], os.W_OK)
    assert env["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    for process in processes(ref.name):
        assert "TWIN_VAULT_KEY" not in process.environ()


async def test_a_secret_is_only_in_the_apps_environment(
    provider: ProcessProvider, ref: ComponentRef, directory: Path
) -> None:
    inputs = {"env": {"SECRET": SECRET, "URL": f"redis://me:{SECRET}-2@h/0", "MODE": "prints"}}
    await provider.apply(ref, step(inputs, secrets={"own": SECRET + "-3"}))
    (app,) = apps(ref.name)
    assert app.environ()["SECRET"] == SECRET
    for process in psutil.process_iter():
        try:
            assert SECRET not in " ".join(process.cmdline())
            assert process.pid == app.pid or SECRET not in str(process.environ())
        except psutil.Error:
            continue
    assert SECRET not in on_disk(directory)
    lines = [line.text async for line in provider.logs(ref, lines=10, follow=False)]
    assert lines == ["my secret is •••"]
    assert SECRET not in str(await provider.observe(ref, inputs))
    assert SECRET not in str([resource async for resource in provider.owned(ref.environment)])


async def test_logs_can_be_followed_into_the_future(provider: ProcessProvider, ref: ComponentRef) -> None:
    applied = await provider.apply(ref, step({"replicas": 2}))

    async def told(text: str) -> bool:
        return text in [line.text async for line in provider.logs(ref, lines=10, follow=False)]

    for number, url in enumerate(applied.outputs["urls"]):
        await asyncio.to_thread(ask, f"{url}/say/past-{number}")
        await soon(partial(told, f"past-{number}"))  # a supervisor writes it when it has its turn
    following = provider.logs(ref, lines=1, follow=True)
    first = await anext(following)
    assert (first.source, first.text) == ("replica 1", "past-1")
    assert first.at is not None
    assert abs((datetime.now(UTC) - first.at).total_seconds()) < 30
    await asyncio.to_thread(ask, f"{applied.outputs['urls'][0]}/say/future")
    second = await anext(following)
    assert (second.source, second.text) == ("replica 0", "future")
    await following.aclose()


@pytest.fixture
def needy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """As if the twin ran on a Python whose libpython only LD_LIBRARY_PATH leads to; gives what leads there."""
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/sh\n"
        f'[ "$LD_LIBRARY_PATH" = {tmp_path} ] && exec {sys.executable} "$@"\n'
        "echo python: error while loading shared libraries: libpython3.11.so.1.0: cannot open >&2; exit 127\n"
    )
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    return str(tmp_path)


async def test_what_our_own_python_needs_to_start_it_gets_and_the_app_does_not(
    provider: ProcessProvider, ref: ComponentRef, needy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", needy)
    applied = await provider.apply(ref, step({"build": ["sh", "-c", "env > built"]}))
    said = ask(applied.outputs["url"])
    assert "LD_LIBRARY_PATH" not in said["env"]
    assert "LD_LIBRARY_PATH" not in read(said["cwd"], "built")


@pytest.mark.parametrize("inputs", [{}, {"build": ["true"]}])
async def test_a_python_that_cannot_start_is_the_platforms_matter(
    provider: ProcessProvider, ref: ComponentRef, needy: str, inputs: dict[str, object]
) -> None:
    with pytest.raises(Blocked, match="error while loading shared libraries") as failure:
        await provider.apply(ref, step(inputs))
    assert failure.value.key == "process/test/interpreter"


def test_a_log_is_bounded_and_keeps_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "0-abc.log"
    log = Log(str(path), [])
    for number in range(3 * LOG_BYTES // 1000):
        log.take(b"%d %s\n" % (number, b"x" * 1000))
    log.take(b"last without an end")
    log.close()
    sizes = [file.stat().st_size for file in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert max(sizes) < LOG_BYTES + 2000
    assert path.read_text().endswith(" last without an end\n")


def test_what_is_hidden_and_what_stays_readable() -> None:
    assert hide("p%40ss-word p@ss-word ok", words_to_hide(["pg://u:p%40ss-word@h/db"])) == "••• ••• ok"
    env = {"LOG_LEVEL": "warning", "API_TOKEN": "tok123", "A": "pg://u:s3cret@h", "PEM": "-----BEGIN\nabcdefghijklmn"}
    words = words_to_hide_in_logs(env)
    assert "warning" not in words
    assert {"tok123", "s3cret", "pg://u:s3cret@h", "abcdefghijklmn"} <= set(words)


@pytest.mark.parametrize(
    ("inputs", "field"),
    [
        ({"command": []}, "command"),
        ({"command": ["x"], "replicas": 51}, "replicas"),
        ({"command": ["x"], "env": {"PORT": "80"}}, "env"),
        ({"command": ["x"], "env": {"A": "\0"}}, "env.A"),
        ({"command": ["x"], "health": {"path": "no-slash"}}, "health.path"),
        ({"command": ["x"], "source": {"git": "u", "ref": "--upload-pack=evil"}}, "source.ref"),
        ({"command": ["x"], "typo": 1}, "typo"),
    ],
)
def test_wrong_inputs_name_their_field(inputs: dict[str, object], field: str) -> None:
    with pytest.raises(Terminal) as failure:
        parse(inputs)
    assert field in (failure.value.field or failure.value.message)


def test_inputs_and_schema_agree() -> None:
    (kind,) = KIND.types
    assert set(kind.properties) == set(Service.__struct_fields__)
    assert kind.scalable == {"replicas"}
    assert kind.suspends
    assert kind.bundled
    assert not kind.stateful


@pytest.mark.parametrize("config", [{}, {"directory": "relative"}, {"directory": "/x", "more": 1}])
def test_a_target_needs_an_absolute_directory(config: dict[str, object]) -> None:
    with pytest.raises(Invalid) as failure:
        KIND.check(Target(name="t", provider="process", config=config), {})
    assert failure.value.field is not None
    assert failure.value.field.startswith("config.")


async def test_another_directory_is_another_place(directory: Path, tmp_path: Path) -> None:
    here, there = await open_provider(directory).identify(), await open_provider(tmp_path / "other").identify()
    assert here.identity != there.identity
    assert here == await open_provider(directory).identify()


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.ENOSPC, "disk"), (errno.EACCES, "permission"), (errno.EROFS, "permission"), (errno.EMFILE, "capacity")],
)
def test_what_only_the_platform_can_mend_waits_for_it(number: int, reason: str) -> None:
    with pytest.raises(Blocked) as failure, translated("test"):
        raise OSError(number, os.strerror(number), "/some/file")
    assert failure.value.key == f"process/test/{reason}"
    assert f"twin blocks resolve process/test/{reason}" in failure.value.mend


async def test_a_directory_that_is_away_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Transient, match="Not a directory"):
        await open_provider(tmp_path / "file" / "target").identify()
