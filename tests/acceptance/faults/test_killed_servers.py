"""`kill -9` of the servers behind the targets, in the middle of work: all is waited for, nothing is left or doubled."""

from __future__ import annotations

from pathlib import Path

import pytest

from providers.local import LocalServers
from tests.acceptance.blueprints import folder
from tests.acceptance.catalogues import Opened, look
from tests.acceptance.conftest import Start
from tests.acceptance.faults.servers import kill
from tests.waiting import eventually

MANY = 4


@pytest.mark.parametrize("kind", ["redis", "nats", "postgres"])
def test_a_killed_server_is_waited_for(
    kind: str, make_service: Start, local_servers: LocalServers, opened: tuple[Opened, ...], tmp_path: Path
) -> None:
    service = make_service()
    service.serve()
    path = folder(
        tmp_path / "data",
        {
            "db": {"type": "postgres.database"},
            "cache": {"type": "redis.keyspace"},
            "jobs": {"type": "nats.stream", "inputs": {"subjects": ["jobs.>"]}},
        },
        name="data",
    )
    service.publish(path)
    accepted = [service.create(f"env-{n}", "data") for n in range(MANY)]
    eventually(lambda: service.events(accepted[0]["environment_id"], "step_started"), why=service.last_lines)
    kill(local_servers, kind)
    failed = eventually(
        lambda: (
            sum(len(service.events(each["environment_id"], "step_failed")) for each in accepted)
            or _done(service.get("/v1/projects/shop/environments")["items"])
        ),
        why=service.last_lines,
    )
    assert failed
    local_servers.start(kind)
    for each in accepted:
        service.succeeded(each, within=120)
        seen = look(opened, each["environment_id"])
        once = {"databases": "db_1", "roles": "db_1", "users": "cache_1", "accounts": "jobs_1", "streams": "jobs_1"}
        assert {name: dict(getattr(seen, name)) for name in once} == {name: {it: 1} for name, it in once.items()}

    going = [service.signal(each["environment_id"], "destroy") for each in accepted]
    kill(local_servers, kind)
    local_servers.start(kind)
    for each in going:
        service.succeeded(each, within=120)
        assert service.environment(each["environment_id"])["certificate"]
        assert look(opened, each["environment_id"]).empty
    assert service.verify()["findings"] == []


def _done(environments: list[dict[str, str]]) -> bool:
    """All had been made before the server was dead."""
    return all(each["status"] == "ready" for each in environments)
