"""Looking at environments: `ls` and `show`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer
from rich.text import Text

from api.cli.arguments import moment, pairs
from api.cli.conditions import condition_lines
from api.cli.destroy import show_certificate
from api.cli.output import STYLES, Screen, ago, clock, span, status
from api.cli.plans import show_plan
from api.cli.session import Env, Output, Session
from twin.domain.identity import Actor
from twin.service.views import ComponentView, EnvironmentSummary, EnvironmentView

PANEL = "Environments"

app = typer.Typer()

_WIDE = 110
_TROUBLED = ("blocked", "failed")


@app.command("ls", rich_help_panel=PANEL)
def ls(
    context: typer.Context,
    project: Annotated[str | None, typer.Option(help="Only of this project.")] = None,
    tier: Annotated[str | None, typer.Option(help="dev, staging, prod, preview or sandbox.")] = None,
    status: Annotated[str | None, typer.Option(help="For example ready or blocked.")] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Repeatable; all must fit.")] = None,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Also destroyed ones.")] = False,
    output: Output = None,
) -> None:
    """The environments."""
    session = Session.of(context, output)
    labels = [f"{key}={value}" for key, value in pairs(label or (), "--label").items()]
    wanted = {"tier": tier, "status": status, "label": labels or None, "gone": "true" if everything else None}
    path = f"/v1/projects/{project}/environments" if project else "/v1/environments"
    found = list(session.api.pages(path, wanted))
    if session.screen.json:
        session.show([msgspec.Raw(each) for each in found])
        return
    _list(session.screen, [session.api.decode(each, EnvironmentSummary) for each in found])


def _list(screen: Screen, found: list[EnvironmentSummary]) -> None:
    if not found:
        screen.note("No environments. Make one: twin up DIR --name NAME")
        return
    now = datetime.now(UTC)
    rows = [
        (
            f"{each.project}/{each.name}",
            each.status,
            each.tier,
            each.blueprint,
            ago(each.created_at, now),
            each.url or (f"expires in {span(each.expires_at - now)}" if each.expires_at else ""),
        )
        for each in found
    ]
    screen.table(("ENVIRONMENT", "STATUS", "TIER", "BLUEPRINT", "AGE", "URL"), rows)
    for each in found:
        if each.status in _TROUBLED:
            screen.text(f"\n{each.project}/{each.name}: {each.summary}", STYLES.get(each.status, ""))


@app.command("show", rich_help_panel=PANEL)
def show(
    context: typer.Context,
    environment: Env,
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="TIME", help="As it was then: ISO 8601, or how long ago: 2h.")
    ] = None,
    output: Output = None,
) -> None:
    """One environment: how it is, and who must act."""
    session = Session.of(context, output)
    body = session.environment_body(environment, {"as_of": moment(as_of, "--as-of")} if as_of is not None else None)
    if session.screen.json:
        session.screen.data(body)
    else:
        draw(session.screen, session.api.decode(body, EnvironmentView))


def draw(screen: Screen, view: EnvironmentView) -> None:
    """The whole picture for a person."""
    style = STYLES.get(view.status, "")
    screen.text(Text.assemble((f"{view.project}/{view.name}", "bold"), "  ", (view.status, style)))
    if view.summary != view.status:
        screen.text(view.summary, style)
    screen.text()
    screen.table(("", ""), _facts(view))
    if view.certificate is None:
        screen.text("\nComponents", "bold")
        # A resource's name is long; where there is no room, `twin why` and JSON tell it.
        headers = ("NAME", "TYPE", "STATE", "TARGET", "RESOURCE")[: 5 if screen.out.width >= _WIDE else 4]
        screen.table(headers, [_row(each)[: len(headers)] for each in view.components], indent=2)
    for component in view.components:
        for field, difference in component.drift.items():
            screen.text(f"  drift: {component.name}.{field}: {difference}", "yellow")
    if view.plan.steps:
        screen.text("\nLeft to do", "bold")
        show_plan(screen, view.plan, indent=2, digest=False)
    if view.conditions:
        screen.text("\nWaits and failures", "bold")
    for condition in view.conditions:
        for line in condition_lines(condition, datetime.now(UTC)):
            screen.text(Text("  ").append_text(line))
    if view.operations:
        screen.text("\nOperations", "bold")
        rows = [(each.id, each.signal, each.status, _who(each.by), ago(each.accepted_at)) for each in view.operations]
        screen.table(("ID", "SIGNAL", "STATUS", "BY", "SINCE"), rows, indent=2)
    for leftover in view.leftovers:
        screen.text(f"  left over: {leftover}", "yellow")
    if view.certificate is not None:
        show_certificate(screen, f"{view.project}/{view.name}", view.certificate)


def _facts(view: EnvironmentView) -> list[tuple[str, str]]:
    now = datetime.now(UTC)
    inputs = ", ".join(f"{key}={_short(value)}" for key, value in view.inputs.items())
    facts = [
        ("URL", view.url),
        ("Blueprint", f"{view.blueprint}{f' ({inputs})' if inputs else ''}"),
        ("Tier", f"{view.tier}{', protected' if view.protected else ''}{', suspended' if view.suspended else ''}"),
        ("Age", f"{ago(view.created_at, now)}, by {_who(view.created_by)}"),
        ("Expires", f"in {span(view.expires_at - now)}, {clock(view.expires_at)}" if view.expires_at else None),
        ("Destroyed", f"from {clock(view.destroy_at)}" if view.destroy_at and view.certificate is None else None),
        ("Labels", ", ".join(f"{key}={value}" for key, value in view.labels.items())),
        ("Id", f"{view.id}, generation {view.generation}"),
    ]
    return [(name, text) for name, text in facts if text]


def _row(component: ComponentView) -> tuple[str | Text, ...]:
    name = component.name if component.incarnation == 1 else f"{component.name}@{component.incarnation}"
    return (name, component.type, status(component.state), component.target, component.external_id)


def _short(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _who(actor: Actor) -> str:
    return f"{actor.kind}:{actor.name}"
