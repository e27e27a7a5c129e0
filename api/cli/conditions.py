"""What does not go well, and who mends it how."""

from __future__ import annotations

from datetime import datetime

from rich.text import Text

from api.cli.output import STYLES, span
from twin.service.views import Condition


def condition_lines(condition: Condition, now: datetime) -> list[Text]:
    """The condition, and below it the owner, the mend and the command that goes on."""
    head = Text.assemble((condition.kind, STYLES.get(condition.kind, "")))
    head.append(f" {condition.verb} {condition.component} for {span(now - condition.since)}, ")
    head.append(f"attempt {condition.attempt}: {condition.message}")
    lines = [head]
    if condition.next_at is not None:
        lines.append(Text(f"  Again: in {seconds_until(condition.next_at, now)} s"))
    for name, text in (("Field", condition.field), ("Owner", condition.owner), ("Mend", condition.mend)):
        if text:
            lines.append(Text(f"  {name + ':':<6} {text}"))
    if condition.block and "twin retry" not in (condition.mend or ""):
        lines.append(Text(f"  Then:  twin blocks resolve {condition.block}"))
    return lines


def seconds_until(at: datetime, now: datetime) -> int:
    """Whole seconds, 0 if it is past."""
    return max(0, round((at - now).total_seconds()))
