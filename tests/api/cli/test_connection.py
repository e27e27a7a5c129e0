"""What the command line makes of a service that is gone, busy, restarted or no twin at all: over real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest

from api.cli.connection import Connection, Refused
from api.cli.exits import Exit, NoTwin, exit_for
from twin.domain.errors import Problem, Unauthenticated

Reply = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Gives the next of the server's replies, whatever is asked."""

    server: Service

    def reply(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.server.asked.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
        self.server.replies.pop(0)(self)

    do_GET = do_POST = do_DELETE = reply  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


class Service(ThreadingHTTPServer):
    """`replies` are given in their order; `asked` are the requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies: list[Reply] = []
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


def says(status: int, body: Any, media_type: str = "application/json", **headers: str) -> Reply:
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)

    def reply(handler: Handler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", media_type)
        handler.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return reply


def hangs_up(handler: Handler) -> None:
    """As a process that is killed."""
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def refuses(status: int, code: str, **more: Any) -> Reply:
    return says(status, {"status": status, "code": code, "detail": f"it is {code}", **more}, "application/problem+json")


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as service:
        thread = threading.Thread(target=service.serve_forever, args=(0.01,))
        thread.start()
        yield service
        service.shutdown()
        thread.join()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def connection(service: Service, said: list[str]) -> Iterator[Connection]:
    connection = Connection(service.url, "token", tell=said.append, patience=20)
    yield connection
    connection.close()


def test_a_change_that_a_killed_service_may_have_eaten_is_asked_again_under_its_key(
    service: Service, connection: Connection, said: list[str]
) -> None:
    unavailable = refuses(503, "unavailable", retryable=True)
    service.replies = [hangs_up, unavailable, says(202, {"fine": True})]
    assert connection.send("/v1/x", {"signal": "suspend"}).status == 202
    keys = {headers["Idempotency-Key"] for _, _, headers, _ in service.asked}
    assert len(service.asked) == 3
    assert len(keys) == 1, "one wish, one key"
    assert [text.split()[4:7] for text in said] == [["does", "not", "answer"], ["answers", "again."]]


def test_two_wishes_have_two_keys(service: Service, connection: Connection) -> None:
    service.replies = [says(202, {}), says(202, {})]
    connection.send("/v1/x", {})
    connection.send("/v1/x", {})
    assert len({headers["Idempotency-Key"] for _, _, headers, _ in service.asked}) == 2


def test_what_the_service_says_it_cannot_repeat_is_not_repeated(service: Service, connection: Connection) -> None:
    service.replies = [refuses(409, "conflict", field="name", mend="Choose another.")]
    with pytest.raises(Refused) as refused:
        connection.send("/v1/x", {})
    assert (refused.value.code, refused.value.field, refused.value.mend) == ("conflict", "name", "Choose another.")
    assert len(service.asked) == 1


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, Exit.NOT_ALLOWED),
        (403, Exit.NOT_ALLOWED),
        (404, Exit.NOT_FOUND),
        (409, Exit.REFUSED),
        (412, Exit.REFUSED),
        (422, Exit.REFUSED),
        (500, Exit.BUG),
    ],
)
def test_exit_codes(service: Service, connection: Connection, status: int, code: Exit) -> None:
    service.replies = [refuses(status, "so")]
    with pytest.raises(Problem) as refused:
        connection.get("/v1/x")
    assert exit_for(refused.value) is code


def test_nobody_there(said: list[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    connection = Connection(url, None, tell=said.append)
    with pytest.raises(NoTwin) as missing:
        connection.get("/v1/x")
    connection.close()
    assert missing.value.message == f"No twin at {url}: run `twin serve` or set TWIN_URL"
    assert said == [], "who was never there is not waited for"


def test_somebody_else_is_there(service: Service, connection: Connection) -> None:
    service.replies = [says(200, b"<html>", "text/html"), says(404, b"<html>", "text/html")]
    for _ in range(2):
        with pytest.raises(Problem, match="does not answer like a twin") as other:
            connection.read("/v1/x", dict[str, Any])
        assert exit_for(other.value) is Exit.NO_SERVICE


def test_no_token_says_where_one_is_looked_for(service: Service, said: list[str]) -> None:
    service.replies = [refuses(401, "unauthenticated")]
    connection = Connection(service.url, None, tell=said.append)
    with pytest.raises(Unauthenticated, match="TWIN_TOKEN is not set"):
        connection.get("/v1/x")
    connection.close()
    assert "Authorization" not in service.asked[0][2]


def test_a_stream_that_breaks_goes_on_after_the_last_event(service: Service, connection: Connection) -> None:
    service.replies = [
        says(200, b": keep-alive\n\nid: one\ndata: 1\n\n", "text/event-stream"),
        hangs_up,
        says(200, b"id: two\ndata: 2\n\n", "text/event-stream"),
    ]
    events = connection.told("/v1/x/events", {"limit": 5})
    assert [next(events), next(events)] == [("message", b"1"), ("message", b"2")]
    events.close()
    assert [path for _, path, _, _ in service.asked] == [
        "/v1/x/events?limit=5",
        "/v1/x/events?limit=5&after=one",
        "/v1/x/events?limit=5&after=one",
    ]


def test_all_pages_are_read(service: Service, connection: Connection) -> None:
    service.replies = [
        says(200, {"items": [1, 2], "next": "c"}),
        says(200, {"items": [3], "next": "d"}),
        says(200, {"items": [], "next": None}),
    ]
    assert list(connection.pages("/v1/x")) == [b"1", b"2", b"3"]
