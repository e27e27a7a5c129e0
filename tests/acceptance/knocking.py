"""A consumer that logs in over and over again with what it was given, and writes down how each time went.

Run as a program it is the app of an environment; `Knocker` is the same outside of it. It imports nothing of the twin.
"""

from __future__ import annotations

import asyncio
import http.server
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

REFUSALS = ("authentication", "authorization", "not permitted to log in", "wrongpass", "does not exist", "noauth")
"""What servers say to a credential that they do not take (any more)."""


async def knock(url: str) -> None:
    """Log in, ask for something, leave. Raises what the driver raises."""
    scheme = urlsplit(url).scheme
    if scheme == "postgresql":
        import psycopg

        async with await psycopg.AsyncConnection.connect(url, connect_timeout=10) as connection:
            await connection.execute("SELECT 1")
    elif scheme == "redis":
        import redis

        with redis.Redis.from_url(url, socket_timeout=10) as client:
            client.ping()
    elif scheme == "nats":
        import nats.aio.client

        async def quiet(error: Exception) -> None:
            """The call raises it too."""

        client = nats.aio.client.Client()
        try:
            await client.connect(url, allow_reconnect=False, connect_timeout=10, error_cb=quiet)
            await client.flush(10)
        finally:
            await client.close()  # also a connection that did not come about leaves something open
    else:
        raise ValueError(f"nobody knows how to knock at {scheme}")


def verdict(error: BaseException | None) -> str:
    """opened, refused, or cut: a connection that did not come about for another reason than the credential."""
    if error is None:
        return "opened"
    said = f"{type(error).__name__} {error}".lower()
    return "refused" if any(word in said for word in REFUSALS) else "cut"


class Knocker:
    """Knocks at what `urls` gives, for as long as it lives; `record` is told of every time."""

    def __init__(self, urls: Callable[[], Mapping[str, str]], record: Callable[[str, str, str], None]) -> None:
        self._urls = urls
        self._record = record
        self._end = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._knock_for_ever()), daemon=True)

    def __enter__(self) -> Knocker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(30)

    async def _knock_for_ever(self) -> None:
        while not self._end.is_set():
            for name, url in self._urls().items():
                try:
                    await knock(url)
                except Exception as error:
                    self._record(name, verdict(error), f"{type(error).__name__}: {error}"[:200])
                else:
                    self._record(name, "opened", "")
            await asyncio.sleep(0.02)


class Record:
    """A file of lines, one a knock; many processes may write to it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, name: str, how: str, said: str) -> None:
        line = json.dumps({"name": name, "how": how, "said": said}) + "\n"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, line.encode())
        os.close(descriptor)

    def counts(self) -> Counter[tuple[str, str]]:
        """How often each door opened, refused, or was cut."""
        return Counter((each["name"], each["how"]) for each in self._lines())

    def refusals(self) -> list[str]:
        """What was said each time that a credential was refused."""
        return [f"{each['name']}: {each['said']}" for each in self._lines() if each["how"] == "refused"]

    def _lines(self) -> list[dict[str, str]]:
        if not self._path.exists():
            return []
        return [json.loads(line) for line in self._path.read_text().splitlines()]


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Healthy, once every door has opened."""
        self.send_response(200 if READY.is_set() else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


READY = threading.Event()


def main() -> None:
    """The app: doors are the variables that end in _URL."""
    doors = {name: value for name, value in os.environ.items() if name.endswith("_URL")}
    record = Record(Path(os.environ["RECORD"]))
    opened: set[str] = set()

    def note(name: str, how: str, said: str) -> None:
        record(name, how, said)
        if how == "opened":
            opened.add(name)
            if opened == doors.keys():
                READY.set()

    with Knocker(lambda: doors, note):
        http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), _Page).serve_forever()


if __name__ == "__main__":
    main()
