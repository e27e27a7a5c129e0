"""Streams over a real server: what has happened, what happens next, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
from httpx_sse import EventSource, ServerSentEvent, aconnect_sse

from tests.api.http.world import World


async def take(source: AsyncIterator[ServerSentEvent], count: int) -> list[ServerSentEvent]:
    async with asyncio.timeout(10):
        return [await anext(source) for _ in range(count)]


async def protect(http: httpx.AsyncClient, environment: str) -> None:
    answer = await http.post(f"/v1/environments/{environment}/signals", json={"signal": "protect"})
    assert answer.status_code == 202, answer.text


async def test_events_come_first_as_they_were_and_then_as_they_happen(world: World, environment: str) -> None:
    path = f"/v1/environments/{environment}/events"
    async with world.served() as http:
        page = (await http.get(path)).json()
        async with aconnect_sse(http, "GET", path) as stream:
            events = stream.aiter_sse()
            old = await take(events, len(page["items"]))
            assert [event.id for event in old] == [event["id"] for event in page["items"]]
            assert [event.json() for event in old] == page["items"]
            await protect(http, environment)
            new = await take(events, 1)
            assert new[0].json()["seq"] == len(old) + 1
        headers = {"Last-Event-ID": old[-1].id}
        async with aconnect_sse(http, "GET", path, headers=headers) as stream:
            assert (await take(stream.aiter_sse(), 1))[0].id == new[0].id, "it goes on where it was cut"


async def test_between_events_running_steps_tell_their_progress_to_who_asks(world: World, environment: str) -> None:
    path = f"/v1/environments/{environment}/events"
    task = await world.begin(environment)
    async with world.served() as http:
        page = (await http.get(path)).json()
        after = page["next"]
        async with (
            aconnect_sse(http, "GET", path, params={"after": after, "progress": "true"}) as asking,
            aconnect_sse(http, "GET", path, params={"after": after}) as other,
        ):
            events, others = asking.aiter_sse(), other.aiter_sse()
            for text in ("1 of 12", "7 of 12, waiting for slow-8"):
                await world.store.tell(task, text)
                (told,) = await take(events, 1)
                assert (told.event, told.id, told.json()) == ("progress", "", {"progress": {task.key: text}})
            await protect(http, environment)
            (event,) = await take(others, 1)
            assert event.json()["type"] == "operation_accepted", "who has not asked hears of events alone"
            while (heard := (await take(events, 1))[0]).event == "progress":
                pass
            assert heard.id == event.id


async def test_what_is_wrong_is_said_before_a_stream_begins(world: World, environment: str) -> None:
    async with world.served() as http:
        for path in ("/v1/environments/env_0/events", f"/v1/environments/{environment}/events?after=x"):
            answer = await http.get(path, headers={"Accept": "text/event-stream"})
            assert answer.headers["Content-Type"] == "application/problem+json"


async def test_streams_end_when_the_service_stops(world: World, environment: str) -> None:
    await world.work(environment)
    base = f"/v1/environments/{environment}"
    async with world.served() as http:

        async def read(path: str, accept: str) -> None:
            async with http.stream("GET", path, headers={"Accept": accept}, timeout=10) as answer:
                chunks = answer.aiter_raw()
                await anext(chunks)
                began.release()
                async for _ in chunks:
                    pass

        began = asyncio.Semaphore(0)
        reading = [
            asyncio.create_task(read(f"{base}/events", "text/event-stream")),
            asyncio.create_task(read(f"{base}/logs?follow=true", "application/x-ndjson")),
            asyncio.create_task(read(f"{base}/logs?follow=true", "text/event-stream")),
        ]
        for _ in reading:
            await began.acquire()
        world.stopping.stop()
        async with asyncio.timeout(10):
            await asyncio.gather(*reading)
        assert world.chatty.left.is_set(), "its source is closed"


async def test_a_follower_who_leaves_is_followed_by_nothing(world: World, environment: str) -> None:
    await world.work(environment)
    path = f"/v1/environments/{environment}/logs?follow=true&component=app"
    async with world.served() as http:
        async with http.stream("GET", path) as answer:
            assert answer.headers["Content-Type"].startswith("application/x-ndjson")
            assert "line 0" in await anext(answer.aiter_lines())
        async with asyncio.timeout(10):
            await world.chatty.left.wait()


async def test_logs_are_lines_or_events(world: World, http: httpx.AsyncClient, environment: str) -> None:
    path = f"/v1/environments/{environment}/logs"
    before: Any = (await http.get(path)).json()
    assert (before["status"], before["field"]) == (422, "component"), "nothing stands yet"
    await world.work(environment)
    lines = await http.get(path, params={"component": "app", "lines": 2})
    assert lines.headers["Content-Type"].startswith("application/x-ndjson")
    assert [line.split('"text":')[1] for line in lines.text.splitlines()] == [
        '"line 0","at":null}',
        '"line 1","at":null}',
    ]
    answer = await http.get(path, headers={"Accept": "text/event-stream"})
    events = [event.json()["text"] async for event in EventSource(answer).aiter_sse()]
    assert events == ["line 0", "line 1", "line 2"]
    assert (await http.get(path, params={"component": "nope"})).status_code == 404
