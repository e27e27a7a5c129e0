"""The suite of all providers, against a real Caddy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any

import httpx
import msgspec
import pytest

from providers.caddy import KIND
from providers.caddy.provider import CaddyProvider
from providers.caddy.spec import ROUTE
from providers.local import LocalServers
from tests.providers.caddy_world import Upstream, admin, get, local_caddy, login, routes_path, upstream
from twin.domain.identity import ComponentRef
from twin.domain.targets import Target
from twin.ports.provider import Applied, Provider, StepContext
from twin.testing.conformance.provider import ProviderConformance

Json = dict[str, Any]


class Conformance(ProviderConformance):
    """What both kinds of access have in common. Each component has its own host."""

    component_type = ROUTE
    cuts = 1000
    access = "none"
    opened: Target
    ups: tuple[Upstream, Upstream]

    @pytest.fixture(autouse=True)
    def upstreams(self) -> Iterator[None]:
        with upstream("one") as one, upstream("two") as two:
            self.ups = (one, two)
            yield

    @pytest.fixture
    async def provider(self, local_servers: LocalServers) -> AsyncIterator[CaddyProvider]:
        self.opened = local_caddy(local_servers)
        provider = _Hosted(self.opened)
        yield provider
        await provider.close()

    def inputs(self, n: int) -> Mapping[str, Any]:
        to = [each.url for each in self.ups[: n + 1]]
        return {"host": "of-the-component", "to": to, "access": self.access}

    async def use(self, applied: Applied, inputs: Mapping[str, Any]) -> None:
        assert applied.outputs["url"] == f"http://{applied.outputs['host']}:{self.opened.config['port']}"
        host = applied.outputs["host"]
        if self.access == "basic":
            assert (await get(self.opened, host)).status_code == httpx.codes.UNAUTHORIZED
        answer = await get(self.opened, host, auth=login(applied) if self.access == "basic" else None)
        assert answer.text in {"one", "two"}, "an upstream has answered"
        assert answer.status_code == httpx.codes.OK

    def breakages(self) -> Mapping[str, Callable[[Applied], Awaitable[None]]]:
        def by_hand(edit: Callable[[Json], Json | None]) -> Callable[[Applied], Awaitable[None]]:
            async def damage(applied: Applied) -> None:
                with admin(self.opened) as client:
                    routes = client.get(routes_path(self.opened)).json()
                    edited = [edit(each) if each.get("@id") == applied.external_id else each for each in routes]
                    client.patch(routes_path(self.opened), json=[each for each in edited if each]).raise_for_status()

            return damage

        return {
            "it was deleted": by_hand(lambda route: None),
            "it leads elsewhere": by_hand(lambda route: route | {"handle": [*route["handle"][:-1], _elsewhere()]}),
            "another host": by_hand(lambda route: route | {"match": [{"host": ["stolen.localhost"]}]}),
            "without its note": by_hand(lambda route: route | {"handle": route["handle"][1:]}),
            "without its id": by_hand(lambda route: {key: value for key, value in route.items() if key != "@id"}),
        }

    def unreachable(self) -> Provider | None:
        config = {"admin": "unix//nowhere/admin.sock"}
        return KIND.open(Target(name="caddy/away", provider="caddy", config=config), {})


class TestRoute(Conformance):
    rotation_revokes = False  # nobody is asked for it


class TestRouteBehindAPassword(Conformance):
    access = "basic"
    cuts = 4


class _Hosted(CaddyProvider):
    """Gives each component a host that follows from its name, which the suite's inputs do not know."""

    def __init__(self, target: Target) -> None:
        opened = KIND.open(target, {})
        super().__init__(target, opened._config)

    async def apply(self, ref: ComponentRef, step: StepContext) -> Applied:
        return await super().apply(ref, msgspec.structs.replace(step, inputs={**step.inputs, "host": _host(ref)}))

    async def observe(self, ref: ComponentRef, inputs: Mapping[str, Any]) -> Any:
        return await super().observe(ref, {**inputs, "host": _host(ref)})


def _host(ref: ComponentRef) -> str:
    return ref.name.replace("_", "-")[-60:].strip("-")


def _elsewhere() -> Json:
    return {"handler": "static_response", "status_code": 418}
