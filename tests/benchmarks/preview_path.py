"""All that follows from a burst of webhooks: so many pull requests, from the first delivery to their comments.

The forge is a fake in a process of its own, the components are files: what is measured is the twin. Beside it, as many
calls are made to the same forge by hand, as many at a time, and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import psutil

from tests.acceptance.blueprints import folder
from tests.acceptance.shelf import standing
from tests.benchmarks.bare_webhook import SECRET
from tests.benchmarks.deliveries import REPOSITORY, Answers, burst
from tests.benchmarks.http_client import Pool
from tests.benchmarks.load import percentile
from tests.benchmarks.machine import PROJECT
from tests.benchmarks.served import Served
from twin.service.bundles import pack

AT_ONCE = 16
"""Calls by hand that are under way at a time: as many as the twin has slots."""

LONGEST = 300.0
"""Seconds until it is given up."""


class Client:
    """An admin of a served twin."""

    def __init__(self, served: Served) -> None:
        self._headers = {"Authorization": f"Bearer {served.token}"}
        self.pool = Pool("127.0.0.1", served.port, headers=self._headers)
        self._url = served.url

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.pool.__aexit__(kind, error, trace)

    async def tell(self, method: str, path: str, **body: Any) -> None:
        """Configure something."""
        async with httpx.AsyncClient(base_url=self._url, headers=self._headers, trust_env=False, timeout=60) as http:
            answer = await http.request(method, path, **body)
        if not answer.is_success:
            raise RuntimeError(f"{path}: {answer.status_code} {answer.text[:500]}")

    async def add_forge(self, config: Mapping[str, Any], **credentials: str) -> None:
        """The GitHub that delivers."""
        target = {"name": "github/main", "provider": "github", "config": config, "credentials": credentials}
        await self.tell("POST", "/v1/targets", json=target)

    async def until(self, event: str, correlation: str | None = None) -> None:
        """Until there is such an event, of that request if one is named."""
        path = f"/v1/audit?type={event}&limit=1" + (f"&correlation={correlation}" if correlation else "")
        until = time.monotonic() + LONGEST
        while time.monotonic() < until:
            status, answer = await self.pool.get(path)
            if status == 200 and json.loads(answer)["items"]:
                return
            await asyncio.sleep(0.02)
        raise RuntimeError(f"no {event}")


class Hub:
    """The forge's process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def says(self) -> dict[str, Any]:
        """Its next line."""
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), LONGEST)
        found: dict[str, Any] = json.loads(line)
        return found

    async def open_all(self) -> None:
        """All pull requests at once."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        await self._process.stdin.drain()
        await self.says()


@asynccontextmanager
async def hub(pulls: int) -> AsyncIterator[Hub]:
    """A forge, for a while."""
    pipe = asyncio.subprocess.PIPE
    arguments = (sys.executable, "-m", "tests.benchmarks.hub", str(pulls))
    process = await asyncio.create_subprocess_exec(*arguments, cwd=PROJECT, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    try:
        yield Hub(process)
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()


async def previews(directory: Path, environ: dict[str, object], pulls: int) -> dict[str, Any]:
    """From the first webhook of each pull request to the comment that its preview is ready."""
    async with hub(pulls) as forge:
        where = await forge.says()
        served = Served(directory, "tests.acceptance.shelf", "serve", **environ)
        try:
            served.ready()
            async with Client(served) as client:
                await _configure(client, directory, where, pulls)
                await forge.open_all()
                return await _followed(client, served, forge, where, pulls, directory / "shelf")
        finally:
            served.end()


async def _configure(client: Client, directory: Path, where: dict[str, Any], pulls: int) -> None:
    config = {"url": where["url"], "api_url": where["url"]}
    await client.add_forge(config, token=where["token"], webhook_secret=SECRET)
    shelf = {"name": "shelf/main", "provider": "shelf", "config": {"directory": str(directory / "shelf")}}
    await client.tell("POST", "/v1/targets", json={**shelf, "concurrency": pulls})
    bundle = pack(folder(directory / "page", {"app": {"type": "shelf.app"}}, name="page")).content
    await client.tell("POST", "/v1/blueprints", content=bundle, headers={"Content-Type": "application/gzip"})
    source = {"forge": "github/main", "repository": REPOSITORY, "project": "shop", "blueprint": "page"}
    await client.tell("PUT", "/v1/preview-sources/page", json={**source, "max_live": pulls})
    await client.until("source_reconciled")


async def _followed(
    client: Client, served: Served, forge: Hub, where: dict[str, Any], pulls: int, shelf: Path
) -> dict[str, Any]:
    deliveries = burst(pulls, where["url"].partition("://")[2], name="path", home=where["home"])
    answers, process = Answers(), psutil.Process(served.process.pid)
    used, began = _seconds(process), time.monotonic()
    await answers.send(client.pool, deliveries)
    recorded = await forge.says()
    cpu = _seconds(process) - used
    took = [moment - began for moment in recorded["commented"].values()]
    if len(standing(shelf)) != pulls:
        raise RuntimeError(f"{len(standing(shelf))} previews stand")
    return {
        "answers": answers.told(),
        "seconds": recorded["settled"] - began,
        "p50_s": percentile(took, 0.5),
        "last_s": max(took),
        "cpu_s_each": cpu / pulls,
        "calls_each": recorded["calls"] / pulls,
        "by_hand": await _by_hand(where, recorded["calls"], pulls),
    }


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def _by_hand(where: dict[str, Any], calls: int, pulls: int) -> dict[str, float]:
    """As many calls to the forge, and nothing else."""
    numbers = iter(range(calls))
    headers = {"Authorization": f"Bearer {where['token']}"}
    used, began = time.process_time(), time.monotonic()
    async with httpx.AsyncClient(base_url=where["url"], headers=headers, trust_env=False, timeout=60) as http:

        async def client() -> None:
            for number in numbers:
                answer = await http.get(f"/repos/{REPOSITORY}/pulls/{number % pulls + 1}")
                answer.raise_for_status()

        await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    return {"seconds": time.monotonic() - began, "cpu_s_each": (time.process_time() - used) / pulls}
