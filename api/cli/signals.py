"""The signals as commands. Each is followed to its end, unless detached."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from api.cli.arguments import pairs, values
from api.cli.plans import show_plan
from api.cli.session import Detach, Env, ExpectPlan, Output, Session
from twin.service.views import Accepted, PlanView

PANEL = "Signals"

app = typer.Typer()

Component = Annotated[str, typer.Argument(metavar="COMPONENT")]
Inputs = Annotated[
    list[str] | None, typer.Option("--input", "-i", metavar="KEY=VALUE", help="Repeatable; JSON, or else text.")
]
Labels = Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="Repeatable.")]


def send(
    context: typer.Context, environment: str, body: dict[str, Any], detach: bool, expect: str | None, output: Any
) -> None:
    """Send a signal and follow its operation; within `plan`, ask what it would do."""
    session = Session.of(context, output)
    view = session.environment(environment)
    path = f"/v1/environments/{view.id}/signals"
    if session.dry_run:
        answer = session.ask(path, body)
        if session.screen.json:
            session.screen.data(answer)
        else:
            show_plan(session.screen, session.api.decode(answer, PlanView))
        return
    if expect is not None:
        body = {**body, "expect_plan": expect}
    accepted = session.api.decode(session.api.send(path, body).body, Accepted)
    from api.cli.following import concluded

    concluded(session, accepted, detach=detach)


@app.command("scale", rich_help_panel=PANEL)
def scale(
    context: typer.Context,
    environment: Env,
    component: Component,
    to: Annotated[list[str], typer.Argument(metavar="NAME=NUMBER", help="For example replicas=3.")],
    detach: Detach = False,
    expect_plan: ExpectPlan = None,
    output: Output = None,
) -> None:
    """Ask for more or less of one component."""
    body = {"signal": "scale", "component": component, "to": values(to, "NAME=NUMBER")}
    send(context, environment, body, detach, expect_plan, output)


@app.command("add", rich_help_panel=PANEL)
def add(
    context: typer.Context,
    environment: Env,
    component: Component,
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="For example redis.keyspace.")],
    inputs: Inputs = None,
    target: Annotated[str | None, typer.Option(help="A target other than the default.")] = None,
    needs: Annotated[list[str] | None, typer.Option("--needs", metavar="COMPONENT", help="Repeatable.")] = None,
    detach: Detach = False,
    expect_plan: ExpectPlan = None,
    output: Output = None,
) -> None:
    """Add a component beside those of the blueprint."""
    body: dict[str, Any] = {"signal": "add_component", "component": component, "type": type_}
    body |= {"inputs": values(inputs or (), "--input"), "target": target, "needs": needs or []}
    send(context, environment, body, detach, expect_plan, output)


@app.command("remove", rich_help_panel=PANEL)
def remove(
    context: typer.Context,
    environment: Env,
    component: Component,
    detach: Detach = False,
    expect_plan: ExpectPlan = None,
    output: Output = None,
) -> None:
    """Remove a component, and its data."""
    send(context, environment, {"signal": "remove_component", "component": component}, detach, expect_plan, output)


@app.command("update", rich_help_panel=PANEL)
def update(
    context: typer.Context,
    environment: Env,
    blueprint: Annotated[str | None, typer.Option(metavar="NAME[@VERSION]", help="Another version.")] = None,
    inputs: Inputs = None,
    labels: Labels = None,
    allow_data_loss: Annotated[
        bool, typer.Option("--allow-data-loss", help="Also if a component goes with its data.")
    ] = False,
    detach: Detach = False,
    expect_plan: ExpectPlan = None,
    output: Output = None,
) -> None:
    """Change the blueprint's version, inputs or labels.

    What is not given stays; --input x=null sets x back to its default.
    """
    body: dict[str, Any] = {"signal": "update", "allow_data_loss": allow_data_loss}
    if blueprint is not None:
        body["blueprint"] = blueprint
    if inputs:
        body["inputs"] = values(inputs, "--input")
    if labels:
        body["labels"] = pairs(labels, "--label")
    send(context, environment, body, detach, expect_plan, output)


@app.command("clone", rich_help_panel=PANEL)
def clone(
    context: typer.Context,
    environment: Env,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the new environment, in the same project.")],
    tier: Annotated[str, typer.Option(help="dev, staging, prod, preview or sandbox.")] = "preview",
    data: Annotated[
        str, typer.Option(help="none, schema, full, or masked by the scripts that the blueprint names.")
    ] = "none",
    ttl: Annotated[str | None, typer.Option(help="How long it lives, such as 24h. Default: the tier's.")] = None,
    hold: Annotated[
        str | None, typer.Option(help="How long the source keeps what is copied at the most. Default: 24h.")
    ] = None,
    inputs: Inputs = None,
    labels: Labels = None,
    detach: Detach = False,
    expect_plan: ExpectPlan = None,
    output: Output = None,
) -> None:
    """Make another environment that begins with this one's data.

    The source serves on. Secrets are made anew, never copied.
    """
    body: dict[str, Any] = {"signal": "clone", "name": name, "tier": tier, "data": data}
    body |= {key: value for key, value in (("ttl", ttl), ("hold", hold)) if value is not None}
    if inputs:
        body["inputs"] = values(inputs, "--input")
    if labels:
        body["labels"] = pairs(labels, "--label")
    send(context, environment, body, detach, expect_plan, output)


@app.command("extend", rich_help_panel=PANEL)
def extend(
    context: typer.Context,
    environment: Env,
    ttl: Annotated[str, typer.Argument(metavar="TTL", help="From now: 24h, 7d, or never.")],
    detach: Detach = False,
    expect_plan: ExpectPlan = None,
    output: Output = None,
) -> None:
    """Let it live until that long from now."""
    send(context, environment, {"signal": "extend", "ttl": ttl}, detach, expect_plan, output)


@app.command("cancel", rich_help_panel=PANEL)
def cancel(
    context: typer.Context,
    environment: Env,
    operation: Annotated[str, typer.Argument(metavar="OPERATION", help="Its id, as `twin show` tells.")],
    detach: Detach = False,
    expect_plan: ExpectPlan = None,
    output: Output = None,
) -> None:
    """Take back an operation that has not ended.

    What it changed is put back; a cancelled create destroys.
    """
    send(context, environment, {"signal": "cancel", "operation": operation}, detach, expect_plan, output)


@app.command("abandon", rich_help_panel=PANEL)
def abandon(
    context: typer.Context,
    environment: Env,
    component: Component,
    reason: Annotated[str, typer.Option(help="Why nobody can prove that it is gone.")],
    detach: Detach = False,
    expect_plan: ExpectPlan = None,
    output: Output = None,
) -> None:
    """Break-glass: let go of a component without proof.

    For when a place is gone for good. Needs admin; the certificate will call it unproven.
    """
    body = {"signal": "abandon", "component": component, "reason": reason}
    send(context, environment, body, detach, expect_plan, output)


def _simple(name: str, signal: str, help: str) -> None:  # noqa: A002
    """A signal without fields."""

    def command(
        context: typer.Context,
        environment: Env,
        detach: Detach = False,
        expect_plan: ExpectPlan = None,
        output: Output = None,
    ) -> None:
        send(context, environment, {"signal": signal}, detach, expect_plan, output)

    app.command(name, help=help, rich_help_panel=PANEL)(command)


def _of_one_or_all(name: str, signal: str, help: str) -> None:  # noqa: A002
    """A signal about one component or all."""

    def command(
        context: typer.Context,
        environment: Env,
        component: Annotated[str | None, typer.Argument(metavar="COMPONENT", help="Without: all.")] = None,
        detach: Detach = False,
        expect_plan: ExpectPlan = None,
        output: Output = None,
    ) -> None:
        body = {"signal": signal, "component": component}
        send(context, environment, body, detach, expect_plan, output)

    app.command(name, help=help, rich_help_panel=PANEL)(command)


_simple("suspend", "suspend", "Stop what runs and keep the data; signals wait for resume.")
_simple("resume", "resume", "Go on after suspend.")
_simple("protect", "protect", "Guard it against destruction.")
_simple("unprotect", "unprotect", "Let it be destroyed again.")
_of_one_or_all("retry", "retry", "Try again what failed or waits.")
_of_one_or_all("detect-drift", "detect_drift", "Look whether all stands as applied, and mend what does not.")
