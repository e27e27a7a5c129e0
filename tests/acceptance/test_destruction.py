"""The end of an environment: proven by the servers' inventories, and not given where it cannot be."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.cli.exits import Exit
from providers.local import LocalServers
from providers.local.files import State, private_directory, save_state
from tests.acceptance.blueprints import small_guestbook
from tests.acceptance.catalogues import Opened, look, postgres
from tests.acceptance.conftest import Start
from tests.acceptance.service import Service
from tests.waiting import eventually

BACKENDS = ("nats", "postgres", "redis")


@pytest.fixture
def service(make_service: Start, tmp_path: Path) -> Service:
    """A twin that serves and works, with the guestbook published."""
    service = make_service()
    service.serve()
    service.publish(small_guestbook(tmp_path / "guestbook"))
    return service


@pytest.fixture
def usurpers(local_servers: LocalServers, opened: tuple[Opened, ...], tmp_path: Path) -> Iterator[LocalServers]:
    """Other servers that will take the ports of the shared ones, and their passwords, but are empty."""
    others = tmp_path / "others"
    for status in local_servers.status():
        place = private_directory(others / status.kind)
        save_state(place / "state.json", State(port=status.port))
        for password in status.directory.glob("*password"):
            shutil.copy(password, place / password.name)
    servers = LocalServers(others)
    yield servers
    servers.remove()
    local_servers.start()


def test_a_leftover_keeps_the_certificate_back(service: Service, opened: tuple[Opened, ...]) -> None:
    accepted = service.create("dev", "guestbook")
    environment = accepted["environment_id"]
    service.succeeded(accepted)
    assert "is not being destroyed" in service.ends(Exit.REFUSED, "certificate", environment)
    server = next(each for each in opened if each[0].provider == "postgres")
    with postgres(server) as by_hand:
        by_hand.execute("CREATE DATABASE forgotten")
        by_hand.execute(f"COMMENT ON DATABASE forgotten IS 'twin:environment={environment}'".encode())
        try:
            destroyed = service.signal(environment, "destroy")
            view = eventually(lambda: (found := service.environment(environment))["leftovers"] and found)
            assert view["certificate"] is None
            assert view["status"] == "destroying"
            assert len(view["leftovers"]) == 1
            assert "postgres/local" in view["leftovers"][0]
            assert "forgotten" in view["leftovers"][0]
            told = service.get(f"/v1/environments/{environment}/certificate")
            assert told["certificate"] is None
            (left,) = told["leftovers"]
            assert (left["target"], left["owner"]) == ("postgres/local", "platform")
            assert left["removal"].startswith("psql -h ")
            assert left["removal"].endswith("""-c 'DROP DATABASE "forgotten" WITH (FORCE)'""")
            assert left["mend"] == f"Remove what is left: {left['removal']}; then: twin retry shop/dev"
            told = service.ends(Exit.BLOCKED, "certificate", environment)
            assert f"Removal: {left['removal']}\n" in told
            assert "Owner:   platform" in told
            assert left["mend"] in service.twin("show", "shop/dev")
            assert "twin blocks resolve" not in service.twin("show", "shop/dev"), "one way on, not two"
            told = service.ends(Exit.BLOCKED, "retry", "shop/dev")
            assert left["mend"] in told
            assert "by itself" not in told
            assert service.operation(destroyed, wait=0)["status"] == "running"
        finally:
            by_hand.execute("DROP DATABASE forgotten")
    service.signal(environment, "retry")
    service.succeeded(destroyed)
    view = service.environment(environment)
    assert (view["status"], view["leftovers"]) == ("destroyed", [])
    certificate = view["certificate"]
    assert {each["instance"] for each in certificate["resources"]} == {"db@1", "cache@1", "jobs@1", "app@1"}
    assert len(certificate["inventories"]) == 4, "every place was asked"
    assert "Certificate of destruction of shop/dev" in service.twin("certificate", environment)
    assert look(opened, environment).empty


def test_what_answers_at_the_address_now_proves_nothing(
    service: Service, local_servers: LocalServers, usurpers: LocalServers, opened: tuple[Opened, ...]
) -> None:
    accepted = service.create("dev", "guestbook")
    environment = accepted["environment_id"]
    service.succeeded(accepted)
    local_servers.stop()
    usurpers.start()
    ports = {target.name: target.config["port"] for target, _ in opened}
    assert {target.name: target.config["port"] for target, _ in usurpers.targets()} == ports

    destroyed = service.signal(environment, "destroy")
    blocks = eventually(lambda: len(found := _blocks(service, environment)) >= len(BACKENDS) and found)
    assert blocks == {f"{name}/local/placement" for name in BACKENDS}
    view = service.environment(environment)
    assert view["status"] in ("blocked", "destroying")
    assert view["certificate"] is None, "an empty server is no proof"

    usurpers.stop()
    local_servers.start()
    for block in blocks:
        service.post("/v1/blocks/resolutions", {"key": block})
    service.succeeded(destroyed)
    assert service.environment(environment)["certificate"]
    assert look(opened, environment).empty


def _blocks(service: Service, environment: str) -> set[str]:
    conditions = service.environment(environment)["conditions"]
    return {condition["block"] for condition in conditions if condition["kind"] == "blocked"}
