"""A guestbook: PostgreSQL keeps the words, Redis counts the visits, a NATS job greets each guest.

`python app.py` serves on 127.0.0.1:$PORT. Any of the three may be away for a while: the page says which, and goes on
with the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable
from html import escape
from pathlib import Path
from string import Template
from typing import Annotated, TypeVar

import uvicorn
from backends import PATIENCE, Entries, Entry, Jobs, Visits
from litestar import Litestar, MediaType, Response, get, post
from litestar.datastructures import ResponseHeader
from litestar.enums import RequestEncodingType
from litestar.params import Body
from litestar.response import Redirect

T = TypeVar("T")

log = logging.getLogger("guestbook")

PAGE = Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))
SHOWN = 20

entries = Entries(os.environ["DATABASE_URL"])
visits = Visits(os.environ["REDIS_URL"], os.environ["REDIS_PREFIX"])
jobs = Jobs(os.environ["NATS_URL"], os.environ["JOBS_STREAM"], entries)
BACKENDS = {"PostgreSQL": entries, "Redis": visits, "NATS": jobs}


async def within_patience(work: Awaitable[T]) -> T | None:
    """The result, or None if the backend is away; the reason goes to the log."""
    try:
        async with asyncio.timeout(PATIENCE + 0.5):
            return await work
    except Exception as trouble:  # whatever a driver raises, the page goes on without this backend
        log.warning("%s: %s", type(trouble).__name__, next(iter(str(trouble).splitlines()), "no answer"))
        return None


async def answers(backend: Entries | Visits | Jobs) -> bool:
    async def check() -> bool:
        await backend.check()
        return True

    return await within_patience(check()) or False


async def state() -> dict[str, bool]:
    """Which backends answer now."""
    return dict(zip(BACKENDS, await asyncio.gather(*map(answers, BACKENDS.values())), strict=True))


@get("/healthz")
async def health() -> Response[dict[str, bool]]:
    """200 if all three answer, else 503; either way, which ones do."""
    up = await state()
    return Response(up, status_code=200 if all(up.values()) else 503)


@get("/", media_type=MediaType.HTML)
async def index() -> str:
    """The page."""
    return await page()


@post("/sign", status_code=200, media_type=MediaType.HTML)
async def sign(
    data: Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)],
) -> Redirect | Response[str]:
    """Keep the entry, send its job, and give the greeting a moment to arrive."""
    name, message = (str(data.get(field, "")).replace("\0", "").strip() for field in ("name", "message"))
    problem = ""
    if not 1 <= len(name) <= 60:
        problem = "Please tell your name, in at most 60 characters."
    elif not 1 <= len(message) <= 500:
        problem = "Please leave a message of at most 500 characters."
    else:
        entry = await within_patience(entries.add(name, message))
        if entry is not None:
            await within_patience(greeted(entry, name))
            return Redirect("/", status_code=303)
        problem = "Your message could not be kept just now. Please try again in a moment."
    status = 503 if problem.startswith("Your") else 422
    return Response(await page(problem, name, message), status_code=status, media_type=MediaType.HTML)


async def greeted(entry: int, name: str) -> None:
    """Publish the job and wait at most a second; without the queue the greeting follows when it is back."""
    await jobs.publish(entry, name)
    for _ in range(10):
        if await entries.answered(entry):
            return
        await asyncio.sleep(0.1)


async def page(notice: str = "", name: str = "", message: str = "") -> str:
    """All that the three backends have to say."""
    up, count, latest = await asyncio.gather(
        state(), within_patience(visits.count()), within_patience(entries.latest(SHOWN))
    )
    return PAGE.substitute(
        visits="The counter takes a rest." if count is None else f"Visit number {count:,}. Good to see you.",
        backends="".join(map(pill, up, up.values())),
        notice=f'<p class="notice" role="alert">{escape(notice)}</p>' if notice else "",
        name=escape(name),
        message=escape(message),
        entries=told(latest),
        environment=escape(os.environ.get("ENVIRONMENT", "of its own")),
        replica=escape(os.environ.get("REPLICA", "0")),
    )


def pill(backend: str, up: bool) -> str:
    """One backend's state, in words too: colour alone tells nothing to some."""
    return f'<li class="{"up" if up else "down"}">{backend} <strong>{"answers" if up else "is away"}</strong></li>'


def told(latest: list[Entry] | None) -> str:
    """The entries as articles; every text is a guest's, so every text is escaped."""
    if latest is None:
        return '<p class="hint">The guests\' words cannot be read just now.</p>'
    if not latest:
        return '<p class="hint">Nobody has signed yet. Be the first.</p>'
    return "".join(
        f"<article><h3>{escape(entry.name)}</h3>"
        f'<time datetime="{entry.at.isoformat()}">{entry.at:%d %B %Y, %H:%M}</time>'
        f"<p>{escape(entry.message)}</p>"
        f'<p class="reply">{escape(entry.reply or "A greeting is on its way.")}</p></article>'
        for entry in latest
    )


@contextlib.asynccontextmanager
async def lifespan(_: Litestar) -> AsyncIterator[None]:
    """Work on jobs for as long as the app serves; leave quickly."""
    await entries.open()
    working = asyncio.create_task(jobs.work())
    try:
        yield
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await asyncio.gather(jobs.close(), visits.close(), entries.close(), return_exceptions=True)


app = Litestar(
    [health, index, sign],
    lifespan=[lifespan],
    openapi_config=None,
    response_headers=[
        ResponseHeader(name="Cache-Control", value="no-store"),
        ResponseHeader(
            name="Content-Security-Policy",
            value="default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'",
        ),
    ],
)

if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        access_log=False,
        timeout_graceful_shutdown=1,
        log_level="warning",
    )
