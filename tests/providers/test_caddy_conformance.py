"""The suite of all providers, against a real Caddy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest

from providers.caddy import KIND
from providers.caddy.accounts import fresh_hashes
from providers.caddy.provider import CaddyProvider
from providers.caddy.spec import ROUTE
from providers.local import LocalServers
from tests.providers.caddy_world import Upstream, admin, get, local_caddy, login, routes_path, upstream
from twin.domain.identity import ComponentRef
from twin.domain.targets import Target
from twin.ports.provider import Applied, Provider, StepContext
from twin.testing.conformance.provider import ProviderConformance
from twin.testing.conformance.provider_hooks import ProviderHooks
from twin.testing.conformance.rotation import RotationConformance

Json = dict[str, Any]


class Routes(ProviderHooks):
    """What every suite needs to know of `caddy.route`. Each component has its own host."""

    component_type = ROUTE
    cuts = 1000
    access = "none"
    opened: Target
    ups: tuple[Upstream, Upstream]
    twin: Upstream

    @pytest.fixture(autouse=True)
    def upstreams(self) -> Iterator[None]:
        with upstream("one") as one, upstream("two") as two, upstream("the twin") as twin:
            self.ups, self.twin = (one, two), twin
            yield

    @pytest.fixture
    async def provider(self, local_servers: LocalServers) -> AsyncIterator[CaddyProvider]:
        found = local_caddy(local_servers)
        self.opened = msgspec.structs.replace(found, config={**found.config, "twin": self.twin.url})
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
        answer.raise_for_status()
        assert answer.text in {"one", "two"}, "an upstream has answered"


class Conformance(Routes, ProviderConformance):
    """What all routes have in common."""

    def by_hand(self, edit: Callable[[Json], Json | None]) -> Callable[[Applied], Awaitable[None]]:
        """A route that somebody changes by the admin API."""

        async def damage(applied: Applied) -> None:
            with admin(self.opened) as client:
                routes = client.get(routes_path(self.opened)).json()
                edited = [edit(each) if each.get("@id") == applied.external_id else each for each in routes]
                client.patch(routes_path(self.opened), json=[each for each in edited if each]).raise_for_status()

        return damage

    def breakages(self) -> Mapping[str, Callable[[Applied], Awaitable[None]]]:
        by_hand = self.by_hand
        return {
            "it was deleted": by_hand(lambda route: None),
            "it leads elsewhere": by_hand(lambda route: route | {"handle": [*route["handle"][:-1], _elsewhere()]}),
            "another host": by_hand(lambda route: route | {"match": [{"host": ["stolen.localhost"]}]}),
            "without its note": by_hand(lambda route: route | {"handle": route["handle"][1:]}),
            "without its id": by_hand(lambda route: {key: value for key, value in route.items() if key != "@id"}),
        }

    def unreachable(self) -> Provider | None:
        config = {"admin": "unix//nowhere/admin.sock", "twin": self.twin.url}
        return KIND.open(Target(name="caddy/away", provider="caddy", config=config), {})


class TestRoute(Conformance):
    rotation_revokes = False  # nobody is asked for it


class TestRouteBehindAPassword(Conformance):
    access = "basic"
    cuts = 4

    def breakages(self) -> Mapping[str, Callable[[Applied], Awaitable[None]]]:
        guest = {"username": "guest", "password": fresh_hashes({1: "guess"})[1]}

        def with_a_guest(route: Json) -> Json:
            *others, door, proxy = route["handle"]
            accounts = [*door["providers"]["http_basic"]["accounts"], guest]
            door = {"handler": "authentication", "providers": {"http_basic": {"accounts": accounts}}}
            return route | {"handle": [*others, door, proxy]}

        return {**super().breakages(), "somebody too many": self.by_hand(with_a_guest)}


class TestRouteThatAsks(Conformance):
    access = "token"
    rotation_revokes = False  # it has a password, and nobody is asked for it
    cuts = 4

    async def use(self, applied: Applied, inputs: Mapping[str, Any]) -> None:
        _, environment, *component, _ = applied.external_id.split("_")
        self.twin.status, self.twin.more = 403, {}
        assert (await get(self.opened, applied.outputs["host"])).status_code == httpx.codes.FORBIDDEN
        door = {"X-Twin-Door": f"env_{environment.upper()}/{'-'.join(component)}"}
        self.twin.status, self.twin.more = 204, door
        await super().use(applied, inputs)


class TestRotation(Routes, RotationConformance):
    access = "basic"
    cuts = 4

    def is_refusal(self, error: Exception) -> bool:
        return isinstance(error, httpx.HTTPStatusError) and error.response.status_code == httpx.codes.UNAUTHORIZED

    @asynccontextmanager
    async def session(self, applied: Applied) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
        """HTTP has none: a browser that was given the password sends it with each request, over any connection."""

        async def ask() -> None:
            answer = await get(self.opened, applied.outputs["host"], auth=login(applied))
            answer.raise_for_status()

        await ask()
        yield ask


class _Hosted(CaddyProvider):
    """Gives each component a host that follows from its name, which the suite's inputs do not know."""

    def __init__(self, target: Target) -> None:
        opened = KIND.open(target, {})
        super().__init__(target, opened._config)

    async def apply(self, ref: ComponentRef, step: StepContext) -> Applied:
        return await super().apply(ref, msgspec.structs.replace(step, inputs={**step.inputs, "host": _host(ref)}))

    async def retire(self, ref: ComponentRef, step: StepContext, version: int, secrets: Mapping[str, str]) -> None:
        hosted = msgspec.structs.replace(step, inputs={**step.inputs, "host": _host(ref)})
        await super().retire(ref, hosted, version, secrets)

    async def observe(self, ref: ComponentRef, inputs: Mapping[str, Any]) -> Any:
        return await super().observe(ref, {**inputs, "host": _host(ref)})


def _host(ref: ComponentRef) -> str:
    return ref.name.replace("_", "-")[-60:].strip("-")


def _elsewhere() -> Json:
    return {"handler": "static_response", "status_code": 418}
