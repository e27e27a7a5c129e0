"""Near misses: what a person probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def near_misses(name: str, known: Iterable[str], *, most: int = 3) -> tuple[str, ...]:
    """Known names similar to `name`, best first."""
    by_folded = {each.casefold(): each for each in sorted(known)}
    close = difflib.get_close_matches(name.casefold(), by_folded, n=most, cutoff=0.5)
    return tuple(by_folded[folded] for folded in close)


def suggestion(name: str, known: Iterable[str]) -> str:
    """The mend for an unknown name: the near misses, or else everything that is known."""
    known = sorted(known)
    if close := near_misses(name, known):
        return f"Did you mean {' or '.join(repr(each) for each in close)}?"
    return f"Known: {', '.join(known)}." if known else "There are none to choose from; remove it."
