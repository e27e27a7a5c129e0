"""`preview`: the repositories whose pull requests get environments."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec
import typer

from api.cli.arguments import values
from api.cli.output import Screen, status
from api.cli.session import Output, Session
from twin.service.previews.sources import PullView, SourceView

PANEL = "Platform"

app = typer.Typer()
preview = typer.Typer(help="Environments for pull requests.", no_args_is_help=True)
app.add_typer(preview, name="preview", rich_help_panel=PANEL)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the preview source.")]


class Data(StrEnum):
    """What of the data a clone begins with."""

    none = "none"
    schema = "schema"
    full = "full"
    masked = "masked"


class Forks(StrEnum):
    """Whether pull requests of forks get previews."""

    never = "never"
    allow = "allow"


@preview.command("ls")
def ls(context: typer.Context, output: Output = None) -> None:
    """The preview sources, with how many previews of each live and wait."""
    session = Session.of(context, output)
    found = list(session.api.pages("/v1/preview-sources"))
    if session.screen.json:
        session.show([msgspec.Raw(each) for each in found])
        return
    if not found:
        session.screen.note("No preview sources. Add one: twin preview set NAME --forge github/main --repository …")
        return
    rows = [
        (
            each.name,
            status(each.status),
            f"{each.config.repository} at {each.config.forge}",
            each.config.project,
            _made_of(each),
            f"{len(each.live)} of {each.config.max_live}",
            str(len(each.waiting)),
        )
        for each in (session.api.decode(body, SourceView) for body in found)
    ]
    session.screen.table(("SOURCE", "STATUS", "REPOSITORY", "PROJECT", "FROM", "LIVE", "WAITING"), rows)


@preview.command("show")
def show(context: typer.Context, name: Name, output: Output = None) -> None:
    """One preview source, and its pull requests that have a preview or wait for one."""
    session = Session.of(context, output)
    answer = session.api.get(f"/v1/preview-sources/{name}")
    if session.screen.json:
        session.screen.data(answer)
        return
    _show(session.screen, session.api.decode(answer, SourceView))
    found = [session.api.decode(body, PullView) for body in session.api.pages(f"/v1/preview-sources/{name}/pulls")]
    rows = [
        (f"#{each.number}", status(each.status), each.environment or "", each.url or "", each.title, each.author)
        for each in found
    ]
    if rows:
        session.screen.text("")
        session.screen.table(("PULL", "STATUS", "ENVIRONMENT", "URL", "TITLE", "BY"), rows)
    for each in found:
        if each.why is not None:
            session.screen.note(f"#{each.number}: {each.why}", "yellow")


@preview.command("set")
def configure(
    context: typer.Context,
    name: Name,
    forge: Annotated[str, typer.Option(help="The forge's target, such as github/main.")],
    repository: Annotated[str, typer.Option(help="OWNER/NAME.")],
    project: Annotated[str, typer.Option(help="Of the environments.")],
    blueprint: Annotated[str | None, typer.Option(help="NAME or NAME@VERSION: what a preview is made of.")] = None,
    clone_from: Annotated[
        str | None, typer.Option("--from", help="PROJECT/ENV to clone, instead of a blueprint.")
    ] = None,
    data: Annotated[Data, typer.Option(help="What of its data a clone begins with.")] = Data.masked,
    given: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="KEY=VALUE", help="May say ${pr.number}, ${pr.sha}, ${pr.branch}. Repeatable."),
    ] = None,
    repository_input: Annotated[
        list[str] | None, typer.Option(help="An input that .twin/preview.yaml may set; repeatable.")
    ] = None,
    component: Annotated[str, typer.Option(help="Runs the pull request's commit.")] = "app",
    prefix: Annotated[str, typer.Option(help="Of the environments' names: pr-42.")] = "pr",
    ttl: Annotated[str | None, typer.Option(help="How long a preview lives, such as 3d.")] = None,
    idle_ttl: Annotated[str | None, typer.Option(help="The same, from the last push or command.")] = None,
    path: Annotated[
        list[str] | None, typer.Option(help="A changed path must match one, such as src/**; repeatable.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="Needed; repeatable.")] = None,
    without_label: Annotated[list[str] | None, typer.Option(help="No preview with it; repeatable.")] = None,
    drafts: Annotated[bool, typer.Option("--drafts/--no-drafts", help="Whether drafts get previews.")] = False,
    max_live: Annotated[int, typer.Option(min=1, max=1000, help="Previews at the same time; others wait.")] = 5,
    reconcile_every: Annotated[
        str, typer.Option(help="How often the forge is asked for what no webhook told, such as 10m.")
    ] = "5m",
    forks: Annotated[Forks, typer.Option(help="allow: once a member has commented /twin allow.")] = Forks.never,
    output: Output = None,
) -> None:
    """Configure a preview source, or anew the one of that name: what is left out goes back to its default."""
    session = Session.of(context, output)
    body: dict[str, Any] = {
        "forge": forge,
        "repository": repository,
        "project": project,
        "blueprint": blueprint,
        "clone_from": {"environment": clone_from, "data": data.value} if clone_from is not None else None,
        "inputs": values(given or (), "--input"),
        "repository_inputs": repository_input or [],
        "component": component,
        "prefix": prefix,
        "ttl": ttl,
        "idle_ttl": idle_ttl,
        "paths": path or [],
        "needed_labels": label or [],
        "excluded_labels": without_label or [],
        "drafts": drafts,
        "max_live": max_live,
        "reconcile_every": reconcile_every,
        "forks": forks.value,
    }
    wanted = {key: value for key, value in body.items() if value is not None}
    answer = session.api.send(f"/v1/preview-sources/{name}", wanted, method="PUT").body
    if session.screen.json:
        session.screen.data(answer)
    else:
        _show(session.screen, session.api.decode(answer, SourceView))


@preview.command("rm")
def remove(context: typer.Context, name: Name, output: Output = None) -> None:
    """End all previews of a source."""
    session = Session.of(context, output)
    answer = session.api.send(f"/v1/preview-sources/{name}", method="DELETE").body
    if session.screen.json:
        session.screen.data(answer)
    else:
        view = session.api.decode(answer, SourceView)
        session.screen.text(f"{name}: {view.status}; previews that are being destroyed: {len(view.live)}")


def _made_of(source: SourceView) -> str:
    clone = source.config.clone_from
    return f"{clone.environment}, {clone.data}" if clone is not None else source.config.blueprint or ""


def _show(screen: Screen, source: SourceView) -> None:
    config = source.config
    screen.text(f"{source.name}: {config.repository} at {config.forge}, {source.status}")
    screen.text(f"Previews of {_made_of(source)} in project {config.project}, at most {config.max_live} at once")
    for each in source.problems:
        screen.note(each, "yellow")
