"""Following an operation until it ends: drawn in place on a terminal, line by line elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from api.cli.conditions import condition_lines, seconds_until
from api.cli.connection import FOLLOWING
from api.cli.exits import Exit
from api.cli.output import STYLES, Screen, clock, span
from api.cli.progress import Ending, Progress, StepLine, resting
from api.cli.session import Session
from twin.domain.errors import Problem
from twin.service.views import Accepted, EnvironmentView, EventView, OperationView, ProgressView

PROGRESS = "progress"
"""What the service calls that which is told between events."""

_MARKS = {"done": ("✓", "green"), "blocked": ("!", "yellow"), "failed": ("✗", "red"), "retrying": ("↻", "yellow")}
_SHOWN = (
    "step_started",
    "step_succeeded",
    "step_failed",
    "step_lost",
    "step_stopped",
    "component_observed",
    "placement_swept",
)


def follow(session: Session, accepted: Accepted) -> OperationView:
    """Show the progress until the operation has ended, and return it as it ended.

    Raises typer.Exit: DETACHED on Ctrl-C, BLOCKED when only a human can help and no terminal is there to wait at.
    """
    name = f"{accepted.project}/{accepted.name}"
    operation = accepted.operation
    session.api.patience = FOLLOWING
    try:
        progress = Progress(operation.id)
        with _drawn(session.screen, progress, operation):
            _watch(session, accepted, progress)
    except KeyboardInterrupt:
        session.screen.note(f"\nDetached: {operation.signal} of {name} goes on ({operation.id}).")
        session.screen.note(f"  look again   twin show {name}, twin events {name} --follow")
        if operation.signal != "cancel":
            session.screen.note(f"  take it back twin cancel {name} {operation.id}")
        raise typer.Exit(Exit.DETACHED) from None
    return session.api.read(f"/v1/operations/{operation.id}", OperationView)


def conclude(session: Session, operation: OperationView, name: str) -> None:
    """Say how the operation ended; raises typer.Exit unless it succeeded."""
    took = span((operation.ended_at or datetime.now(UTC)) - operation.accepted_at)
    match operation.status:
        case "succeeded":
            session.screen.note(Text.assemble((f"{operation.signal} succeeded", "green"), f" after {took}"))
        case "failed":
            error = operation.error
            problem = Problem(
                f"{operation.signal} of {name} failed: {error.message if error else 'for no reason given'}",
                field=error.field if error else None,
                mend=(error.mend if error else None)
                or f"twin show {name} says more. Correct it with twin update, or: twin retry {name}",
                code=error.code if error else None,
                details={"operation": operation.id},
            )
            session.screen.problem(problem)
            raise typer.Exit(Exit.FAILED)
        case "running":
            _say_what_it_waits_for(session, operation, name)
        case _:
            by = f" by {operation.ended_by}" if operation.ended_by else ""
            session.screen.note(f"{operation.signal} of {name} was {operation.status}{by} after {took}", "yellow")
            raise typer.Exit(Exit.OVERTAKEN)


def _say_what_it_waits_for(session: Session, operation: OperationView, name: str) -> None:
    """Of an operation that goes on without anybody looking."""
    view, now = session.api.read(f"/v1/environments/{operation.environment}", EnvironmentView), datetime.now(UTC)
    if view.status == "suspended":
        session.screen.note(f"{name} is suspended: {operation.signal} waits for: twin resume {name}", "blue")
        return
    session.screen.note(f"{operation.signal} of {name} goes on by itself ({operation.id}):", "blue")
    for step in resting(view, now):
        old = int(step.key.rpartition(":")[2])
        at = step.not_before
        until = (
            f"in {span(at - now)}, at {clock(at)}" if at is not None and not step.waits_for else "once somebody says so"
        )
        session.screen.note(f"  {step.component}: credential {old} is retired {until}")
        session.screen.note(f"  now          twin acknowledge {name} {step.component} {old + 1}")


def _watch(session: Session, accepted: Accepted, progress: Progress) -> None:
    path = f"/v1/environments/{accepted.environment_id}"
    progress.see(session.api.read(path, EnvironmentView))
    if _no_need(session, accepted, progress):
        return
    for kind, body in session.api.told(f"{path}/events", {"progress": "true"}, after=_beginning(session, accepted)):
        if kind == PROGRESS:
            progress.tell(session.api.decode(body, ProgressView).progress)
            _tell_progress(session.screen, progress)
            continue
        event = session.api.decode(body, EventView)
        progress.hear(event)
        if not session.screen.live:
            _tell(session.screen, event)
        if progress.ending is not None:
            return
        progress.see(session.api.read(path, EnvironmentView))
        if _waits_for_resume(accepted, progress) or _rests(progress):
            return
        if progress.stuck and progress.view is not None and not session.screen.live:
            session.screen.note(progress.view.summary, "yellow")
            session.screen.note(f"Once that is done, it goes on: twin show {accepted.project}/{accepted.name}")
            raise typer.Exit(Exit.BLOCKED)


def _beginning(session: Session, accepted: Accepted) -> str | None:
    """The cursor of the event that accepted the signal: what came before is no news."""
    wanted = {
        "environment": accepted.environment_id,
        "operation": accepted.operation.id,
        "type": "operation_accepted",
        "limit": 1,
    }
    first = next(session.api.pages("/v1/audit", wanted), None)
    return session.api.decode(first, EventView).id if first is not None else None


def _no_need(session: Session, accepted: Accepted, progress: Progress) -> bool:
    if _waits_for_resume(accepted, progress) or _rests(progress):
        return True
    operation = session.api.read(f"/v1/operations/{accepted.operation.id}", OperationView)
    if operation.status == "running":
        return False
    progress.ending = Ending(operation.status)
    return True


def _waits_for_resume(accepted: Accepted, progress: Progress) -> bool:
    """While suspended, signals are accepted and wait; nothing would ever be seen of them here."""
    view = progress.view
    if view is None or view.status != "suspended":
        return False
    return any(each.id == accepted.operation.id for each in view.operations)


def _rests(progress: Progress) -> bool:
    """What is left to do comes by itself, and not soon: a credential's grace."""
    return progress.view is not None and bool(resting(progress.view, datetime.now(UTC)))


def _tell(screen: Screen, event: EventView) -> None:
    """One line for one event, where nothing can be drawn."""
    if event.type not in _SHOWN:
        return
    screen.note(f"{event.at.astimezone():%H:%M:%S} {event.summary}")
    failure = event.data.get("failure") or {}
    if failure.get("mend"):
        screen.note(f"         Mend: {failure['mend']}")


def _tell_progress(screen: Screen, progress: Progress) -> None:
    """A line for each step that has come further, where nothing can be drawn."""
    if screen.live:
        return
    for line in progress.news(time.monotonic()):
        screen.note(f"{datetime.now().astimezone():%H:%M:%S} {line.component}: {line.verb}: {line.note}")


@contextmanager
def _drawn(screen: Screen, progress: Progress, operation: OperationView) -> Iterator[None]:
    if not screen.live:
        with nullcontext():
            yield
        return
    spinner = Spinner("dots", style="cyan")
    with Live(
        get_renderable=lambda: drawing(progress, operation, spinner, datetime.now(UTC)),
        console=screen.err,
        refresh_per_second=8,
    ):
        yield


def drawing(progress: Progress, operation: OperationView, spinner: Spinner, now: datetime) -> RenderableType:
    """The steps, one a line, and below what a human must do."""
    grid = Table.grid(padding=(0, 1), expand=True)
    for width in (1, None, None, None):
        grid.add_column(width=width, no_wrap=True)
    grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for line in progress.lines():
        mark, style = _MARKS.get(line.state, ("·", "dim"))
        icon: RenderableType = spinner if line.state == "running" else Text(mark, style=style)
        words = Text(line.verb, style="dim" if line.state == "waiting" else "")
        grid.add_row(icon, line.component, words, Text(_elapsed(line, now), style="dim"), _note(line, now))
    parts: list[RenderableType] = [grid]
    view = progress.view
    if view is None or progress.ending is not None:
        return grid
    if not progress.lines():
        grid.add_row(spinner, operation.signal, "", Text(span(now - operation.accepted_at), style="dim"), "")
    for condition in view.conditions:
        parts += [Text(""), *condition_lines(condition, now)]
    if view.destroy_at is not None and view.destroy_at > now:
        parts.append(Text(f"\nDestruction begins in {span(view.destroy_at - now)}, unless this is cancelled"))
    return Group(*parts)


def _elapsed(line: StepLine, now: datetime) -> str:
    if line.started_at is None or line.state not in ("running", "done"):
        return ""
    seconds = max(0.0, ((line.ended_at or now) - line.started_at).total_seconds())
    return f"{seconds:.1f} s" if seconds < 60 else span((line.ended_at or now) - line.started_at)


def _note(line: StepLine, now: datetime) -> Text:
    again = f"attempt {line.attempt}" if line.state == "running" and line.attempt > 1 else ""
    if line.state == "retrying" and line.next_at is not None:
        again = f"attempt {line.attempt + 1} in {seconds_until(line.next_at, now)} s"
    note = ": ".join(each for each in (again, line.note) if each)
    return Text(note, style="dim" if line.state in ("waiting", "done", "running") else STYLES.get(line.state, ""))


def concluded(session: Session, accepted: Accepted, *, detach: bool) -> OperationView:
    """Follow, unless detached, and conclude; writes the operation in JSON if that is wanted."""
    name = f"{accepted.project}/{accepted.name}"
    operation = accepted.operation
    if not detach:
        operation = follow(session, accepted)
    if session.screen.json:
        session.show(msgspec.structs.replace(accepted, operation=operation))
    if detach:
        session.screen.note(f"{operation.signal} of {name} is accepted: {operation.id}")
    else:
        conclude(session, operation, name)
    return operation
