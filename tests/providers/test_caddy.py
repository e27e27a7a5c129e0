"""The Caddy provider against a real server: names, upstreams, doors, strangers and rivals."""

from __future__ import annotations

import asyncio
import subprocess
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from providers.caddy import KIND
from providers.caddy.accounts import NOBODY, Accounts, fresh_hashes
from providers.caddy.provider import CaddyProvider
from providers.caddy.routes import let_in, written
from providers.caddy.spec import ROUTE, route
from providers.local import LocalServers
from tests.providers.caddy_world import admin, get, local_caddy, login, routes_path, upstream
from tests.waiting import soon
from twin.domain.errors import Blocked, Invalid, Terminal, Transient
from twin.domain.identity import ComponentRef
from twin.domain.targets import Target
from twin.ports.provider import StepContext
from twin.testing.steps import make_ref, make_step

PASSWORD = "a word of some length"


@pytest.fixture(scope="session")
def target(local_servers: LocalServers) -> Target:
    """The local server."""
    return local_caddy(local_servers)


@pytest.fixture
async def provider(target: Target) -> AsyncIterator[CaddyProvider]:
    provider = KIND.open(target, {})
    yield provider
    await provider.close()


@pytest.fixture
async def ref(provider: CaddyProvider) -> AsyncIterator[ComponentRef]:
    """A component that is removed after the test."""
    ref = make_ref("web", type=ROUTE.name)
    yield ref
    await provider.remove(ref, make_step())


@pytest.fixture
async def rival(provider: CaddyProvider) -> AsyncIterator[ComponentRef]:
    """A component of another environment."""
    ref = make_ref("web", type=ROUTE.name)
    yield ref
    await provider.remove(ref, make_step())


@pytest.fixture
def host() -> str:
    """One that no other test uses."""
    return f"pr-{uuid.uuid4().hex[:8]}--guestbook"


def step(host: str, *to: str, **inputs: Any) -> StepContext:
    return make_step({"host": host, "to": list(to), **inputs}, {"password": PASSWORD})


@pytest.mark.parametrize(
    ("inputs", "field"),
    [
        ({"to": "127.0.0.1:80"}, "host"),
        ({"host": "UPPER", "to": "127.0.0.1:80"}, "host"),
        ({"host": "*.all", "to": "127.0.0.1:80"}, "host"),
        ({"host": "{env.SECRET}", "to": "127.0.0.1:80"}, "host"),
        ({"host": "-a", "to": "127.0.0.1:80"}, "host"),
        ({"host": "a" * 64, "to": "127.0.0.1:80"}, "host"),
        ({"host": "a"}, "to"),
        ({"host": "a", "to": "unix//var/run/docker.sock"}, "to"),
        ({"host": "a", "to": "{env.SECRET}:80"}, "to"),
        ({"host": "a", "to": "http://me:secret@10.0.0.1:80"}, "to"),
        ({"host": "a", "to": "http://10.0.0.1:80/path"}, "to"),
        ({"host": "a", "to": "ftp://10.0.0.1"}, "to"),
        ({"host": "a", "to": "10.0.0.1:99999"}, "to"),
        ({"host": "a", "to": ["http://10.0.0.1:80", "https://10.0.0.2:443"]}, "to"),
        ({"host": "a", "to": "10.0.0.1:80", "access": "password"}, "access"),
        ({"host": "a", "to": "10.0.0.1:80", "health": {"path": "relative"}}, "health.path"),
    ],
    ids=repr,
)
def test_wrong_inputs_are_terminal_and_named(inputs: dict[str, Any], field: str) -> None:
    with pytest.raises(Terminal) as caught:
        route(inputs, "localhost")
    assert caught.value.field == field or f"`{field}`" in str(caught.value)
    assert "secret" not in str(caught.value), "an upstream may hold one"


@pytest.mark.parametrize(
    ("given", "host", "to", "secure"),
    [
        ({"host": "a", "to": "http://127.0.0.1:8080"}, "a.example.org", ("127.0.0.1:8080",), False),
        ({"host": "a.b", "to": "http://[::1]:8080/"}, "a.b", ("[::1]:8080",), False),
        ({"host": "a", "to": ["app:80", "http://app"]}, "a.example.org", ("app:80",), False),
        ({"host": "a", "to": ["https://app"]}, "a.example.org", ("app:443",), True),
        ({"host": "a", "to": []}, "a.example.org", (), False),
    ],
)
def test_what_inputs_mean(given: dict[str, Any], host: str, to: tuple[str, ...], secure: bool) -> None:
    read = route(given, "example.org")
    assert (read.host, read.to, read.secure) == (host, to, secure)


@pytest.mark.parametrize(
    ("config", "credentials", "field"),
    [
        ({"admin": "127.0.0.1:2019"}, {}, "config.admin"),
        ({"admin": "unix/relative.sock"}, {}, "config.admin"),
        ({"admin": "http://me:secret@127.0.0.1:2019"}, {}, "config.admin"),
        ({"server": "a/b"}, {}, "config.server"),
        ({"domain": "*.example.org"}, {}, "config.domain"),
        ({"port": 0}, {}, "config.port"),
        ({"twin": "127.0.0.1:8420"}, {}, "config.twin"),
        ({"login": "https://twin.example.org/path"}, {}, "config.login"),
        ({"twin": "http://{env.SECRET}"}, {}, "config.twin"),
        ({}, {"password": "x"}, "credentials"),
    ],
    ids=repr,
)
def test_a_wrong_target_is_refused(config: dict[str, Any], credentials: dict[str, str], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        KIND.check(Target(name="caddy/x", provider="caddy", config=config), credentials)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("config", "url"),
    [
        ({}, "http://a.localhost"),
        ({"tls": True, "domain": "example.org"}, "https://a.example.org"),
        ({"tls": True, "port": 8443}, "https://a.localhost:8443"),
        ({"port": 80}, "http://a.localhost"),
    ],
    ids=repr,
)
def test_the_url_names_the_port_only_where_it_must(config: dict[str, Any], url: str) -> None:
    opened = KIND.open(Target(name="caddy/x", provider="caddy", config=config), {})
    assert opened._outputs(route({"host": "a", "to": []}, config.get("domain", "localhost")), 1)["url"] == url


async def test_curl_and_browsers_find_it_by_its_url(
    provider: CaddyProvider, ref: ComponentRef, host: str, target: Target
) -> None:
    with upstream("hello") as app:
        applied = await provider.apply(ref, step(host, app.url))
        assert applied.outputs["url"] == f"http://{host}.localhost:{target.config['port']}"
        process = await asyncio.create_subprocess_exec(
            "curl", "-sS", "--max-time", "20", applied.outputs["url"], stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
    assert said == b"hello", "names below localhost are this machine, without any DNS"


async def test_every_upstream_serves_and_a_dead_one_is_passed_over(
    provider: CaddyProvider, ref: ComponentRef, host: str, target: Target
) -> None:
    with upstream("one") as one:
        with upstream("two") as two:
            await provider.apply(ref, step(host, one.url, two.url))

            async def both() -> bool:
                return {(await get(target, f"{host}.localhost")).text for _ in range(6)} == {"one", "two"}

            await soon(both)
        answers = [await get(target, f"{host}.localhost") for _ in range(20)]
    assert {(each.status_code, each.text) for each in answers} == {(200, "one")}, "nobody is told of the dead one"


async def test_nobody_behind_it_is_said_as_such(
    provider: CaddyProvider, ref: ComponentRef, host: str, target: Target
) -> None:
    await provider.apply(ref, step(host))
    answer = await get(target, f"{host}.localhost")
    assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert answer.headers["Retry-After"]


async def test_a_door_opens_to_its_password_alone_and_keeps_it(
    provider: CaddyProvider, ref: ComponentRef, host: str, target: Target
) -> None:
    with upstream("inside") as app:
        applied = await provider.apply(ref, step(host, app.url, access="basic"))
        name = applied.outputs["host"]
        assert (await get(target, name)).status_code == httpx.codes.UNAUTHORIZED
        assert (await get(target, name, auth=("preview", "wrong"))).status_code == httpx.codes.UNAUTHORIZED
        assert (await get(target, name, auth=login(applied))).text == "inside"
        assert all("Authorization" not in headers for headers in app.seen), "the app never sees it"
        with admin(target) as client:
            config = client.get("/config/").text
        assert PASSWORD not in config
        assert "$2b$" in config

        before = await provider.server.routes()
        await provider.apply(ref, step(host, app.url, access="basic"))
        assert await provider.server.routes() == before, "the same password is no change"
        await provider.apply(ref, step(host, app.url))
        assert (await get(target, name)).text == "inside"


async def test_a_door_that_asks_the_twin_opens_by_its_word_alone(ref: ComponentRef, host: str, target: Target) -> None:
    with upstream("inside") as app, upstream("the twin") as twin:
        config = {**target.config, "twin": twin.url, "login": "https://twin.example.org"}
        opened = KIND.open(msgspec.structs.replace(target, config=config), {})
        name = (await opened.apply(ref, step(host, app.url, access="token"))).outputs["host"]
        door = f"{ref.environment}/{ref.component}"

        async def asked() -> httpx.Response:
            async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
                url = f"http://127.0.0.1:{target.config['port']}/form?a=%2F"
                shown = {"Host": name, "Authorization": "Bearer x", "X-Twin-User": "me", "X_Twin_User": "me"}
                cookies = {"Cookie": "twin-door=s; a=1; xtwin-door=2; __Host-twin-door-nonce=n; b=3; twin-door=t"}
                return await client.post(url, headers={**shown, **cookies}, data={"c": "d"})

        right = {"X-Twin-Door": door, "X-Twin-User": "ada"}
        for status, more in [
            (200, right),
            (204, {}),
            (204, {**right, "X-Twin-Door": f"{door}x"}),
            (206, right),
        ]:
            twin.status, twin.more = status, more
            assert (await asked()).status_code == httpx.codes.BAD_GATEWAY, "whoever that is, it is not the twin"
        twin.status, twin.more = 401, right
        assert (await asked()).text == "the twin", "no is told as it is said"
        assert app.asked.count("POST /form?a=%2F c=d") == 0
        twin.status, twin.more = 204, right
        assert (await asked()).text == "inside"

        assert set(twin.asked) == {f"GET /doors/{door}/pass"}, "without the body"
        question = twin.seen[-1]
        assert question["Host"] == twin.url.removeprefix("http://")
        assert (question["X-Forwarded-Method"], question["X-Forwarded-Uri"]) == ("POST", "/form?a=%2F")
        assert question["X-Twin-Login"] == "https://twin.example.org"
        assert app.asked[-1] == "POST /form?a=%2F c=d"
        got = app.seen[-1]
        assert (got["X-Twin-User"], got["Cookie"]) == ("ada", "a=1; xtwin-door=2; b=3")
        assert not {"authorization", "x_twin_user"} & {each.casefold() for each in got}

        await get(target, name, "/.twin/login?code=c&to=%2F")
        assert twin.asked[-1] == f"GET /doors/{door}/session?code=c&to=%2F"
        inputs = {"host": host, "to": [app.url], "access": "token"}
        assert (await opened.observe(ref, inputs)).drift == {}  # type: ignore[union-attr]
        moved = KIND.open(msgspec.structs.replace(target, config={**config, "twin": "http://127.0.0.1:9"}), {})
        assert set((await moved.observe(ref, inputs)).drift) == {"access"}  # type: ignore[union-attr]
        await moved.apply(ref, step(host, app.url, access="token"))
        assert (await asked()).status_code == httpx.codes.BAD_GATEWAY, "and nobody is no twin either"
        await opened.apply(ref, step(host, app.url))
        assert (await asked()).text == "inside"
        assert "X-Twin-User" not in app.seen[-1], "who is not asked has no name"


async def test_a_door_that_asks_needs_a_twin_to_ask(provider: CaddyProvider, ref: ComponentRef, host: str) -> None:
    with pytest.raises(Blocked) as caught:
        await provider.apply(ref, step(host, "127.0.0.1:9", access="token"))
    assert caught.value.key == "caddy/local/twin"


async def test_a_host_is_one_components(
    provider: CaddyProvider, ref: ComponentRef, rival: ComponentRef, host: str, target: Target
) -> None:
    with upstream("mine") as mine, upstream("theirs") as theirs:
        await provider.apply(ref, step(host, mine.url))
        with pytest.raises(Terminal) as caught:
            await provider.apply(rival, step(host, theirs.url))
        assert caught.value.field == "host"
        assert ref.name in str(caught.value)
        assert (await get(target, f"{host}.localhost")).text == "mine"
        assert await provider.observe(rival, {"host": host, "to": []}) is None
        await provider.remove(ref, make_step())
        await provider.apply(rival, step(host, theirs.url))
        assert (await get(target, f"{host}.localhost")).text == "theirs"


async def test_of_two_at_once_one_gets_the_host(
    provider: CaddyProvider, ref: ComponentRef, rival: ComponentRef, host: str
) -> None:
    outcomes = await asyncio.gather(
        *(provider.apply(each, step(host, "127.0.0.1:9")) for each in (ref, rival)), return_exceptions=True
    )
    assert sorted(isinstance(each, Terminal) for each in outcomes) == [False, True]


async def test_a_new_incarnation_serves_over_the_one_it_replaces(
    provider: CaddyProvider, ref: ComponentRef, host: str, target: Target
) -> None:
    following = msgspec.structs.replace(ref, incarnation=2)
    with upstream("old") as old, upstream("new") as new:
        await provider.apply(ref, step(host, old.url))
        await provider.apply(following, step(host, new.url))
        assert (await get(target, f"{host}.localhost")).text == "new"
        await provider.remove(ref, make_step())
        assert (await get(target, f"{host}.localhost")).text == "new"
        await provider.remove(following, make_step())


async def test_strangers_routes_stay_and_keep_their_hosts(
    provider: CaddyProvider, ref: ComponentRef, host: str, target: Target
) -> None:
    taken = f"{uuid.uuid4().hex}.localhost"
    foreign = {"match": [{"host": [taken]}], "handle": [{"handler": "static_response", "body": "foreign"}]}
    with admin(target) as client, upstream("mine") as mine:
        client.post(routes_path(target), json=foreign).raise_for_status()
        try:
            with pytest.raises(Terminal, match="did not make"):
                await provider.apply(ref, step(taken, mine.url))
            await provider.apply(ref, step(host, mine.url))
            await provider.remove(ref, make_step())
            assert foreign in client.get(routes_path(target)).json()
            assert (await get(target, taken)).text == "foreign"
        finally:
            left = [each for each in client.get(routes_path(target)).json() if each != foreign]
            client.patch(routes_path(target), json=left).raise_for_status()


async def test_what_the_inventory_finds_goes_as_it_says(provider: CaddyProvider, ref: ComponentRef, host: str) -> None:
    await provider.apply(ref, step(host, "127.0.0.1:9"))
    (found,) = [each async for each in provider.owned(ref.environment)]
    await asyncio.to_thread(subprocess.run, found.removal, shell=True, capture_output=True, check=True)
    assert [each async for each in provider.owned(ref.environment)] == []


async def test_many_at_once_lose_nothing(provider: CaddyProvider) -> None:
    refs = [make_ref("web", type=ROUTE.name) for _ in range(8)]
    steps = [step(f"many-{uuid.uuid4().hex[:8]}", "127.0.0.1:9") for _ in refs]
    await asyncio.gather(*(provider.apply(ref, each) for ref, each in zip(refs, steps, strict=True)))
    for ref, each in zip(refs, steps, strict=True):
        seen = await provider.observe(ref, each.inputs)
        assert seen is not None
        assert seen.drift == {}
    await asyncio.gather(*(provider.remove(ref, make_step()) for ref in refs))
    for ref in refs:
        assert [each async for each in provider.owned(ref.environment)] == []


async def test_a_server_that_its_config_does_not_have_waits_for_a_human(target: Target, ref: ComponentRef) -> None:
    elsewhere = msgspec.structs.replace(target, config={**target.config, "server": "absent"})
    with pytest.raises(Blocked) as caught:
        await KIND.open(elsewhere, {}).apply(ref, step("a", "127.0.0.1:9"))
    assert caught.value.key == "caddy/local/server"


async def test_what_is_no_caddy_waits_for_a_human(ref: ComponentRef) -> None:
    with upstream("no Caddy") as other:
        opened = KIND.open(Target(name="caddy/other", provider="caddy", config={"admin": other.url}), {})
        with pytest.raises(Blocked) as caught:
            await opened.identify()
    assert caught.value.key == "caddy/other/version"


async def test_another_storage_is_another_server_and_another_config_the_same(tmp_path: Path) -> None:
    one, two = LocalServers(tmp_path / "1"), LocalServers(tmp_path / "2")
    try:
        first, second = local_caddy(one), local_caddy(two)
        identity = (await KIND.open(first, {}).identify()).identity
        assert identity != (await KIND.open(second, {}).identify()).identity
        ref = make_ref("web", type=ROUTE.name)
        await KIND.open(first, {}).apply(ref, step("kept", "127.0.0.1:9"))
        one.stop()
        with pytest.raises(Transient):
            await KIND.open(first, {}).identify()
        one.start("caddy")
        assert (await KIND.open(first, {}).identify()).identity == identity
        assert await KIND.open(first, {}).observe(ref, {"host": "kept", "to": "127.0.0.1:9"}) is not None
        with admin(first) as client:
            client.patch(routes_path(first), json=[]).raise_for_status()
        assert (await KIND.open(first, {}).identify()).identity == identity
        assert await KIND.open(first, {}).observe(ref, {"host": "kept", "to": "127.0.0.1:9"}) is None
    finally:
        one.remove()
        two.remove()


def test_a_hash_is_kept_while_it_is_the_passwords() -> None:
    ref = make_ref("web", type=ROUTE.name)
    made = Accounts(fresh_hashes({1: "x" * 100}))
    routes = [written(ref, route({"host": "a", "to": [], "access": "basic"}, "localhost"), made)]
    assert let_in(routes, ref.name) == made
    assert made.with_live({1: "x" * 100}, {1: "fresh"}) == made
    assert made.with_live({1: "y" * 100}, {1: "fresh"}) == Accounts({1: "fresh"})
    assert let_in(routes, "other") == NOBODY
