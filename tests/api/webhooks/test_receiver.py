"""Where forges deliver: signed by the secret alone, kept once, and nothing else in the world moves."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import Litestar
from litestar.di import Provide

from api.http.problems import HANDLERS
from api.http.tracing import Tracing
from api.webhooks.forms import FORMS
from api.webhooks.receiver import webhooks
from tests.api.http.world import World
from tests.api.webhooks.hooks import (
    GITEA,
    GITHUB,
    GUID,
    SECRET,
    Headers,
    bytes_of,
    from_gitea,
    from_github,
    inbox_events,
    pull_request,
    refusals,
    signature,
)
from tests.waiting import soon
from twin.domain.platform import PLATFORM_ID
from twin.ports.store import EventFilter
from twin.service.floods import AT_ONCE, EVERY, Floods
from twin.service.inboxes import LARGE

BODY = bytes_of(pull_request())


async def post(
    world: World, body: bytes = BODY, headers: Headers | None = None, *, to: str = GITHUB, **more: Any
) -> httpx.Response:
    async with world.client(None) as http:
        return await http.post(
            f"/webhooks/{to}", content=body, headers=from_github(body) if headers is None else headers, **more
        )


async def test_what_is_signed_is_kept_as_it_came_and_answered(world: World) -> None:
    for target, headers in ((GITHUB, from_github(BODY)), (GITEA, from_gitea(BODY))):
        answer = await post(world, BODY, headers, to=target)
        assert answer.status_code == 202
        assert answer.json() == {"delivery": GUID, "new": True}
        (kept,) = await world.store.undone(target, limit=9)
        assert zlib.decompress(kept.body or b"") == BODY
        assert (kept.id, kept.event, kept.number) == (GUID, "pull_request", 1)
        assert kept.headers["content-type"] == "application/json"
        assert "authorization" not in kept.headers
        (taken,) = await inbox_events(world, target)
        assert (taken.type, taken.request_id, taken.event.delivery) == ("delivery_taken", GUID, GUID)
    assert set(await world.store.queues()) == {"inbox/gitea/main", "inbox/github/main"}
    assert await refusals(world) == []


async def test_it_takes_no_token_and_all_else_still_does(world: World) -> None:
    async with world.client(None) as http:
        assert (await http.get("/v1/me")).status_code == 401
        assert (await http.get("/webhooks/github/main")).status_code == 405
        assert (await http.post("/webhooks/github")).status_code in (401, 404)
        assert (await http.post("/v1/tokens/../../webhooks/github/main")).status_code == 401
    async with world.client("root") as http:
        answer = await http.post("/webhooks/github/main", content=BODY, headers={"X-Hub-Signature-256": "sha256=00"})
        assert answer.status_code == 401, "an admin's token is no signature"


async def test_a_delivery_that_comes_again_changes_nothing_and_is_recorded(world: World) -> None:
    await post(world)
    before = (await world.store.events(EventFilter())).items
    other = bytes_of(pull_request(43))
    for again in (BODY, other):
        answer = await post(world, again)
        assert (answer.status_code, answer.json()) == (202, {"delivery": GUID, "new": False})
        *old, repeated = (await world.store.events(EventFilter())).items
        assert tuple(old) == before
        assert repeated.event.what == "delivery_repeated"
        assert (repeated.event.details["target"], repeated.event.details["delivery"]) == (GITHUB, GUID)
        assert repeated.request_id == answer.headers["X-Request-Id"]
        before = (*before, repeated)
    (kept,) = await world.store.undone(GITHUB, limit=9)
    assert zlib.decompress(kept.body or b"") == BODY


async def test_many_at_once_are_taken_each_once_and_numbered(world: World) -> None:
    async def send(number: int) -> httpx.Response:
        body = bytes_of(pull_request(number))
        return await post(world, body, from_github(body, guid=f"guid-{number}"))

    answers = await asyncio.gather(*(send(number % 20 + 1) for number in range(60)))
    assert {answer.status_code for answer in answers} == {202}
    assert sum(answer.json()["new"] for answer in answers) == 20
    assert [each.number for each in await world.store.undone(GITHUB, limit=99)] == list(range(1, 21))


FORGED: dict[str, Headers] = {
    "none": {},
    "empty": {"X-Hub-Signature-256": ""},
    "another secret": {"X-Hub-Signature-256": f"sha256={signature(BODY, 'guessed')}"},
    "of another body": {"X-Hub-Signature-256": f"sha256={signature(BODY + b' ')}"},
    "without its prefix": {"X-Hub-Signature-256": signature(BODY)},
    "cut": {"X-Hub-Signature-256": f"sha256={signature(BODY)[:-1]}"},
    "in capitals": {"X-Hub-Signature-256": f"sha256={signature(BODY).upper()}"},
    "only the old one": {"X-Hub-Signature": "sha1=2346a2ea5d7f6fbb3b4c3a4f1cbe7f9f1d6e8d4e"},
    "the other forge's": {"X-Gitea-Signature": signature(BODY)},
    "with an empty secret": {"X-Hub-Signature-256": f"sha256={signature(BODY, '')}"},
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
async def test_a_forged_delivery_is_refused_recorded_and_changes_nothing(world: World, forged: Headers) -> None:
    right = {name: value for name, value in from_github(BODY).items() if not name.startswith("X-Hub")}
    answer = await post(world, BODY, right | forged)
    assert answer.status_code == 401
    assert answer.headers["Content-Type"] == "application/problem+json"
    told = answer.json()
    assert (told["code"], told["field"]) == ("unauthenticated", "x-hub-signature-256")
    assert SECRET not in answer.text
    (refused,) = await refusals(world)
    assert refused.event.what == "delivery_refused"
    assert refused.event.details["target"] == GITHUB
    assert refused.request_id == answer.headers["X-Request-Id"]
    assert (await world.store.events(EventFilter())).items == (refused,)
    assert await world.store.undone(GITHUB, limit=9) == ()


@pytest.mark.parametrize("place", ["gitlab/main", "data/data-1", "github/..%2fmain"])
async def test_what_is_no_place_of_a_forge_is_not_found_whatever_is_sent_there(world: World, place: str) -> None:
    answer = await post(world, to=place)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    for refused in await refusals(world):
        assert refused.event.what == "delivery_refused"
    assert await inbox_events(world) == []


@pytest.mark.parametrize("place", ["other", "deaf", "%00", "é"])
@pytest.mark.parametrize("headers", [from_github(BODY), {}], ids=["signed", "unsigned"])
async def test_a_stranger_does_not_learn_which_targets_there_are(world: World, place: str, headers: Headers) -> None:
    there = await post(world, BODY, from_github(BODY, secret="a guess") if headers else {})
    answer = await post(world, BODY, headers, to=f"github/{place}")
    assert answer.status_code == there.status_code == 401
    told, known = answer.json(), there.json()
    for each in (told, known):
        each["mend"], each["request_id"] = each["mend"].replace(f"github/{unquote(place)}", GITHUB), ""
    assert told == known
    assert answer.headers.keys() == there.headers.keys()
    reasons = {refused.event.details["reason"] for refused in await refusals(world)}
    assert len(reasons) == 2, "the history tells which it is"
    assert await inbox_events(world) == []


async def test_a_secret_that_is_empty_is_none(world: World) -> None:
    sealed = world.vault.seal(PLATFORM_ID, GITHUB, 2, "webhook_secret", "")
    await world.store.transact(lambda tx: tx.put_secret(PLATFORM_ID, GITHUB, 2, "webhook_secret", sealed))
    assert (await post(world, BODY, from_github(BODY, secret=""))).status_code == 401


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("X-GitHub-Delivery", ""),
        ("X-GitHub-Delivery", "a b"),
        ("X-GitHub-Delivery", "x" * 129),
        ("X-GitHub-Event", ""),
        ("X-GitHub-Event", "Pull Request"),
        ("X-GitHub-Event", "../x"),
    ],
)
async def test_a_delivery_must_say_what_it_is(world: World, header: str, value: str) -> None:
    answer = await post(world, BODY, from_github(BODY) | {header: value})
    assert (answer.status_code, answer.json()["field"]) == (400, header.lower())
    assert await inbox_events(world) == []


async def test_a_flood_of_forged_deliveries_leaves_a_few_lines_in_the_history(world: World) -> None:
    for number in range(60):
        assert (await post(world, BODY, from_github(BODY, secret=f"guess {number}"))).status_code == 401
        assert (await post(world, to=f"github/place-{number}")).status_code == 401
    targets = [refused.event.details["target"] for refused in await refusals(world)]
    assert targets.count(GITHUB) <= AT_ONCE + 3
    assert len(targets) <= 2 * (AT_ONCE + 3), "places that strangers invent count as one"


async def test_a_flood_of_the_same_delivery_leaves_a_few_lines_in_the_history(world: World) -> None:
    for _ in range(40):
        assert (await post(world)).status_code == 202
    assert 1 <= len(await refusals(world)) <= AT_ONCE + 3


def test_a_flood_is_counted_by_the_next_that_is_let_through() -> None:
    floods = Floods()
    assert [floods.let("a", 0) for _ in range(AT_ONCE + 3)] == [0] * AT_ONCE + [None] * 3
    assert floods.let("b", 0) == 0, "others have a measure of their own"
    assert floods.let("a", EVERY) == 3
    assert floods.let("a", EVERY) is None
    assert floods.let("a", EVERY * 100) == 1


class Wire:
    """A connection of its own to the service: who sends what an HTTP library would not."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def to(cls, http: httpx.AsyncClient) -> Wire:
        reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
        return cls(reader, writer)

    async def head(self, headers: Headers, to: str = GITHUB) -> None:
        lines = [
            f"POST /webhooks/{to} HTTP/1.1",
            "Host: twin",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        await self.send("\r\n".join([*lines, "", ""]).encode())

    async def send(self, part: bytes) -> None:
        self._writer.write(part)
        await self._writer.drain()

    async def answer(self) -> tuple[int, dict[str, Any]]:
        async with asyncio.timeout(60):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().casefold()
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            body = json.loads(await self._reader.readexactly(length))
        return int(head.split()[1]), body

    async def close(self) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


MEGABYTE = 1024 * 1024


async def test_thirty_megabytes_are_refused_before_they_are_sent(world: World) -> None:
    """They are announced: the answer comes though not one byte of the body has."""
    async with world.served() as http:
        wire = await Wire.to(http)
        await wire.head(from_github(b"") | {"Content-Length": str(30 * MEGABYTE)})
        status, told = await wire.answer()
        await wire.close()
    assert (status, told["code"]) == (413, "too_large")
    (refused,) = await refusals(world)
    assert refused.event.details["target"] == GITHUB
    assert await inbox_events(world) == []


async def test_what_is_not_signed_at_all_is_refused_before_it_is_sent(world: World) -> None:
    async with world.served() as http:
        for target in (GITHUB, "github/other"):
            wire = await Wire.to(http)
            await wire.head({"X-GitHub-Event": "pull_request", "Content-Length": "1000"}, to=target)
            status, told = await wire.answer()
            await wire.close()
            assert (status, told["code"]) == (401, "unauthenticated")
    assert len(await refusals(world)) == 2


async def test_thirty_megabytes_in_pieces_are_refused_as_soon_as_they_are_too_many(world: World) -> None:
    piece = b"%x\r\n%b\r\n" % (MEGABYTE, b"x" * MEGABYTE)
    async with world.served() as http:
        wire = await Wire.to(http)
        await wire.head(from_github(b"") | {"Transfer-Encoding": "chunked"})
        for _ in range(25):
            await wire.send(piece)
        await wire.send(b"1\r\nx\r\n")  # and there would be more
        status, told = await wire.answer()
        await wire.close()
    assert (status, told["code"]) == (413, "too_large")
    assert len(await refusals(world)) == 1
    assert await inbox_events(world) == []


async def test_twenty_five_megabytes_are_taken(world: World) -> None:
    payload = pull_request()
    payload["filler"] = "x" * (25 * MEGABYTE - len(bytes_of(payload | {"filler": ""})))
    body = bytes_of(payload)
    assert len(body) == 25 * MEGABYTE
    async with world.served() as http:
        answer = await http.post(f"/webhooks/{GITHUB}", content=body, headers=from_github(body), timeout=60)
    assert answer.status_code == 202, answer.text
    (kept,) = await world.store.undone(GITHUB, limit=9)
    assert zlib.decompress(kept.body or b"") == body


async def test_who_hangs_up_in_the_middle_has_delivered_nothing(world: World) -> None:
    async with world.served() as http:
        wire = await Wire.to(http)
        await wire.head(from_github(BODY) | {"Content-Length": str(len(BODY))})
        await wire.send(BODY[:-1])
        await wire.close()
        (refused,) = await soon(lambda: refusals(world), within=60)
    assert "ended early" in refused.event.details["reason"]
    assert await inbox_events(world) == []


async def test_who_does_not_come_to_an_end_is_told_so(world: World) -> None:
    app = Litestar(
        [webhooks(world.services, patience=0.1)],
        dependencies={"services": Provide(lambda: world.services, sync_to_thread=False)},
        exception_handlers=HANDLERS,
    )
    app.asgi_handler = Tracing(app.asgi_handler, world.clock)

    async def endless() -> AsyncIterator[bytes]:
        yield BODY[:10]
        await asyncio.Event().wait()

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://twin") as http:
        answer = await http.post(f"/webhooks/{GITHUB}", content=endless(), headers=from_github(BODY))
    assert (answer.status_code, answer.json()["code"]) == (408, "too_slow")
    assert len(await refusals(world)) == 1


async def test_large_bodies_wait_for_each_other_and_are_all_taken(world: World) -> None:
    filler = "x" * LARGE
    bodies = [bytes_of(pull_request(number, filler=filler)) for number in range(1, 10)]
    sent = (post(world, body, from_github(body, guid=f"g{n}")) for n, body in enumerate(bodies))
    assert {answer.status_code for answer in await asyncio.gather(*sent)} == {202}
    kept = await world.store.undone(GITHUB, limit=99)
    assert {zlib.decompress(each.body or b"") for each in kept} == set(bodies)


async def test_what_is_no_json_is_taken_too_for_it_is_not_looked_at_here(world: World) -> None:
    """The work says what is wrong with it; a forge has no use for that answer."""
    for number, body in enumerate((b"", b"{", b"\xff\x00", b"[" * 100_000)):
        assert (await post(world, body, from_github(body, guid=f"g{number}"))).status_code == 202
    assert len(await world.store.undone(GITHUB, limit=9)) == 4


@given(body=st.binary(max_size=200), given_=st.text(max_size=100), secret=st.text(min_size=1, max_size=40))
def test_only_the_right_signature_fits(body: bytes, given_: str, secret: str) -> None:
    for form in FORMS.values():
        name, right = form.signature.header, form.signature.prefix + signature(body, secret)
        assert form.signature.fits(secret, {name: right}, body)
        assert form.signature.fits(secret, {name: given_}, body) is (given_ == right)
        assert not form.signature.fits(secret, {name: right}, body + b"\n")
        assert not form.signature.fits(secret + "x", {name: right}, body)
        assert not form.signature.fits(secret, {}, body)
