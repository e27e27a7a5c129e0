"""Takes secrets out of what is logged: by the name they stand under, and by their form within any text.

A safety net and no permission: code must not log secrets. It errs towards hiding too much.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

HIDDEN = "***"
_DEEPEST = 8

_SECRET_WORD = r"(?:pass(?:word|wd|phrase)|pwd|secrets?|tokens?|authorization|cookie|credentials?|dsn|conninfo|jwt)"  # noqa: S105
# A bare `key` names a task or a block here, and these keys are names too; any other …_key opens something.
_NAMING_KEYS = frozenset({"key", "block_key", "idempotency_key", "step_key", "public_key"})
_SECRET_NAME = re.compile(rf"{_SECRET_WORD}$|(?:_|api)keys?$")
# Bounded repetitions: no text makes the search slow.
_USERINFO = re.compile(
    r"(?i)\b([a-z][a-z0-9+.-]{0,20}://)(?:[^\s/@:\"'<>]{0,256}:[^\s\"'<>]{0,1024}|[^\s/@\"'<>]{1,1024})@"
)
_ASSIGNMENT = re.compile(
    rf"(?i)({_SECRET_WORD}|api[-_]?key)([\"']?\s{{0,3}}[=:]\s{{0,3}})"
    r"(?:(?:bearer|basic)\s+)?(\"[^\"]{1,1024}\"|'[^']{1,1024}'|[^\s,;&\"'(){}\[\]]{1,1024})"
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether what stands under this name is hidden: password, token, api_key, Authorization, …"""
    folded = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).casefold().replace("-", "_")
    return folded not in _NAMING_KEYS and _SECRET_NAME.search(folded) is not None


def scrub(text: str) -> str:
    """The text without the credentials of URLs, `password=…` and the like, and bearer tokens."""
    if "://" in text:
        text = _USERINFO.sub(rf"\1{HIDDEN}@", text)
    if "=" in text or ":" in text:
        text = _ASSIGNMENT.sub(rf"\1\2{HIDDEN}", text)
    return _BEARER.sub(rf"\1 {HIDDEN}", text)


def redact(value: Any, depth: int = 0) -> Any:
    """The value with secrets hidden, at any depth; what is not JSON becomes its scrubbed `repr`."""
    if depth > _DEEPEST:
        return "…"
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return scrub(value)
        case dict() | Mapping():  # most are dicts, and to ask for them first is quicker
            return {
                str(key): HIDDEN if is_secret_name(str(key)) and each else redact(each, depth + 1)
                for key, each in value.items()
            }
        case list() | tuple() | set() | frozenset():
            return [redact(each, depth + 1) for each in value]
        case _:
            return scrub(str(value) if isinstance(value, BaseException) else repr(value))
