"""The process provider does what every provider must."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from providers.process.provider import ProcessProvider
from providers.process.spec import SERVICE
from tests.providers.process_world import COMMAND, apps, ask, open_provider, processes, step, supervisors
from twin.ports.provider import Applied, StepContext
from twin.testing.conformance.provider import ProviderConformance


def kill(victims: list[psutil.Process]) -> None:
    for victim in victims:
        victim.kill()
    psutil.wait_procs(victims, timeout=5)


class TestService(ProviderConformance):
    component_type = SERVICE
    cuts = 4

    @pytest.fixture
    async def provider(self, tmp_path: Path) -> AsyncIterator[ProcessProvider]:
        provider = open_provider(tmp_path / "target")
        yield provider
        await provider.close()

    def inputs(self, n: int) -> Mapping[str, Any]:
        return {"command": COMMAND, "replicas": 1 + n, "stop_grace": 2}

    def step(self, inputs: Mapping[str, Any], secrets: Mapping[str, str], **more: Any) -> StepContext:
        return step(inputs, secrets=secrets, **more)

    async def use(self, applied: Applied, inputs: Mapping[str, Any]) -> None:
        pids = {ask(url)["pid"] for url in applied.outputs["urls"]}
        assert len(pids) == inputs["replicas"], "each address is another replica"
        assert pids == {app.pid for app in apps(applied.external_id)}, "and nothing else runs"

    def breakages(self) -> Mapping[str, Callable[[Applied], Awaitable[None]]]:
        async def app(applied: Applied) -> None:
            kill(apps(applied.external_id))

        async def supervisor(applied: Applied) -> None:
            kill(supervisors(applied.external_id))

        async def both(applied: Applied) -> None:
            kill(processes(applied.external_id))

        return {"a killed app": app, "a killed supervisor": supervisor, "all of it killed": both}
