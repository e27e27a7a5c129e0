"""Taking known secrets out of what a child process says."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from twin.domain.disguises import disguises

HIDDEN = "•••"
SHORTEST_SECRET = 6  # shorter ones would hide ordinary words


def words_to_hide(values: Iterable[str], shortest: int = SHORTEST_SECRET) -> list[str]:
    """The texts that must not be shown: each value, its lines, and the password within a URL, in each form in which
    they may be quoted; longest first."""
    words: set[str] = set()
    for value in values:
        words.add(value)
        words.update(value.splitlines())
        password = password_of(value)
        words.update((password, unquote(password)))
    forms = {form for word in words if len(word) >= shortest for form in disguises(word)}
    return sorted(forms, key=len, reverse=True)


def hide(text: str, words: Iterable[str]) -> str:
    """`text` without any of `words` (as `words_to_hide` gives them)."""
    for word in words:
        text = text.replace(word, HIDDEN)
    return text


def password_of(url: str) -> str:
    """The password within a URL; empty if there is none, or no URL."""
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return ""
