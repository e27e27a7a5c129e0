"""What happened, and why: `events`, `audit`, `why`."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

import msgspec
import typer
from rich.text import Text

from api.cli.arguments import environment_name, moment
from api.cli.exits import Exit
from api.cli.output import Screen, clock, status
from api.cli.session import Env, Output, Session
from twin.ports.store import Verification
from twin.service.views import EventView, Explanation

PANEL = "History"

app = typer.Typer()
audit = typer.Typer(help="The audit history of all environments and of the platform.", invoke_without_command=True)
app.add_typer(audit, name="audit", rich_help_panel=PANEL)


class AuditFormat(StrEnum):
    """How the audit history is written."""

    TABLE = "table"
    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"


_PAGE = 500

_ACCEPT = {AuditFormat.NDJSON: "application/x-ndjson", AuditFormat.CSV: "text/csv"}


@app.command("events", rich_help_panel=PANEL)
def events(
    context: typer.Context,
    environment: Env,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with each new one, until Ctrl-C.")] = False,
    output: Output = None,
) -> None:
    """The events of one environment.

    With --follow and --output json: one JSON object a line.
    """
    session = Session.of(context, output)
    path = f"/v1/environments/{session.environment(environment).id}/events"
    if not follow:
        _write(session, session.api.pages(path, {"limit": _PAGE}), where=False)
        return
    for body in session.api.events(path):
        if session.screen.json:
            session.screen.out.file.write(body.decode() + "\n")
            session.screen.out.file.flush()
        else:
            _line(session.screen, session.api.decode(body, EventView), where=False)


@audit.callback()
def query(
    context: typer.Context,
    project: Annotated[str | None, typer.Option()] = None,
    tier: Annotated[str | None, typer.Option()] = None,
    environment: Annotated[str | None, typer.Option(metavar="ENV", help="PROJECT/NAME, NAME, or an id.")] = None,
    component: Annotated[str | None, typer.Option()] = None,
    actor: Annotated[str | None, typer.Option(help="For example token:admin, or a name.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="Of events, for example step_failed.")] = None,
    operation: Annotated[str | None, typer.Option(help="An operation's id.")] = None,
    correlation: Annotated[str | None, typer.Option(help="A request's id.")] = None,
    pr: Annotated[
        str | None, typer.Option(metavar="PR", help="All that belongs to a pull request: 42, or acme/guestbook#42.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="With --pr: the name of its preview source.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="ISO 8601, or how long ago: 2h.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="The same.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    format_: Annotated[AuditFormat, typer.Option("--format", help="ndjson and csv are written as they come.")] = (
        AuditFormat.TABLE
    ),
    output: Output = None,
) -> None:
    """The audit history: who, what, when, on what, why."""
    session = Session.of(context, output)
    if context.invoked_subcommand is not None:
        return
    wanted = {
        "project": project,
        "tier": tier,
        "environment": str(environment_name(environment)) if environment else None,
        "component": component,
        "actor": actor,
        "type": type_,
        "operation": operation,
        "correlation": correlation,
        "pr": pr,
        "source": source,
        "since": moment(since, "--since") if since else None,
        "until": moment(until, "--until") if until else None,
    }
    if (accept := _ACCEPT.get(format_)) is not None:
        for line in session.api.lines("/v1/audit", {**wanted, "limit": limit}, accept=accept):
            session.screen.out.file.write(line + "\n")
        return
    if format_ is AuditFormat.JSON:
        session.screen.json = True
    wanted["limit"] = str(min(limit or _PAGE, _PAGE))
    _write(session, _first(session.api.pages("/v1/audit", wanted), limit), where=True)


@audit.command("verify")
def verify(
    context: typer.Context,
    environment: Annotated[str | None, typer.Argument(metavar="ENV", help="Only this one's chain.")] = None,
    output: Output = None,
) -> None:
    """Recompute the hash chains: has anything been changed or removed?"""
    session = Session.of(context, output)
    body = {"environment": session.environment(environment).id} if environment else {}
    answer = session.api.send("/v1/audit/verifications", body).body
    result = session.api.decode(answer, Verification)
    if session.screen.json:
        session.screen.data(answer)
    else:
        for finding in result.findings:
            session.screen.text(f"{finding.entity} event {finding.seq}: {finding.problem}", "red")
        found = f"{len(result.findings)} broken links" if result.findings else "every hash is right"
        session.screen.text(f"{result.events} events of {result.entities} chains: {found}")
    if result.findings:
        raise typer.Exit(Exit.FAILED)


@app.command("why", rich_help_panel=PANEL)
def why(
    context: typer.Context,
    environment: Env,
    component: Annotated[str, typer.Argument(metavar="COMPONENT", help="Or a resource by its name in the world.")],
    output: Output = None,
) -> None:
    """Why a resource is as it is: who asked for it, when.

    From the resource back to its step, operation, signal, person and request.
    """
    session = Session.of(context, output)
    body = session.api.get(f"/v1/environments/{session.environment(environment).id}/why", {"component": component})
    if session.screen.json:
        session.screen.data(body)
        return
    told = session.api.decode(body, Explanation)
    screen = session.screen
    screen.text(told.summary, "bold")
    if told.external_id:
        screen.text(f"Resource {told.external_id}, incarnation {told.incarnation}")
    if told.operations:
        rows = [
            (each.id, each.signal, status(each.status), str(each.by), clock(each.accepted_at), each.request_id or "")
            for each in told.operations
        ]
        screen.text("\nOperations", "bold")
        screen.table(("ID", "SIGNAL", "STATUS", "BY", "AT", "REQUEST"), rows, indent=2)
    if told.events:
        screen.text("\nEvents", "bold")
    for event in told.events:
        _line(screen, event, where=False)


def _first(items: Iterable[bytes], limit: int | None) -> Iterable[bytes]:
    for number, each in enumerate(items):
        if limit is not None and number >= limit:
            return
        yield each


def _write(session: Session, found: Iterable[bytes], *, where: bool) -> None:
    if session.screen.json:
        session.show([msgspec.Raw(each) for each in found])
        return
    for body in found:
        _line(session.screen, session.api.decode(body, EventView), where=where)


def _line(screen: Screen, event: EventView, *, where: bool) -> None:
    """One event as one line."""
    text = Text(f"{clock(event.at)}  ", style="dim")
    if where:
        place = f"{event.project}/{event.name}" if event.name and event.project else event.environment
        text.append(f"{place:<18}  ", style="bold")
    text.append(f"{event.actor.kind}:{event.actor.name}  ", style="cyan")
    text.append(event.summary, style="")
    screen.text(text)
