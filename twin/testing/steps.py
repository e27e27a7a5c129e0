"""Builders for what the engine hands to a provider."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import structlog
from structlog.testing import LogCapture
from structlog.typing import FilteringBoundLogger
from ulid import ULID

from twin.domain.identity import ComponentRef, EnvironmentId
from twin.ports.provider import StepContext


def make_environment_id() -> EnvironmentId:
    """A fresh environment's id."""
    return EnvironmentId(f"env_{ULID()}")


def make_ref(
    component: str = "db",
    *,
    type: str = "test.thing",  # noqa: A002 - the field's name in ComponentRef
    environment: EnvironmentId | None = None,
    incarnation: int = 1,
    project: str = "shop",
    tier: str = "dev",
    environment_name: str = "dev",
) -> ComponentRef:
    """A reference to a component, of a fresh environment unless one is given."""
    return ComponentRef(
        environment=environment or make_environment_id(),
        component=component,
        incarnation=incarnation,
        type=type,
        project=project,
        tier=tier,
        environment_name=environment_name,
    )


def make_step(
    inputs: Mapping[str, Any] | None = None,
    secrets: Mapping[str, str] | None = None,
    *,
    idempotency_key: str = "step-1",
    attempt: int = 1,
    seconds: float = 120.0,
    heartbeat: Callable[[str], Awaitable[None]] | None = None,
    log: FilteringBoundLogger | None = None,
    bundle: str | None = None,
    read_bundle: Callable[[], Awaitable[bytes]] | None = None,
    credentials: Mapping[int, Mapping[str, str]] | None = None,
    granted: Iterable[str] = (),
    used: bool = False,
) -> StepContext:
    """One attempt's context: its deadline in `seconds`, heartbeats that nobody hears and a log that nobody reads."""
    return StepContext(
        inputs=dict(inputs or {}),
        secrets=dict(secrets or {}),
        idempotency_key=idempotency_key,
        attempt=attempt,
        deadline=datetime.now(UTC) + timedelta(seconds=seconds),
        heartbeat=heartbeat or _unheard,
        log=log or make_log(LogCapture()),
        bundle=bundle,
        read_bundle=read_bundle,
        credentials=dict(credentials or {}),
        granted=frozenset(granted),
        used=used,
    )


def make_log(capture: LogCapture) -> FilteringBoundLogger:
    """A logger of every level whose lines end in `capture.entries`."""
    logger = structlog.wrap_logger(
        None,
        processors=[capture],
        wrapper_class=structlog.make_filtering_bound_logger(0),
        cache_logger_on_first_use=False,
    )
    return cast("FilteringBoundLogger", logger)


async def _unheard(progress: str) -> None:
    """A heartbeat's end of the line."""
