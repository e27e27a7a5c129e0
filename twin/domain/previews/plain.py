"""What a stranger's document may have as a value: what JSON has, of a size that somebody would write."""

from __future__ import annotations

import math
from typing import Any, NoReturn

from twin.domain.errors import Invalid

DEEPEST = 16
"""Levels of mappings and lists."""

MOST_VALUES = 1000
"""Values in all, keys included."""

_INTEGERS = range(-(2**63), 2**63)
_NO_TEXT = range(0xD800, 0xE000)
"""Halves of a character."""


def check_plain(value: Any, where: str) -> None:
    """Raise `Invalid` for anything else. What is in it several times counts as often, so that it ends soon."""
    left, values = [(value, DEEPEST)], 0
    while left:
        each, depth = left.pop()
        values += 1
        if values > MOST_VALUES:
            _refuse(where, f"it has more than {MOST_VALUES} values", "Have it smaller.")
        match each:
            case dict() | list() if depth == 0:
                _refuse(where, f"it is nested deeper than {DEEPEST}", "Flatten it.")
            case dict() | list() if len(each) > MOST_VALUES:
                _refuse(where, f"it has more than {MOST_VALUES} values", "Have it smaller.")
            case dict():
                if not all(isinstance(key, str) for key in each):
                    _refuse(where, "a key is no text", "Put it in quotes.")
                left += [(key, depth) for key in each]
                left += [(under, depth - 1) for under in each.values()]
            case list():
                left += [(under, depth - 1) for under in each]
            case _:
                _check_single(each, where)


def _check_single(value: Any, where: str) -> None:
    match value:
        case str():
            if any(character == "\0" or ord(character) in _NO_TEXT for character in value):
                _refuse(where, "it has what is no character of a text", "Remove it.")
        case None | bool():
            pass
        case int():
            if value not in _INTEGERS:
                _refuse(where, "a number has more than 64 bits", "Put it in quotes.")
        case float():
            if not math.isfinite(value):
                _refuse(where, "a number is infinite, or none", "Give a number.")
        case _:
            _refuse(where, "it has a value that is neither text nor number", "Put it in quotes.")


def _refuse(where: str, problem: str, mend: str) -> NoReturn:
    raise Invalid(f"{where}: {problem}", field=where, mend=mend)
