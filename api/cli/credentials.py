"""Credentials: which there are, a new one, one that is in use outside, and what they say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer

from api.cli.output import Screen, ago, clock, span, status
from api.cli.session import Detach, Env, ExpectPlan, Output, Session
from api.cli.signals import PANEL as SIGNALS
from api.cli.signals import Component, send
from twin.service.views import Credentials, CredentialView

PANEL = "Credentials"

app = typer.Typer()


@app.command("credentials", rich_help_panel=PANEL)
def credentials(context: typer.Context, environment: Env, output: Output = None) -> None:
    """The credentials that live and the last that were retired, without their secrets."""
    session = Session.of(context, output)
    path = f"/v1/environments/{session.environment(environment).id}/credentials"
    found = list(session.api.pages(path, {}))
    if session.screen.json:
        session.show([msgspec.Raw(each) for each in found])
        return
    _list(session.screen, [session.api.decode(each, CredentialView) for each in found])


@app.command("rotate", rich_help_panel=SIGNALS)
def rotate(
    context: typer.Context,
    environment: Env,
    component: Component,
    grace: Annotated[
        str | None,
        typer.Option(help="How long the old one stays valid for those outside: 1h, or 0s. Default: the blueprint's."),
    ] = None,
    detach: Detach = False,
    expect_plan: ExpectPlan = None,
    output: Output = None,
) -> None:
    """Issue a new credential, have every component take it, then retire the old one.

    Ends with the old one retired; --detach returns at once.
    """
    body = {"signal": "rotate_credentials", "component": component} | ({"grace": grace} if grace is not None else {})
    send(context, environment, body, detach, expect_plan, output)


@app.command("acknowledge", rich_help_panel=SIGNALS)
def acknowledge(
    context: typer.Context,
    environment: Env,
    component: Component,
    version: Annotated[int, typer.Argument(metavar="VERSION", help="As `twin credentials` tells.")],
    detach: Detach = False,
    expect_plan: ExpectPlan = None,
    output: Output = None,
) -> None:
    """Say that a consumer outside uses this credential now."""
    body = {"signal": "acknowledge_credential", "component": component, "version": version}
    send(context, environment, body, detach, expect_plan, output)


@app.command("reveal", rich_help_panel=PANEL)
def reveal(
    context: typer.Context,
    environment: Env,
    reason: Annotated[str, typer.Option(help="Why: it stands in the history.")],
    component: Annotated[str | None, typer.Option(help="As this component sees them.")] = None,
    output: Output = None,
) -> None:
    """Print the secrets. To use them without seeing them: twin run."""
    session = Session.of(context, output)
    path = f"/v1/environments/{session.environment(environment).id}/credentials/reveal"
    body = {"reason": reason} | ({"component": component} if component is not None else {})
    answer = session.api.send(path, body).body
    if session.screen.json:
        session.screen.data(answer)
        return
    for name, value in sorted(session.api.decode(answer, Credentials).variables.items()):
        session.screen.out.file.write(f"{name}={value}\n")


def _list(screen: Screen, found: list[CredentialView]) -> None:
    if not found:
        screen.note("Nothing here has a credential that can be rotated.")
        return
    now = datetime.now(UTC)
    rows = [
        (
            each.component,
            str(each.version),
            status(each.state),
            ago(each.issued_at, now) if each.issued_at is not None else "",
            ", ".join(each.used_by),
            _told(each, now),
        )
        for each in found
    ]
    screen.table(("COMPONENT", "VERSION", "STATE", "AGE", "USED BY", ""), rows)


def _told(each: CredentialView, now: datetime) -> str:
    if each.retired_at is not None:
        return f"retired {ago(each.retired_at, now)}, {clock(each.retired_at)}"
    if each.waits_for:
        return f"waits for {each.waits_for}"
    if each.acknowledged_by is not None:
        return f"acknowledged by {each.acknowledged_by.kind}:{each.acknowledged_by.name}"
    if each.retires_at is not None and each.retires_at > now:
        return f"retires in {span(each.retires_at - now)}, {clock(each.retires_at)}"
    if each.next_rotation is not None:
        return f"next rotation in {span(each.next_rotation - now)}"
    return ""
