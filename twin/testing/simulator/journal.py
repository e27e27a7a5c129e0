"""What happened in a simulation beside the events of the twins, and the first rule that was broken."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from msgspec import Struct


class Broken(BaseException):
    """A rule was broken. Not an Exception: nothing on its way may take it for a provider's or a database's error."""


class Breach(Struct, frozen=True, kw_only=True):
    """A broken rule: its name, what was seen, when (seconds), and whose it was."""

    rule: str
    detail: str
    at: float
    entity: str | None = None


class Journal:
    """Faults and calls in their order. Kept as tuples: they are put into words only when somebody reads them."""

    def __init__(self) -> None:
        self.entries: list[tuple[float, str | None, str]] = []
        self.counts: dict[str, int] = {}
        self.breach: Breach | None = None

    def note(self, kind: str, text: str = "", entity: str | None = None) -> None:
        """Something happened."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.entries.append((_now(), entity, f"{kind}: {text}" if text else kind))

    def must(self, holds: object, rule: str, detail: str = "", entity: str | None = None) -> None:
        """Unless it holds, a rule is broken, and the run ends here."""
        if not holds:
            raise self.broken(rule, detail, entity)

    def broken(self, rule: str, detail: str = "", entity: str | None = None) -> Broken:
        """Record the breach, unless there was one; to be raised."""
        if self.breach is None:
            self.breach = Breach(rule=rule, detail=detail, at=_now(), entity=entity)
        return Broken(f"{rule}: {detail}")


def _now() -> float:
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return 0.0


def clock_face(seconds: float) -> str:
    """`3d 04:05:06.789`."""
    days, rest = divmod(seconds, 86_400.0)
    whole = str(timedelta(seconds=int(rest)))
    return f"{int(days)}d {whole:0>8}.{int(rest * 1000) % 1000:03}"
