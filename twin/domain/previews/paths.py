"""Globs over changed paths: `src/**`, `*.md`, `**/deploy/*`. Bounded in time, as some are a stranger's.

`*` and `?` stay within a folder, `**` does not; `**/` also stands for no folder at all, and `docs/` for all below it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from twin.domain.errors import Invalid

MOST_PATTERNS = 32
LONGEST_PATTERN = 200

_TOKEN = re.compile(r"\*\*/|\*+|\?|.", re.DOTALL)
_ANYTHING, _WITHIN, _ONE = "**", "*", "?"
_PERHAPS, _FOLDERS = "**?", "**/"
"""What `**/` becomes: a place from which it may be left out, and one within it, which only a slash leaves."""


def check_patterns(patterns: Sequence[str], where: str) -> None:
    """Raise `Invalid` for too many, or for one that is empty, too long or absolute."""
    if len(patterns) > MOST_PATTERNS:
        raise Invalid(f"{where}: {len(patterns)} are given; the maximum is {MOST_PATTERNS}", field=where)
    for pattern in patterns:
        if not pattern or len(pattern) > LONGEST_PATTERN or pattern.startswith("/"):
            raise Invalid(
                f"{where}: {pattern!r} is no pattern of a path within the repository (1 to {LONGEST_PATTERN} "
                "characters, no leading slash)",
                field=where,
                mend="For example: src/**, *.md.",
            )


def any_matches(paths: Iterable[str], patterns: Sequence[str]) -> bool:
    """Whether one of the paths matches one of the patterns."""
    parsed = [_parse(pattern) for pattern in patterns]
    return any(_matches(path, tokens) for path in paths for tokens in parsed)


def _parse(pattern: str) -> tuple[str, ...]:
    tokens: list[str] = []
    for token in _TOKEN.findall(pattern + "**" if pattern.endswith("/") else pattern):
        tokens += (_PERHAPS, _FOLDERS) if token == _FOLDERS else (token[:2],)
    return tuple(tokens)


def _matches(path: str, tokens: tuple[str, ...]) -> bool:
    """By the set of the places in the pattern that can be reached, one character after the other."""
    reached = _with_skipped({0}, tokens)
    for character in path:
        reached = _with_skipped(set(_after(reached, character, tokens)), tokens)
        if not reached:
            return False
    return len(tokens) in reached


def _after(reached: set[int], character: str, tokens: tuple[str, ...]) -> Iterable[int]:
    for place in reached:
        token = tokens[place] if place < len(tokens) else _PERHAPS
        if token in (_ANYTHING, _FOLDERS) or (token == _WITHIN and character != "/"):
            yield place
        if token == character or (token == _ONE and character != "/") or (token == _FOLDERS and character == "/"):
            yield place + 1


def _with_skipped(reached: set[int], tokens: tuple[str, ...]) -> set[int]:
    """With the places behind what may stand for nothing."""
    left = list(reached)
    while left:
        place = left.pop()
        token = tokens[place] if place < len(tokens) else ""
        skips = (place + 1,) if token in (_ANYTHING, _WITHIN) else (place + 1, place + 2) if token == _PERHAPS else ()
        left += [each for each in skips if each not in reached]
        reached.update(skips)
    return reached
