"""Doors: how long what opens them is good, for whom, and what cookies say; the whole way is in tests/acceptance."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from msgspec.structs import replace

from api.http.app import create_app
from tests.api.http.world import World, bearer, token
from twin.domain.environment import Environment
from twin.domain.errors import NotFound, Unauthenticated
from twin.domain.identity import Placement
from twin.domain.planner import plan
from twin.domain.steps import Succeeded
from twin.domain.twin import ENVIRONMENT
from twin.service.doors import CODE, SESSION, Doors, browser_of, fresh_nonce
from twin.service.principals import Principal, Request
from twin.testing.blueprints import TYPES
from twin.testing.virtual_clock import VirtualClock

URL = "https://pr-1.example.org"
ASKING = {**TYPES, "test.service": replace(TYPES["test.service"], asks_if=("region", "north"))}
PAGE = {"Accept": "text/html", "X-Twin-Login": "https://twin.example.org", "X-Forwarded-Uri": "/a?b=c"}


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(start=datetime.now(UTC))


@pytest.fixture
def doors(world: World, clock: VirtualClock) -> Doors:
    """Those of a world in which an app of the north asks."""
    return Doors(world.store, world.vault, ASKING, clock)


async def stand(world: World, environment: str, url: str = URL) -> str:
    """Have all of it stand, reached at this address."""
    while True:
        row = await world.store.entity(ENVIRONMENT.kind, environment)
        assert row is not None
        env: Environment = row.state
        steps = [step for step in plan(env).steps if not step.after]
        if not steps:
            return environment
        for step in steps:
            place = Placement(step.target, f"{step.target}.test:1", identity=f"server-of-{step.target}")
            await world.end(environment, step, Succeeded(placement=place, outputs={"url": url, "host": "h"}))


@pytest.fixture
async def standing(world: World, environment: str) -> str:
    """shop/dev."""
    return await stand(world, environment)


async def test_a_code_is_good_once_soon_and_in_one_browser(doors: Doors, standing: str, clock: VirtualClock) -> None:
    door, nonce = await doors.door(standing, "app"), fresh_nonce()
    code = doors.code(door, token("reader"), browser_of(nonce))
    for wrong, with_nonce in ((code, fresh_nonce()), (code, ""), (code[:-2], nonce), ("", nonce), ("ü", nonce)):
        with pytest.raises(Unauthenticated):
            await doors.enter(door, wrong, with_nonce, "r1")
    outcomes = await asyncio.gather(
        *(doors.enter(door, code, nonce, f"r{each}") for each in range(4)), return_exceptions=True
    )
    assert sorted(isinstance(each, str) for each in outcomes) == [False, False, False, True]
    (session,) = [each for each in outcomes if isinstance(each, str)]
    entered = await doors.by_session(door, session)
    assert entered is not None
    assert entered.name == "reader"
    assert await doors.by_session(door, code) is None, "a code is no session"
    with pytest.raises(Unauthenticated):
        await doors.enter(door, session, nonce, "r9")
    late = doors.code(door, token("reader"), browser_of(nonce))
    clock.advance(CODE)
    with pytest.raises(Unauthenticated):
        await doors.enter(door, late, nonce, "r10")


async def test_a_session_ends_by_itself_with_its_token_and_with_its_door(
    world: World, doors: Doors, standing: str, clock: VirtualClock
) -> None:
    door, nonce = await doors.door(standing, "app"), fresh_nonce()

    async def entered(name: str) -> str:
        return await doors.enter(door, doors.code(door, token(name), browser_of(nonce)), nonce, "r1")

    reader, auditor = await entered("reader"), await entered("auditor")
    assert await doors.by_session(replace(door, url="https://else.example.org"), reader) is None
    clock.advance(SESSION - timedelta(seconds=1))
    assert await doors.by_session(door, reader) is not None
    await world.services.tokens.revoke("reader", Request(Principal("root", (("*", "admin"),)), "r2"))
    assert await doors.by_session(door, reader) is None, "with the next request"
    assert await doors.by_session(door, auditor) is not None
    clock.advance(1)
    assert await doors.by_session(door, auditor) is None
    with pytest.raises(Unauthenticated):
        await entered("stranger")
    with pytest.raises(Unauthenticated):
        await entered("reader")


@pytest.mark.parametrize("place", ["db", "nothing", "App", "a\0b", ""])
async def test_what_does_not_ask_has_no_door(doors: Doors, standing: str, place: str) -> None:
    with pytest.raises(NotFound):
        await doors.door(standing, place)


async def test_what_does_not_stand_yet_or_any_more_is_shut(world: World, doors: Doors, environment: str) -> None:
    with pytest.raises(NotFound):
        await doors.door(environment, "app")
    with pytest.raises(NotFound):
        await doors.door("env_" + "0" * 26, "app")
    with pytest.raises(NotFound):
        await doors.door("env_1\0", "app")


async def test_by_https_the_cookies_are_the_hosts_alone(world: World, doors: Doors, standing: str) -> None:
    app = create_app(replace(world.services, doors=doors))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://twin") as client:
        at = f"/doors/{standing}/app"
        sent = await client.get(f"{at}/pass", headers=PAGE)
        where = urlsplit(sent.headers["Location"])
        assert f"{where.scheme}://{where.netloc}{where.path}" == f"https://twin.example.org{at}"
        query = {name: values[0] for name, values in parse_qs(where.query).items()}
        assert query["to"] == "/a?b=c"
        (nonce,) = sent.headers.get_list("Set-Cookie")
        assert nonce.startswith("__Host-twin-door-nonce=")
        assert "Secure" in nonce.split("; ")
        assert browser_of(nonce.partition("=")[2].partition(";")[0]) == query["browser"], "seen by others as a digest"

        back = await client.post(at, data={**query, "token": token("reader")})
        assert back.headers["Location"].startswith(f"{URL}/.twin/login?code=")
        code = parse_qs(urlsplit(back.headers["Location"]).query)["code"][0]
        # As the proxy sends it on; httpx's own cookies are not sent by http to what is Secure.
        entered = await client.get(
            f"{at}/session", params={"code": code, "to": "/a?b=c"}, headers={"Cookie": nonce.partition(";")[0]}
        )
        assert (entered.status_code, entered.headers["Location"]) == (303, "/a?b=c")
        session, gone = entered.headers.get_list("Set-Cookie")
        assert session.startswith("__Host-twin-door=")
        assert {"Secure", "HttpOnly", "SameSite=lax", "Path=/", f"Max-Age={SESSION.seconds}"} <= set(
            session.split("; ")
        )
        assert "Max-Age=0" in gone.split("; ")

        passed = await client.get(f"{at}/pass", headers={"Cookie": session.partition(";")[0]})
        assert (passed.status_code, passed.headers["X-Twin-Door"]) == (204, f"{standing}/app")
        bare = session.partition(";")[0].removeprefix("__Host-")
        assert (await client.get(f"{at}/pass", headers={"Cookie": bare})).status_code == 401, (
            "another host may set that"
        )


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (PAGE, 302),
        ({**PAGE, "Sec-Fetch-Mode": "navigate"}, 302),
        ({**PAGE, "Sec-Fetch-Mode": "cors"}, 401),
        ({**PAGE, "X-Forwarded-Method": "POST"}, 401),
        ({**PAGE, "Accept": "*/*"}, 401),
        ({**PAGE, "X-Twin-Login": "javascript:x"}, 401),
        ({name: value for name, value in PAGE.items() if name != "X-Twin-Login"}, 401),
        ({**PAGE, **bearer("stranger")}, 403),
        ({**PAGE, "Authorization": "Bearer twin_wrong"}, 401),
        (bearer("auditor"), 204),
        (bearer("dev"), 204),
    ],
)
async def test_who_is_sent_to_the_login_and_who_is_told_no(
    world: World, doors: Doors, standing: str, headers: dict[str, str], status: int
) -> None:
    transport = httpx.ASGITransport(create_app(replace(world.services, doors=doors)), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://twin") as client:
        assert (await client.get(f"/doors/{standing}/app/pass", headers=headers)).status_code == status


async def test_the_page_shows_what_it_is_given_as_text(world: World, doors: Doors, standing: str) -> None:
    transport = httpx.ASGITransport(create_app(replace(world.services, doors=doors)), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://twin") as client:
        at = f"/doors/{standing}/app"
        page = await client.get(at, params={"to": '/"><script>', "browser": '"><script>'})
        assert "<script>" not in page.text
        assert page.headers["Content-Type"].startswith("text/html")
        again = await client.post(at, data={"token": "x", "browser": '"><script>'})
        assert again.status_code == 401
        assert "<script>" not in again.text
        flood = await client.post(at, data={str(number): "x" for number in range(99)})
        assert (flood.status_code, flood.json()["code"]) == (400, "malformed")
        other = await client.post(at, json={"token": token("root")})
        assert other.status_code == 415
