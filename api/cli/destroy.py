"""`destroy`: shows what goes, asks for the name, follows until the certificate."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
import typer

from api.cli.exits import Exit, WrongUsage
from api.cli.output import Screen, clock
from api.cli.plans import show_plan
from api.cli.session import Detach, Env, ExpectPlan, Output, Session
from api.cli.signals import PANEL
from twin.domain.environment import Certificate
from twin.service.views import Accepted, DestructionView, EnvironmentView, PlanView

app = typer.Typer()


@app.command("destroy", rich_help_panel=PANEL)
def destroy(
    context: typer.Context,
    environment: Env,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Do not wait for clones that copy from it; their copies fail.")
    ] = False,
    detach: Detach = False,
    expect_plan: ExpectPlan = None,
    output: Output = None,
) -> None:
    """Destroy an environment with its data, and prove that nothing is left."""
    session = Session.of(context, output)
    view = session.environment(environment)
    name = f"{view.project}/{view.name}"
    path = f"/v1/environments/{view.id}"
    if view.certificate is not None and not session.dry_run:
        _show(session, view)
        return
    wanted = {"signal": "destroy"} | ({"force": True} if force else {})
    answer = session.api.send(f"{path}/signals", wanted, {"dry_run": "true"}).body
    if session.dry_run and session.screen.json:
        session.screen.data(answer)
        return
    if session.dry_run or not yes:
        show_plan(session.screen, session.api.decode(answer, PlanView), err=not session.dry_run)
    if session.dry_run:
        return
    if not yes:
        _ask(session.screen, name, view.name)
    body = wanted | ({"expect_plan": expect_plan} if expect_plan is not None else {})
    accepted = session.api.decode(session.api.send(f"{path}/signals", body).body, Accepted)
    from api.cli.following import conclude, follow

    if detach:
        session.screen.note(f"destroy of {name} is accepted: {accepted.operation.id}")
        if session.screen.json:
            session.show(accepted)
        return
    operation = follow(session, accepted)
    after = session.api.read(path, EnvironmentView)
    if operation.status != "succeeded" and session.screen.json:
        session.show(msgspec.structs.replace(accepted, operation=operation))
    conclude(session, operation, name)
    _show(session, after)


@app.command("certificate", rich_help_panel="Environments")
def certificate(context: typer.Context, environment: Env, output: Output = None) -> None:
    """The proof of destruction, or what is still in its way.

    Ends with 0 for the proof alone: with 5 if something is left over, with 1 while there is no proof yet.
    """
    session = Session.of(context, output)
    body = session.api.get(f"/v1/environments/{session.environment(environment).id}/certificate")
    view = session.api.decode(body, DestructionView)
    if session.screen.json:
        session.screen.data(body)
    elif view.certificate is not None:
        show_certificate(session.screen, f"{view.project}/{view.name}", view.certificate)
    else:
        _show_leftovers(session.screen, view)
    if view.certificate is None:
        raise typer.Exit(Exit.BLOCKED if view.leftovers else Exit.FAILED)


def _show_leftovers(screen: Screen, view: DestructionView) -> None:
    """Each with its owner, and below it the way to remove it, whole, to be copied."""
    name = f"{view.project}/{view.name}"
    screen.text(f"{name} is {view.status}: there is no certificate yet")
    for each in view.leftovers:
        screen.text(f"\n  {each.kind} {each.external_id}", "yellow")
        screen.text(f"    Target:  {each.target}")
        screen.text(f"    Owner:   {each.owner}")
        screen.text(f"    Removal: {each.removal or 'by hand'}")
    if view.leftovers:
        screen.text(f"\nOnce nothing is left: twin retry {name}")


def _ask(screen: Screen, name: str, short: str) -> None:
    if not screen.live:
        raise WrongUsage(
            f"destroying {name} is not confirmed, and there is no terminal to ask at",
            field="--yes",
            mend=f"twin destroy {name} --yes",
        )
    question = f"\nThis destroys {name} with its data. Type its name to go on"
    answer = typer.prompt(question, err=True, default="", show_default=False)
    if answer not in (name, short):
        screen.note("Nothing was changed.")
        raise typer.Exit(Exit.REFUSED)


def _show(session: Session, view: EnvironmentView) -> None:
    if session.screen.json:
        session.show(view)
    elif view.certificate is not None:
        show_certificate(session.screen, f"{view.project}/{view.name}", view.certificate)


def show_certificate(screen: Screen, name: str, certificate: Certificate) -> None:
    """Each resource with the evidence of its absence."""
    screen.text(f"\nCertificate of destruction of {name}, {clock(certificate.at)}", "bold")
    gone = [proof for proof in certificate.resources if proof.abandoned is None]
    if gone:
        rows = [(proof.external_id or proof.instance, proof.type, proof.target, _time(proof.at)) for proof in gone]
        screen.text()
        screen.table(("REMOVED", "TYPE", "TARGET", "AT"), rows, indent=2, whole=0)
    if certificate.inventories:
        rows = [
            (each.placement.target, each.placement.endpoint, _time(each.at), "nothing left")
            for each in certificate.inventories
        ]
        screen.text()
        screen.table(("ASKED", "ENDPOINT", "AT", "FOUND"), rows, indent=2)
    for proof in certificate.unproven:
        screen.text(
            f"\n  Unproven: {proof.external_id or proof.instance} at {proof.target}: {proof.abandoned}", "yellow"
        )


def _time(at: datetime) -> str:
    return f"{at.astimezone():%H:%M:%S}"
