"""Logs: one pipe for structlog and for the standard library's loggers, to stderr, as JSON or for a person.

Whoever works on something says so once, with `structlog.contextvars.bound_contextvars(request_id=…, environment=…,
operation=…, step=…)`; every line logged meanwhile, also by libraries, carries it. The last thing before a line is
written is redaction, when exceptions are text already.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, Literal, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from twin.redaction import redact

# Names that the renderers use themselves: their values are made here and hold nothing of the caller's.
_OURS = ("timestamp", "level", "logger")
_LIBRARIES = ("uvicorn", "uvicorn.error", "uvicorn.access", "litestar", "sqlalchemy", "alembic", "httpx", "asyncio")


def configure(
    format: Literal["console", "json"],  # noqa: A002
    level: Literal["debug", "info", "warning", "error"] = "info",
    *,
    stream: TextIO | None = None,
) -> None:
    """Send everything that this process logs through one pipe; to stderr unless `stream` is given.

    Run uvicorn with `log_config=None` and Litestar with `logging_config=None`, or they put their own handlers back.
    """
    least = getattr(logging, level.upper())
    out = stream or sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendered: list[Processor] = [
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _redacted,
        _renderer(format, out),
    ]
    structlog.configure(
        processors=[*shared, *rendered],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=lambda *name: _Sink(out, *name),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        )
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(least)
    for name in _LIBRARIES:
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True
    # Their "info" is every statement with its parameters, and every request: too much, and not fit to be read.
    for name in ("sqlalchemy.engine", "sqlalchemy.pool", "httpx", "httpcore", "asyncio", "alembic"):
        logging.getLogger(name).setLevel(max(least, logging.WARNING))
    logging.captureWarnings(True)


class _Sink:
    """Where a line of structlog's ends: it is complete, and the standard library's way round would cost as much as all
    that was done to it before."""

    def __init__(self, stream: TextIO, name: str = "twin") -> None:
        self.name = name
        self._stream = stream

    def info(self, line: str) -> None:
        """Write it. A disk that is full, or a reader that has gone, must not stop what is told of."""
        with suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = warning = error = critical = info


def _renderer(format: str, stream: TextIO) -> Processor:  # noqa: A002
    if format == "json":
        return structlog.processors.JSONRenderer(serializer=_to_json)
    # The plain traceback: the pretty one shows local variables, and they hold secrets.
    return structlog.dev.ConsoleRenderer(
        colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=32
    )


def _to_json(event: EventDict, **_: Any) -> str:
    try:
        return msgspec.json.encode(event).decode()
    except UnicodeEncodeError:  # a lone surrogate, as in the name of a file
        return json.dumps(event)


def _redacted(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    kept: MutableMapping[str, Any] = {key: event[key] for key in _OURS if key in event}
    return {**redact({key: value for key, value in event.items() if key not in _OURS}), **kept}
