"""What every answer carries: its request id and the headers that keep browsers careful; and one log line each."""

from __future__ import annotations

import re
import time
from typing import Any

import structlog
from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from twin.ports.clock import Clock

REQUEST_ID = "X-Request-Id"
_SANE = re.compile(rb"[A-Za-z0-9_.-]{1,128}")
_QUIET = frozenset({"/healthz", "/readyz"})
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Tracing:
    """Wraps the whole application, so that answers to unknown paths are traced as well."""

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        request_id = self._request_id(scope)
        state: dict[str, Any] = scope["state"]
        state["request_id"] = request_id
        status, began = 0, time.monotonic()

        async def traced(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableScopeHeaders.from_message(message)
                headers[REQUEST_ID] = request_id
                for name, value in _ALWAYS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, traced)
            except Exception:
                # The answer had begun: all that can be done is to cut it off, which the server does.
                log.exception("answer cut short", path=scope["path"])
            finally:
                self._record(scope, status, time.monotonic() - began)

    def _request_id(self, scope: Scope) -> str:
        for name, value in scope["headers"]:
            if name.lower() == REQUEST_ID.lower().encode() and _SANE.fullmatch(value):
                return value.decode("ascii")
        return self._clock.fresh_id("req")

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        state: dict[str, Any] = scope["state"]
        told = {
            "method": scope.get("method"),
            "path": scope["path"],
            "status": status or None,
            "ms": round(seconds * 1000, 1),
            "principal": state.get("principal"),
            "problem": state.get("problem"),
        }
        level = log.debug if scope["path"] in _QUIET else log.info
        level("request", **{name: value for name, value in told.items() if value is not None})
