"""`quota`: how many environments a project may have at once."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from api.cli.exits import WrongUsage
from api.cli.session import Output, Session
from twin.service.project_quotas import QuotasView

app = typer.Typer()
quotas = typer.Typer(help="How many environments a project may have.", no_args_is_help=True)
app.add_typer(quotas, name="quota", rich_help_panel="Platform")

Project = Annotated[str, typer.Argument(metavar="PROJECT")]


@quotas.command("show")
def show(context: typer.Context, project: Project, output: Output = None) -> None:
    """A project's quotas, and how many environments it has."""
    session = Session.of(context, output)
    _show(session, session.api.get(_path(project)))


@quotas.command("set")
def set_(
    context: typer.Context,
    project: Project,
    most: Annotated[int | None, typer.Option("--max", min=0, help="In all; else unlimited.")] = None,
    tier: Annotated[
        list[str] | None, typer.Option(metavar="TIER=N", help="Of a tier, such as preview=5; repeatable.")
    ] = None,
    output: Output = None,
) -> None:
    """Replace a project's quotas; what is left out is unlimited.

    Quotas are looked at when an environment is created: fewer than there are destroy nothing.
    """
    session = Session.of(context, output)
    body: dict[str, Any] = {"max_environments": most, "tiers": dict(_tier(each) for each in tier or ())}
    _show(session, session.api.send(_path(project), body, method="PUT").body)


def _tier(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not name or not number.isdecimal():
        raise WrongUsage(f"--tier is {text!r}, not TIER=N", field="--tier", mend="For example: --tier preview=5")
    return name, int(number)


def _path(project: str) -> str:
    return f"/v1/projects/{quote(project, safe='')}/quotas"


def _show(session: Session, body: bytes) -> None:
    if session.screen.json:
        session.screen.data(body)
        return
    view = session.api.decode(body, QuotasView)
    names = sorted({*view.tiers, *view.living})
    rows = [(name, str(view.living.get(name, 0)), str(view.tiers.get(name, "unlimited"))) for name in names]
    total = "unlimited" if view.max_environments is None else str(view.max_environments)
    session.screen.table(("TIER", "LIVE", "AT MOST"), [*rows, ("all", str(sum(view.living.values())), total)])
