"""The disk is full, also in the middle of a batch: refused with 503, nothing acknowledged is lost, and it goes on.

Full in two ways: a small tmpfs, which needs root, and a bound on the size of any file of the process, which does not.
"""

from __future__ import annotations

import os
import resource
import subprocess
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import httpx
import pytest

from tests.acceptance.blueprints import folder
from tests.acceptance.catalogues import Opened, look
from tests.acceptance.conftest import Start
from tests.acceptance.service import Json, Service
from tests.waiting import eventually

MEGABYTES = 8
LEFT = 96 * 1024
"""Bytes that are left when the requests begin: a few of them fit."""
AT_ONCE = 48


class Disk(Protocol):
    """Where the service keeps its data."""

    def fill(self, service: Service, pid: int) -> None:
        """From now on there is hardly any space."""

    def free(self, pid: int) -> None:
        """There is again."""


class Tmpfs:
    """A small file system of its own."""

    def __init__(self, directory: Path) -> None:
        self._ballast = directory / "ballast"

    def fill(self, service: Service, pid: int) -> None:
        free = os.statvfs(service.directory)
        self._ballast.write_bytes(bytes(free.f_bavail * free.f_frsize - LEFT))

    def free(self, pid: int) -> None:
        self._ballast.unlink()


class Limit:
    """A bound on the size of the process's files."""

    def fill(self, service: Service, pid: int) -> None:
        side = service.directory / "twin.db-wal"
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (side.stat().st_size + LEFT, resource.RLIM_INFINITY))

    def free(self, pid: int) -> None:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


KINDS = ["limit", *(["tmpfs"] if os.geteuid() == 0 else [])]


@pytest.fixture(params=KINDS)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """Where the first service of the test has its data."""
    if request.param == "limit":
        yield Limit()
        return
    directory = tmp_path / "twin-1"
    directory.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m,mode=700", "twin", str(directory)], check=True)
    try:
        yield Tmpfs(directory)
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


@pytest.fixture
def service(disk: Disk, make_service: Start, tmp_path: Path) -> Service:
    """On that disk, with a blueprint that costs little. Not started yet."""
    return make_service()


def test_a_full_disk_loses_nothing_that_was_acknowledged(
    disk: Disk, service: Service, opened: tuple[Opened, ...], tmp_path: Path
) -> None:
    process = service.serve()
    service.publish(folder(tmp_path / "single", {"it": {"type": "redis.keyspace"}}, name="single"))
    standing = service.create("standing", "single")
    service.succeeded(standing)

    disk.fill(service, process.pid)
    requests = {f"env-{n}": str(uuid.uuid4()) for n in range(AT_ONCE)}
    answers = _create(service, requests)
    refused = {name: answer for name, answer in answers.items() if answer.status_code != 202}
    assert refused, "there was no room for all"
    for answer in refused.values():
        assert answer.status_code == 503, answer.text
        problem = answer.json()
        assert (problem["code"], problem["retryable"]) == ("unavailable", True)
        assert problem["mend"], "says where to look"
    assert service.environment(standing["environment_id"])["status"] == "ready", "it can be looked at all the same"
    assert process.poll() is None

    disk.free(process.pid)
    eventually(lambda: not _refused(again := _create(service, requests)) and again, within=30, why=service.last_lines)
    again = {name: answer.json() for name, answer in _create(service, requests).items()}
    for name, answer in answers.items():
        if answer.status_code == 202:
            assert again[name]["operation"]["id"] == answer.json()["operation"]["id"], "what was acknowledged is there"
    listed = service.get("/v1/projects/shop/environments", limit=1000)["items"]
    assert sorted(each["name"] for each in listed) == sorted(["standing", *requests]), "each once"
    environments = [each["environment_id"] for each in again.values()]
    service.environments += environments
    _all(service.succeeded, list(again.values()))
    for environment in [standing["environment_id"], *environments]:
        accepted = service.events(environment, "operation_accepted")
        assert len(accepted) == 1, "and nothing twice"
    _all(service.succeeded, [service.signal(each, "destroy") for each in service.environments])
    assert all(look(opened, each).empty for each in service.environments[:3])
    assert service.verify()["findings"] == []


def _create(service: Service, requests: dict[str, str]) -> dict[str, httpx.Response]:
    """All at once, so that they share commits; the same keys each time."""

    def create(named: tuple[str, str]) -> httpx.Response:
        body = {"name": named[0], "blueprint": "single", "tier": "dev"}
        headers = {"Idempotency-Key": named[1]}
        return service.api.post("/v1/projects/shop/environments", json=body, headers=headers)

    with ThreadPoolExecutor(16) as threads:
        return dict(zip(requests, threads.map(create, requests.items()), strict=True))


def _refused(answers: dict[str, httpx.Response]) -> bool:
    return any(answer.status_code == 503 for answer in answers.values())


def _all(wait: Callable[[Json], None], accepted: list[Json]) -> None:
    for each in accepted:
        wait(each)
