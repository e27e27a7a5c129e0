"""Logs: one pipe for structlog and for the standard library's loggers, to stderr, as JSON or for a person.

Whoever works on something says so once, with `structlog.contextvars.bound_contextvars(request_id=…, environment=…,
operation=…, step=…)`; every line logged meanwhile, also by libraries, carries it. The last thing before a line is
written is redaction, when exceptions are text already.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO

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
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.StackInfoRenderer(),
                structlog.processors.format_exc_info,
                _redacted,
                _renderer(format, stream or sys.stderr),
            ],
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


def _renderer(format: str, stream: TextIO) -> Processor:  # noqa: A002
    if format == "json":
        return structlog.processors.JSONRenderer(ensure_ascii=False)
    # The plain traceback: the pretty one shows local variables, and they hold secrets.
    return structlog.dev.ConsoleRenderer(
        colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=32
    )


def _redacted(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    kept: MutableMapping[str, Any] = {key: event[key] for key in _OURS if key in event}
    return {**redact({key: value for key, value in event.items() if key not in _OURS}), **kept}
