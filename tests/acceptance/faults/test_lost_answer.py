"""The connection to PostgreSQL is cut at a COMMIT: whoever sends the same request again gets the same operation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.acceptance.blueprints import folder
from tests.acceptance.catalogues import Opened, look
from tests.acceptance.conftest import Start
from tests.acceptance.faults.cut import Proxy, When


@pytest.fixture
def proxy(database: str) -> Iterator[Proxy]:
    parts = urlsplit(database)
    assert parts.hostname is not None
    assert parts.port is not None
    proxy = Proxy(parts.hostname, parts.port)
    yield proxy
    proxy.close()


def test_a_lost_answer_is_asked_for_again(
    proxy: Proxy, database: str, make_service: Start, opened: tuple[Opened, ...], tmp_path: Path
) -> None:
    through = database.replace(f":{urlsplit(database).port}/", f":{proxy.port}/")
    service = make_service(database_url=through, lease="2s")
    service.twin("db", "upgrade")
    process = service.serve()
    service.publish(folder(tmp_path / "single", {"it": {"type": "redis.keyspace"}}, name="single"))
    moments: tuple[When, ...] = ("before", "after")
    for when in moments:
        name = f"cut-{when}"
        body = {"name": name, "blueprint": "single", "tier": "dev"}
        headers = {"Idempotency-Key": f"key-{when}"}
        proxy.arm(name.encode(), when)
        lost = service.api.post("/v1/projects/shop/environments", json=body, headers=headers)
        assert (lost.status_code, lost.json()["retryable"]) == (503, True), "nobody knows, and so it is said"
        assert "password" not in lost.text
        first, again = (
            service.api.post("/v1/projects/shop/environments", json=body, headers=headers).json() for _ in range(2)
        )
        assert first["operation"]["id"] == again["operation"]["id"]
        environment = first["environment_id"]
        service.environments.append(environment)
        service.succeeded(first)
        assert len(service.events(environment, "operation_accepted")) == 1
        assert len(service.events(environment, "step_succeeded")) == 1
        service.succeeded(service.signal(environment, "destroy"))
        assert look(opened, environment).empty
    assert proxy.cuts == len(moments)
    assert service.verify()["entities"] == len(moments) + 1, "two environments and the platform: nothing is doubled"
    assert service.verify()["findings"] == []
    service.stop(process)
