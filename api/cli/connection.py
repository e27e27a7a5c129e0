"""The REST client. What a lost connection may have eaten is asked again, under the same Idempotency-Key."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec
from httpx_sse import EventSource
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_exponential, wait_random

from api.cli.exits import NoTwin
from twin.domain.errors import Problem, Unauthenticated

T = TypeVar("T")
Params = Mapping[str, Any]

PATIENCE = 60.0
"""Seconds for which a request is repeated once the service is known to be there."""

FOLLOWING = 600.0
"""The same while an operation is followed: a service that is restarted or moved comes back in that time."""

QUIET = 45.0
"""Seconds after which a silent stream counts as dead; the service says something every 15."""

_PAUSE = 0.3
"""Seconds before a stream that ended is opened again."""

_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LATER = (429, 502, 503, 504)


class Refused(Problem):
    """The API's own words: problem+json."""

    def __init__(self, status: int, body: Mapping[str, Any], *, retry_after: float | None = None) -> None:
        super().__init__(
            str(body.get("detail") or body.get("title") or f"the twin answered with status {status}"),
            field=body.get("field"),
            mend=body.get("mend"),
            code=str(body.get("code") or "problem"),
            details=body,
        )
        self.status = status
        self.retryable = bool(body.get("retryable", status in _LATER))
        self.retry_after = retry_after


class Answer(msgspec.Struct, frozen=True):
    """What came back."""

    status: int
    body: bytes


class Connection:
    """To one service. `tell` hears, in a sentence, when the connection is lost and found again."""

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        tell: Callable[[str], None],
        patience: float = PATIENCE,
    ) -> None:
        self.url = url
        self.tell = tell
        self.patience = patience
        self._met = False
        self._lost = False
        # A proxy from the environment must not come between us and our own machine.
        self._client = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=_TIMEOUT,
            trust_env=urlsplit(url).hostname not in _LOOPBACK,
        )
        self._has_token = token is not None

    def close(self) -> None:
        """Give back the sockets."""
        self._client.close()

    def get(self, path: str, params: Params | None = None, *, accept: str = "application/json") -> bytes:
        """The body of a GET. Raises `Refused` and `NoTwin`, as do all."""
        return self._perform("GET", path, params=_given(params), headers={"Accept": accept}).body

    def read(self, path: str, type: type[T], params: Params | None = None) -> T:  # noqa: A002
        """`get`, decoded."""
        return self.decode(self.get(path, params), type)

    def send(
        self,
        path: str,
        body: Any = None,
        params: Params | None = None,
        *,
        method: str = "POST",
        patience: float | None = None,
    ) -> Answer:
        """A request that changes something: under a fresh Idempotency-Key, so that repeating it does it once. Its
        answer may take `patience` seconds."""
        content, kind = (body, "application/gzip") if isinstance(body, bytes) else (_json(body), "application/json")
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        if content is not None:
            headers["Content-Type"] = kind
        timeout = _TIMEOUT if patience is None else httpx.Timeout(patience, connect=5.0)
        return self._perform(method, path, params=_given(params), headers=headers, content=content, timeout=timeout)

    def pages(self, path: str, params: Params | None = None) -> Iterator[bytes]:
        """Each item of a paged list, as JSON."""
        after: str | None = None
        while True:
            page = self.read(path, _Page, {**(params or {}), "after": after})
            yield from map(bytes, page.items)
            after = page.next
            if after is None or not page.items:
                return

    def lines(self, path: str, params: Params | None = None, *, accept: str) -> Iterator[str]:
        """The lines of an answer as they come. Not repeated: the lines have been shown."""
        try:
            with self._stream(path, params, {"Accept": accept}, read=None) as response:
                yield from response.iter_lines()
        except httpx.TransportError as error:
            raise self._gone(error) from None

    def download(self, path: str, into: BinaryIO) -> None:
        """The bytes that a POST answers with, whole or with an error. Not repeated."""
        try:
            with self._stream(path, None, {}, read=None, method="POST") as response:
                for chunk in response.iter_bytes():
                    into.write(chunk)
        except httpx.TransportError as error:
            raise self._gone(error) from None

    def events(self, path: str, *, after: str | None = None) -> Generator[bytes, None, None]:
        """Each event after the cursor as JSON, and each new one as it comes; ends never."""
        for kind, body in self.told(path, after=after):
            if kind == "message":
                yield body

    def told(
        self, path: str, params: Params | None = None, *, after: str | None = None
    ) -> Generator[tuple[str, bytes], None, None]:
        """As `events`, with all else that is told between them: its name (`message` for an event) and JSON. Lost
        connections are found again where they broke off; ends never."""
        while True:
            with self._opened(path, {**(params or {}), "after": after}) as response:
                try:
                    for event in EventSource(response).iter_sse():
                        after = event.id or after
                        if event.data:
                            yield event.event, event.data.encode()
                except httpx.TransportError:
                    pass  # found again from `after`
            time.sleep(_PAUSE)

    def decode(self, body: bytes, type: type[T]) -> T:  # noqa: A002
        """A body as data; raises `Problem` when whoever answers is no twin."""
        try:
            return msgspec.json.decode(body, type=type)
        except msgspec.DecodeError as error:
            raise self._no_twin_of_ours(str(error)) from None

    def _perform(self, method: str, path: str, **request: Any) -> Answer:
        for attempt in self._attempts(self.patience):
            with attempt:
                response = self._client.request(method, path, **request)
                self._answered(response)
                return Answer(response.status_code, response.content)
        raise AssertionError("unreachable: tenacity reraises")  # pragma: no cover

    @contextmanager
    def _opened(self, path: str, params: Params) -> Iterator[httpx.Response]:
        """A stream of events; opening it is repeated, reading it is not."""
        with ExitStack() as stack:
            for attempt in self._attempts(FOLLOWING):
                with attempt:
                    stream = self._stream(path, params, {"Accept": "text/event-stream"}, read=QUIET)
                    response = stack.enter_context(stream)
            yield response

    @contextmanager
    def _stream(
        self,
        path: str,
        params: Params | None,
        headers: Mapping[str, str],
        *,
        read: float | None,
        method: str = "GET",
    ) -> Iterator[httpx.Response]:
        timeout = httpx.Timeout(30.0, connect=5.0, read=read)
        with self._client.stream(
            method, path, params=_given(params), headers=dict(headers), timeout=timeout
        ) as response:
            if response.is_error:
                response.read()
            self._answered(response)
            yield response

    def _answered(self, response: httpx.Response) -> None:
        self._met = True
        if self._lost and response.status_code not in _LATER:
            self._lost = False
            self.tell(f"The twin at {self.url} answers again.")
        if response.is_error:
            raise self._refused(response)

    def _refused(self, response: httpx.Response) -> Problem:
        try:
            body = msgspec.json.decode(response.content, type=dict[str, Any])
        except msgspec.DecodeError:
            if response.status_code in _LATER:
                return Refused(response.status_code, {"detail": f"{self.url} answers {response.status_code}"})
            return self._no_twin_of_ours(f"status {response.status_code}")
        if response.status_code == 401 and not self._has_token:
            return Unauthenticated(
                "no token: TWIN_TOKEN is not set and the data folder holds no token file",
                mend="Set TWIN_TOKEN, or run as the user who runs `twin serve` (TWIN_DATA_DIR names its folder).",
            )
        after = response.headers.get("Retry-After", "")
        return Refused(response.status_code, body, retry_after=float(after) if after.isdigit() else None)

    def _attempts(self, patience: float) -> Iterator[Any]:
        """Attempts until one succeeds; raises what the last one did, in our words."""
        backoff = wait_exponential(multiplier=0.2, max=3.0) + wait_random(0.0, 0.2)

        def wait(state: RetryCallState) -> float:
            asked = getattr(_error(state), "retry_after", None)
            return min(float(asked), 10.0) if asked is not None else backoff(state)

        def tell(state: RetryCallState) -> None:
            error = _error(state)
            if not self._lost:
                self._lost = True
                why = f": {error.message}" if isinstance(error, Problem) else ""
                self.tell(f"The twin at {self.url} does not answer now{why}; trying again.")

        retrying = Retrying(
            retry=retry_if_exception(self._passes),
            wait=wait,
            stop=stop_after_delay(patience),
            before_sleep=tell,
            reraise=True,
        )
        try:
            yield from retrying
        except httpx.TransportError as error:
            raise self._gone(error) from None

    def _passes(self, error: BaseException) -> bool:
        """Whether it may go better next time. Nobody at the first contact means that there is no twin."""
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return self._met
        if isinstance(error, httpx.TransportError):
            return not isinstance(error, httpx.UnsupportedProtocol)
        return isinstance(error, Refused) and error.retryable and error.status in _LATER

    def _gone(self, error: httpx.TransportError) -> Problem:
        if "CERTIFICATE" in str(error).upper():
            return Problem(f"{self.url}: {error}", field="TWIN_URL", mend="Set SSL_CERT_FILE to the authority's file.")
        if isinstance(error, httpx.ReadTimeout):
            return self._no_twin_of_ours("it accepts connections and then says nothing")
        return NoTwin(self.url)

    def _no_twin_of_ours(self, how: str) -> Problem:
        problem = Problem(
            f"{self.url} does not answer like a twin: {how}", field="TWIN_URL", mend="Set TWIN_URL to its API."
        )
        problem.status = 503
        return problem


class _Page(msgspec.Struct):
    items: list[msgspec.Raw]
    next: str | None = None


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None


def _given(params: Params | None) -> dict[str, Any]:
    return {key: value for key, value in (params or {}).items() if value is not None}


def _json(body: Any) -> bytes | None:
    return None if body is None else msgspec.json.encode(body)
