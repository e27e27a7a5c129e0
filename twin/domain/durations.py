"""Durations as people write them: `24h`, `10m`, `1h30m`, `7d`, or a number of seconds.

Our own, because the kept libraries accept far more than we want to promise (`4:13`, `5 hrs`, years of 365 days), and
Go's notation (durationpy) has no days.
"""

from __future__ import annotations

import math
import re
from typing import Any

from twin.domain.errors import Invalid

SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_PATTERN = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?", re.ASCII)
_LONGEST = 100 * 365 * 86_400.0


def parse_duration(text: Any, field: str = "duration") -> float:
    """Seconds, from 0 to a hundred years. Raises `Invalid` naming `field`."""
    mend = 'Write it like "24h", "10m", "90s", "7d" or "1h30m", or as a number of seconds.'
    match text:
        case bool():
            seconds = math.nan
        case int() | float():
            seconds = float(text) if abs(text) <= _LONGEST else math.nan
        case str() if text and (parts := _PATTERN.fullmatch(text)):
            seconds = sum(float(n) * unit for n, unit in zip(parts.groups(), SECONDS.values(), strict=True) if n)
        case _:
            seconds = math.nan
    if not 0 <= seconds <= _LONGEST:
        raise Invalid(f"{field} is {text!r}, which is not a duration", field=field, mend=mend)
    return seconds


def duration_text(seconds: float) -> str:
    """The shortest text that `parse_duration` reads as these seconds; fractions are kept to the millisecond."""
    rest, text = round(seconds, 3), ""
    for unit, size in SECONDS.items():
        if unit == "s":
            break
        count, rest = divmod(rest, size)
        text += f"{int(count)}{unit}" if count else ""
    return text + (f"{rest:.3f}".rstrip("0").rstrip(".") + "s" if rest or not text else "")
