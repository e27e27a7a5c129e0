"""`publish`, `blueprints`, and `up`: from a folder to a living environment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from api.cli.arguments import DEFAULT_PROJECT, Named, pairs, values
from api.cli.exits import Exit, WrongUsage
from api.cli.output import clock
from api.cli.plans import show_plan
from api.cli.session import Detach, Output, Preview, Session
from api.cli.signals import Inputs, Labels
from twin.domain.errors import Conflict, NotFound, Problem
from twin.service.views import Accepted, BlueprintView, EnvironmentView, OperationView, PlanView

if TYPE_CHECKING:
    from api.cli.connection import Answer

PANEL = "Blueprints"

_PUBLISHED = {True: "is published", False: "was published before, just as it is"}

app = typer.Typer()


@app.command("publish", rich_help_panel=PANEL)
def publish(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder with blueprint.yaml.")],
    output: Output = None,
) -> None:
    """Publish a folder as a version of its blueprint.

    A published version never changes: raise its version in blueprint.yaml for another content.
    """
    session = Session.of(context, output)
    answer = _publish(session, folder)
    if session.screen.json:
        session.screen.data(answer.body)
        return
    view = session.api.decode(answer.body, BlueprintView)
    session.screen.text(f"{view.name}@{view.version} {_PUBLISHED[answer.status == 201]}")


@app.command("blueprints", rich_help_panel=PANEL)
def blueprints(context: typer.Context, output: Output = None) -> None:
    """The published blueprints, newest first."""
    session = Session.of(context, output)
    found = list(session.api.pages("/v1/blueprints"))
    if session.screen.json:
        session.show([msgspec.Raw(each) for each in found])
        return
    views = [session.api.decode(each, BlueprintView) for each in found]
    if not views:
        session.screen.note("No blueprints. Publish one: twin publish DIR")
        return
    rows = [
        (f"{each.name}@{each.version}", ", ".join(each.components), clock(each.published_at), each.description)
        for each in views
    ]
    session.screen.table(("BLUEPRINT", "COMPONENTS", "PUBLISHED", "DESCRIPTION"), rows)


@app.command("up", rich_help_panel="Environments")
def up(
    context: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="DIR", help="A blueprint's folder, or a published one: NAME or NAME@VERSION.")
    ],
    name: Annotated[str, typer.Option("--name", "-n", help="Its name, for example shop-dev.")],
    project: Annotated[str, typer.Option("--project", "-p", help="Whose it is.")] = DEFAULT_PROJECT,
    tier: Annotated[str | None, typer.Option(help="dev, staging, prod, preview or sandbox; dev if not given.")] = None,
    inputs: Inputs = None,
    labels: Labels = None,
    ttl: Annotated[
        str | None, typer.Option(help="How long it lives, for example 24h; the tier's if not given.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the plan (of a published blueprint).")] = False,
    preview: Preview = True,
    detach: Detach = False,
    output: Output = None,
) -> None:
    """Publish a blueprint and bring an environment of it to life.

    One of that name that stands already is brought to this version.

    Example: twin up examples/guestbook --name shop --input replicas=2
    """
    session = Session.of(context, output)
    session.dry_run, session.preview = dry_run, preview
    wanted: dict[str, Any] = {"inputs": values(inputs or (), "--input"), "labels": pairs(labels or (), "--label")}
    blueprint = _blueprint(session, source)
    named = Named(project, name)
    standing = _standing(session, named)
    if dry_run and standing is not None:
        raise WrongUsage(
            f"{named} exists already", field="--dry-run", mend=f"twin plan {named} update --blueprint {blueprint}"
        )
    if standing is not None:
        accepted = _bring_to(session, standing, blueprint, wanted, tier, ttl)
    else:
        body = {"name": name, "tier": tier or "dev", "blueprint": blueprint, "ttl": ttl, **wanted}
        path = f"/v1/projects/{project}/environments"
        answer = session.ask(path, body) if dry_run else session.api.send(path, body).body
        if dry_run:
            if session.screen.json:
                session.screen.data(answer)
            else:
                show_plan(session.screen, session.api.decode(answer, PlanView))
            return
        accepted = session.api.decode(answer, Accepted)
        session.screen.note(f"{named} is being created from {blueprint} ({accepted.operation.id})")
    _follow(session, named, accepted, detach=detach)


def _publish(session: Session, folder: Path) -> Answer:
    from twin.service.bundles import pack  # reads YAML and JSON Schema, which most commands need not pay for

    bundle = pack(folder, most=session.settings.max_bundle_bytes)
    return session.api.send("/v1/blueprints", bundle.content)


def _blueprint(session: Session, source: str) -> str:
    """The published version that a folder, or a name, stands for."""
    folder = Path(source).expanduser()
    if folder.exists() or "/" in source or source.startswith("."):
        if session.dry_run:
            raise WrongUsage(
                "--dry-run changes nothing, and so does not publish a folder",
                field="--dry-run",
                mend=f"twin publish {source}, then: twin up NAME@VERSION --dry-run …",
            )
        answer = _publish(session, folder)
        view = session.api.decode(answer.body, BlueprintView)
        session.screen.note(f"{view.name}@{view.version} {_PUBLISHED[answer.status == 201]}")
        return f"{view.name}@{view.version}"
    found = [session.api.decode(each, BlueprintView) for each in session.api.pages("/v1/blueprints")]
    for each in found:  # newest first
        if source in (each.name, f"{each.name}@{each.version}"):
            return f"{each.name}@{each.version}"
    raise NotFound(
        f"{source!r} is neither a folder nor a published blueprint",
        field="DIR",
        mend="Name the folder with blueprint.yaml, or one that `twin blueprints` lists.",
    )


def _standing(session: Session, named: Named) -> EnvironmentView | None:
    """The environment of that name that is not destroyed."""
    try:
        view = session.api.read(session.path_named(named), EnvironmentView)
    except Problem as problem:
        if problem.status == 404:
            return None
        raise
    return None if view.status == "destroyed" else view


def _bring_to(
    session: Session, view: EnvironmentView, blueprint: str, wanted: dict[str, Any], tier: str | None, ttl: str | None
) -> Accepted | None:
    """Have an environment that stands already be of this version; None if there is nothing to do."""
    name = f"{view.project}/{view.name}"
    if view.blueprint.partition("@")[0] != blueprint.partition("@")[0]:
        raise Conflict(
            f"{name} exists already, and is of the blueprint {view.blueprint}",
            field="--name",
            mend=f"Choose another name, or destroy it first: twin destroy {name}",
        )
    if tier is not None and tier != view.tier:
        raise Conflict(
            f"{name} exists already, and its tier is {view.tier}",
            field="--tier",
            mend=f"Leave --tier out, or choose another name. A tier does not change: twin destroy {name}",
        )
    if view.destroy_at is not None or view.status == "destroying":
        raise Conflict(
            f"{name} is being destroyed", field="--name", mend=f"Wait for it: twin show {name}. Or choose another name."
        )
    if ttl is not None:
        session.screen.note(f"--ttl counts for new environments: twin extend {name} {ttl}", "yellow")
    inputs = {key: value for key, value in wanted["inputs"].items() if view.inputs.get(key) != value}
    labels = {**view.labels, **wanted["labels"]}
    changes: dict[str, Any] = {}
    if view.blueprint != blueprint:
        changes["blueprint"] = blueprint
    if inputs:
        changes["inputs"] = inputs
    if labels != view.labels:
        changes["labels"] = labels
    if changes:
        session.screen.note(f"{name} exists already ({view.status}); updating: {', '.join(changes)}")
        body = {"signal": "update", **changes}
        return session.api.decode(session.api.send(f"/v1/environments/{view.id}/signals", body).body, Accepted)
    if view.operations:
        operation = max(view.operations, key=lambda each: each.accepted_at)
        session.screen.note(f"{name} exists already ({view.status}); following its {operation.signal}")
        return Accepted(operation=operation, environment_id=view.id, project=view.project, name=view.name)
    session.screen.note(f"{name} exists already, of this very version")
    return None


def _follow(session: Session, named: Named, accepted: Accepted | None, *, detach: bool) -> None:
    from api.cli.following import conclude, follow

    if accepted is not None and detach:
        if session.screen.json:
            session.show(accepted)
        session.screen.note(f"Look: twin show {named}, twin events {named} --follow")
        return
    operation: OperationView | None = follow(session, accepted) if accepted is not None else None
    body = session.api.get(session.path_named(named))
    if session.screen.json:
        session.screen.data(body)
    if operation is not None:
        conclude(session, operation, str(named))
    view = session.api.decode(body, EnvironmentView)
    if not session.screen.json:
        if view.url:
            session.screen.text(f"\n{view.url}", "bold green")
        else:
            session.screen.text(view.summary)
        _next(session, named, view)
    if view.status in ("blocked", "failed"):
        raise typer.Exit(Exit.BLOCKED if view.status == "blocked" else Exit.FAILED)


def _next(session: Session, named: Named, view: EnvironmentView) -> None:
    """What to type next, with names that exist."""
    app_name, replicas = next(
        ((each.name, each.inputs["replicas"]) for each in view.components if "replicas" in each.inputs), (None, 0)
    )
    rows = [
        (f"twin show {named}", "how it is"),
        *([(f"twin scale {named} {app_name} replicas={replicas + 1}", "more of it")] if app_name else []),
        *([(f"twin logs {named}", "what it writes")] if app_name else []),
        (f"twin run {named} -- env", "a command with its secrets"),
        (f"twin destroy {named}", "until proven gone"),
    ]
    session.screen.note("\nNext:", "bold")
    session.screen.table(("", ""), rows, indent=2, err=True)
