"""What a person or a script sees: text and tables on stdout, JSON instead if wanted, everything else on stderr."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from api.cli.exits import NoTwin
from twin.domain.errors import Problem

_NARROW = 60
"""Columns of a terminal below which tables are shown as records."""

_UNBOUNDED = 10_000
"""Columns where there is no terminal: nothing is folded or cut for a script."""

_COMMANDING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""What a terminal obeys instead of showing it, or reads backwards."""

STYLES = {
    "ready": "green",
    "applied": "green",
    "running": "cyan",
    "succeeded": "green",
    "creating": "cyan",
    "applying": "cyan",
    "updating": "cyan",
    "changing": "cyan",
    "blocked": "yellow",
    "retrying": "yellow",
    "stalled": "yellow",
    "drifted": "yellow",
    "failed": "red",
    "suspended": "blue",
    "destroying": "magenta",
    "removing": "magenta",
    "destroyed": "dim",
    "absent": "dim",
    "waiting": "dim",
    "superseded": "dim",
    "cancelled": "dim",
}


class Format(StrEnum):
    """How results are written."""

    TABLE = "table"
    JSON = "json"


class _Console(Console):
    """Shows what strangers have written, such as the title of a pull request, and obeys none of it."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Everything that is printed comes through here, before it gets its colours."""
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else _COMMANDING.sub("\ufffd", segment.text)
            yield Segment(text, segment.style, segment.control)


class Screen:
    """stdout for results, stderr for what is said about them."""

    def __init__(self, format: Format = Format.TABLE) -> None:  # noqa: A002
        self.json = format is Format.JSON
        self.out = _console(sys.stdout.isatty(), stderr=False)
        self.err = _console(sys.stderr.isatty(), stderr=True)

    @property
    def live(self) -> bool:
        """Whether progress can be drawn in place."""
        return self.err.is_terminal and not self.err.is_dumb_terminal

    def data(self, body: bytes) -> None:
        """JSON from the API, indented, on stdout."""
        sys.stdout.write(msgspec.json.format(body, indent=2).decode() + "\n")

    def text(self, text: str | Text = "", style: str = "") -> None:
        """A line of the result; never folded, so that a script, or a person who copies it, gets it whole."""
        self.out.print(_plain(text, style), soft_wrap=True)

    def note(self, text: str | Text = "", style: str = "") -> None:
        """A line about the result, on stderr."""
        self.err.print(_plain(text, style), soft_wrap=True)

    def table(
        self,
        headers: Sequence[str],
        rows: Iterable[Sequence[Any]],
        *,
        indent: int = 0,
        err: bool = False,
        whole: int = 1,
    ) -> None:
        """Columns under headers; words that are a status get its colour. The first `whole` columns do not fold."""
        console = self.err if err else self.out
        if console.is_terminal and console.width < _NARROW and any(headers):
            drawn: RenderableType = records(headers, rows)
        else:
            drawn = columns(headers, rows, whole=whole if console.is_terminal else len(headers))
        drawn = Padding(drawn, (0, 0, 0, indent), expand=False)
        with console.capture() as captured:
            console.print(drawn)
        # Without the blanks that fill the last column: they are noise to a script and fold in a narrow terminal.
        console.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))

    def problem(self, problem: Problem) -> None:
        """An error: what is wrong, where, and what mends it."""
        if self.json:
            sys.stderr.write(msgspec.json.encode(_as_data(problem)).decode() + "\n")
            return
        if isinstance(problem, NoTwin):
            self.note(problem.message)
            return
        self.note(Text.assemble(("Error: ", "bold red"), problem.message))
        if problem.field and not problem.message.startswith(problem.field):
            self.note(Text.assemble(("Field: ", "bold"), problem.field))
        if problem.mend:
            self.note(Text.assemble(("Mend:  ", "bold"), problem.mend))
        if problem.status >= 500 and (request := problem.details.get("request_id")):
            self.note(Text.assemble(("Request: ", "bold"), str(request), " (its lines in the service's log say more)"))


def columns(headers: Sequence[str], rows: Iterable[Sequence[Any]], *, whole: int) -> RenderableType:
    """A table without lines."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0), show_header=any(headers))
    for number, header in enumerate(headers):
        table.add_column(header, overflow="fold", no_wrap=number < whole)
    for row in rows:
        table.add_row(*map(_cell, row))
    return table


def records(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> RenderableType:
    """What `columns` shows, for where columns would be a few letters wide: the first cell, and the others below it."""
    lines: list[RenderableType] = []
    for first, *others in rows:
        lines.append(_cell(first, "bold"))
        for header, cell in zip(headers[1:], others, strict=True):
            if str(cell):
                lines.append(Padding(Text.assemble((f"{header.lower()}: ", "dim"), _cell(cell)), (0, 0, 0, 2)))
    return Group(*lines)


def _cell(cell: Any, style: str = "") -> Text:
    if isinstance(cell, Text):
        return cell
    return Text(str(cell), style=STYLES.get(str(cell), style))


def status(word: str) -> Text:
    """A word, in its colour if it is a status."""
    return Text(word, style=STYLES.get(word, ""))


def ago(at: datetime, now: datetime | None = None) -> str:
    """How long ago, roughly: `5 min`."""
    return span((now or datetime.now(UTC)) - at)


def span(length: timedelta) -> str:
    """A length of time in its greatest unit: `12 min`, `3 h`, `4 d`."""
    seconds = max(0, int(length.total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def clock(at: datetime) -> str:
    """A time in the local zone."""
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}"


def _console(terminal: bool, *, stderr: bool) -> Console:
    return _Console(stderr=stderr, highlight=False, markup=False, emoji=False, width=None if terminal else _UNBOUNDED)


def _plain(text: str | Text, style: str) -> Text:
    return text if isinstance(text, Text) else Text(text, style=style)


def _as_data(problem: Problem) -> dict[str, Any]:
    if "detail" in problem.details:
        return problem.details  # the API's own document
    return {
        "code": problem.code,
        "detail": problem.message,
        "field": problem.field,
        "mend": problem.mend,
        "retryable": problem.retryable,
    }
