"""`targets` and `target`: the places that components are provisioned into."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from api.cli.arguments import secrets, values
from api.cli.session import Output, Session
from twin.service.views import TargetView

PANEL = "Platform"

app = typer.Typer()
target = typer.Typer(help="Add or remove a target.", no_args_is_help=True)
app.add_typer(target, name="target", rich_help_panel=PANEL)

Name = Annotated[str, typer.Argument(metavar="NAME", help="PROVIDER/PLACE, for example postgres/eu-prod.")]


@app.command("targets", rich_help_panel=PANEL)
def targets(context: typer.Context, output: Output = None) -> None:
    """The targets: servers and accounts that components are provisioned into."""
    session = Session.of(context, output)
    found = list(session.api.pages("/v1/targets"))
    if session.screen.json:
        session.show([msgspec.Raw(each) for each in found])
        return
    if not found:
        session.screen.note("No targets. Add one: twin target add PROVIDER/PLACE --config host=…")
        return
    rows = [
        (
            each.name,
            "yes" if each.default else "no",
            ", ".join(each.projects) or "all",
            ", ".join(each.tiers) or "all",
            str(each.concurrency),
            ", ".join(f"{key}={value}" for key, value in each.config.items()),
        )
        for each in (session.api.decode(body, TargetView) for body in found)
    ]
    session.screen.table(("TARGET", "DEFAULT", "PROJECTS", "TIERS", "STEPS", "CONFIG"), rows)


@target.command("add")
def add(
    context: typer.Context,
    name: Name,
    config: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Repeatable.")] = None,
    credential: Annotated[
        list[str] | None, typer.Option(metavar="KEY=@FILE|prompt", help="Repeatable; never in clear here.")
    ] = None,
    project: Annotated[list[str] | None, typer.Option(help="Only for this project; repeatable.")] = None,
    tier: Annotated[list[str] | None, typer.Option(help="Only for this tier; repeatable.")] = None,
    default: Annotated[bool, typer.Option("--default/--no-default", help="Taken unless a component names one.")] = True,
    concurrency: Annotated[int, typer.Option(min=1, help="Steps at the same time.")] = 4,
    rate: Annotated[int, typer.Option(min=0, help="Steps started per minute; 0 is unlimited.")] = 0,
    output: Output = None,
) -> None:
    """Add a target, or replace the one of that name."""
    session = Session.of(context, output)
    body: dict[str, Any] = {
        "name": name,
        "provider": name.partition("/")[0],
        "config": values(config or (), "--config"),
        "credentials": secrets(credential or (), "--credential"),
        "projects": project or [],
        "tiers": tier or [],
        "default": default,
        "concurrency": concurrency,
        "rate": rate,
    }
    answer = session.api.send("/v1/targets", body).body
    if session.screen.json:
        session.screen.data(answer)
    else:
        session.screen.text(f"{name} is a target")


@target.command("remove")
def remove(context: typer.Context, name: Name, output: Output = None) -> None:
    """Remove a target that no environment stands on."""
    session = Session.of(context, output)
    session.api.send(f"/v1/targets/{name}", method="DELETE")
    if session.screen.json:
        session.show({"name": name, "removed": True})
    else:
        session.screen.text(f"{name} is removed")
