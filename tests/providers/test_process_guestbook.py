"""The guestbook of examples/ on real backends, run by the process provider as its blueprint says."""

from __future__ import annotations

import html
import io
import tarfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from ruamel.yaml import YAML

from providers.local import LocalServers
from providers.nats import KIND as NATS
from providers.postgres import KIND as POSTGRES
from providers.process.provider import ProcessProvider
from providers.redis import KIND as REDIS
from tests.providers.process_world import apps, open_provider, step
from twin.domain.blueprint_document import parse
from twin.domain.identity import ComponentRef, EnvironmentId
from twin.domain.references import Reference, resolve
from twin.ports.provider import Applied, Provider
from twin.testing.steps import make_environment_id, make_ref, make_step

GUESTBOOK = Path(__file__).parents[2] / "examples" / "guestbook"
BACKENDS = {"db": POSTGRES, "cache": REDIS, "jobs": NATS}


def bundled() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for path in GUESTBOOK.iterdir():
            if path.is_file():
                archive.add(path, path.name)
    return out.getvalue()


def blueprint() -> Mapping[str, Any]:
    document: Mapping[str, Any] = YAML(typ="safe").load(GUESTBOOK / "blueprint.yaml")
    return document


@pytest.fixture
def environment() -> EnvironmentId:
    return make_environment_id()


@pytest.fixture
async def backends(local_servers: LocalServers, environment: EnvironmentId) -> AsyncIterator[dict[str, Applied]]:
    local_servers.start()
    targets = {target.provider: (target, secrets) for target, secrets in local_servers.targets()}
    opened: list[tuple[Provider, ComponentRef]] = []
    applied = {}
    for name, kind in BACKENDS.items():
        (component,) = kind.types
        provider = kind.open(*targets[kind.name])
        ref = make_ref(name, type=component.name, environment=environment)
        opened.append((provider, ref))
        inputs = blueprint()["components"][name].get("inputs", {})
        applied[name] = await provider.apply(ref, make_step(inputs, {"password": f"a-password-for-the-{name}"}))
    yield applied
    for provider, ref in opened:
        await provider.remove(ref, make_step({}))
        await provider.close()


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[ProcessProvider]:
    provider = open_provider(tmp_path / "target")
    yield provider
    await provider.close()


@pytest.fixture
async def inputs(backends: dict[str, Applied]) -> dict[str, Any]:
    """The app's inputs with their references resolved."""

    def lookup(reference: Reference) -> Any:
        if reference.component is None:
            return {"replicas": 2, "project": "shop", "name": "dev"}[reference.name]
        return getattr(backends[reference.component], reference.kind)[reference.name]

    inputs: dict[str, Any] = resolve(blueprint()["components"]["app"]["inputs"], lookup)
    return inputs


def test_the_blueprint_is_one() -> None:
    parsed = parse(blueprint())
    assert set(parsed.components) == {"db", "cache", "jobs", "app"}
    assert parsed.components["app"].dependencies == {"db", "cache", "jobs"}


async def test_a_guest_signs_and_is_greeted_and_outages_are_survived(
    provider: ProcessProvider, inputs: dict[str, Any], environment: EnvironmentId, local_servers: LocalServers
) -> None:
    ref = make_ref("app", type="process.service", environment=environment)
    try:
        applied = await provider.apply(ref, step(inputs, content=bundled()))
        guest = httpx.AsyncClient(base_url=applied.outputs["url"], follow_redirects=True, trust_env=False, timeout=20)
        async with guest:
            assert (await guest.get("/healthz")).json() == {"PostgreSQL": True, "Redis": True, "NATS": True}
            page = (await guest.post("/sign", data={"name": "<b>Ada</b>", "message": 'It\'s "alive" & well'})).text
            assert "<b>Ada" not in page
            assert html.escape('It\'s "alive" & well') in page
            assert "Welcome, &lt;b&gt;Ada&lt;/b&gt;! You are guest number 1." in page, "the job has greeted"
            assert "Visit number 1." in page
            assert "Visit number 2." in (await guest.get(applied.outputs["urls"][1])).text
            assert (await guest.post("/sign", data={"name": "", "message": "x"})).status_code == 422

            local_servers.stop("redis")
            sick = await guest.get("/healthz")
            assert (sick.status_code, sick.json()["Redis"]) == (503, False)
            page = (await guest.get("/")).text
            assert "Redis <strong>is away</strong>" in page
            assert "It&#x27;s" in page, "the others go on"
            local_servers.start("redis")
            assert (await guest.get("/healthz")).status_code == 200

            local_servers.stop("nats", "postgres")
            down = await guest.get("/healthz")
            assert down.json() == {"PostgreSQL": False, "Redis": True, "NATS": False}
            assert (await guest.post("/sign", data={"name": "Bob", "message": "lost?"})).status_code == 503
            observed = await provider.observe(ref, inputs)
            assert observed is not None
            assert "answers 503" in observed.drift["health"]
            local_servers.start("nats", "postgres")
            pids = {app.pid for app in apps(ref.name)}
            again = await provider.apply(ref, step(inputs, content=bundled()))  # waits until it is healthy again
            assert again.outputs == applied.outputs
            assert {app.pid for app in apps(ref.name)} == pids, "it has reconnected by itself"
            assert "Environment <strong>shop/dev</strong>" in (await guest.get("/")).text
        await provider.suspend(ref, step({**inputs, "stop_grace": 2}))
        assert apps(ref.name) == []
        lines = [line.text async for line in provider.logs(ref, lines=1000, follow=False)]
        assert not [line for line in lines if "a-password" in line]
    finally:
        await provider.remove(ref, step(inputs))
