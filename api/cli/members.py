"""`member`: who has access of their own to an environment, or to all of a project's."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import msgspec
import typer

from api.cli.exits import WrongUsage
from api.cli.output import clock
from api.cli.session import Output, Session
from twin.service.views import Accepted, EnvironmentMemberView, MemberView

app = typer.Typer()
member = typer.Typer(help="People with access of their own.", no_args_is_help=True)
app.add_typer(member, name="member", rich_help_panel="Environments")

Environment = Annotated[str | None, typer.Argument(metavar="[ENV]", help="PROJECT/NAME, NAME or id; or --project.")]
Project = Annotated[str | None, typer.Option(help="All environments of this project, those to come too.")]
Person = Annotated[str, typer.Argument(metavar="PERSON", help="The name that their token has.")]


@member.command("ls")
def ls(context: typer.Context, environment: Environment = None, project: Project = None, output: Output = None) -> None:
    """Who is a member."""
    session = Session.of(context, output)
    path = _path(session, environment, project)
    found = list(session.api.pages(path))
    if session.screen.json:
        session.show([msgspec.Raw(each) for each in found])
        return
    if not found:
        session.screen.note("No members. Add one: twin member add ENV PERSON, or with --project PROJECT")
        return
    if project is not None:
        people = [session.api.decode(each, MemberView) for each in found]
        rows = [(each.name, each.role, clock(each.until) if each.until else "") for each in people]
        session.screen.table(("PERSON", "ROLE", "UNTIL"), rows)
        return
    members = [session.api.decode(each, EnvironmentMemberView) for each in found]
    session.screen.table(
        ("PERSON", "ROLE", "OF", "UNTIL", "ACCESS"),
        [
            (
                each.name,
                each.role,
                each.of,
                clock(each.until) if each.until else "",
                ", ".join(
                    f"{name} {state}" + (f" ({each.waits[name]})" if name in each.waits else "")
                    for name, state in each.access.items()
                ),
            )
            for each in members
        ],
    )


@member.command("add")
def add(
    context: typer.Context,
    where: Annotated[list[str], typer.Argument(metavar="[ENV] PERSON", help="Without ENV: --project.")],
    project: Project = None,
    role: Annotated[str, typer.Option(help="viewer, developer, operator or admin.")] = "developer",
    until: Annotated[str | None, typer.Option(help="A time, or a span such as 8h; else until removed.")] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not wait.")] = False,
    output: Output = None,
) -> None:
    """Give somebody access of their own to each component that can."""
    session = Session.of(context, output)
    environment, person = _words(where, project)
    if project is not None:
        answer = session.api.send(
            f"/v1/projects/{quote(project, safe='')}/members/{quote(person, safe='')}",
            {"role": role, "until": until},
            method="PUT",
        ).body
        if session.screen.json:
            session.screen.data(answer)
        else:
            session.screen.text(f"{person} is {role} of project {project}")
        return
    body = {"signal": "add_members", "members": [{"name": person, "role": role, "until": until}]}
    _send(session, environment, body, detach)


@member.command("rm")
def rm(
    context: typer.Context,
    where: Annotated[list[str], typer.Argument(metavar="[ENV] PERSON", help="Without ENV: --project.")],
    project: Project = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not wait.")] = False,
    output: Output = None,
) -> None:
    """Take it away; open sessions end."""
    session = Session.of(context, output)
    environment, person = _words(where, project)
    if project is not None:
        path = f"/v1/projects/{quote(project, safe='')}/members/{quote(person, safe='')}"
        session.api.send(path, method="DELETE")
        if session.screen.json:
            session.show({"name": person, "project": project, "removed": True})
        else:
            session.screen.text(f"{person} is no member of project {project} any more")
        return
    _send(session, environment, {"signal": "remove_members", "names": [person]}, detach)


def _send(session: Session, environment: str, body: dict[str, Any], detach: bool) -> None:
    path = f"/v1/environments/{session.environment(environment).id}/signals"
    accepted = session.api.decode(session.api.send(path, body).body, Accepted)
    from api.cli.following import concluded

    concluded(session, accepted, detach=detach)


def _words(where: list[str], project: str | None) -> tuple[str, str]:
    """Environment and person; of a project there is no environment."""
    if len(where) != (1 if project is not None else 2):
        raise WrongUsage(
            "a person, and either an environment or --project, are needed",
            field="PERSON",
            mend="twin member add shop/dev ada, or: twin member add --project shop ada",
        )
    return ("", where[0]) if project is not None else (where[0], where[1])


def _path(session: Session, environment: str | None, project: str | None) -> str:
    if (environment is None) == (project is None):
        raise WrongUsage(
            "an environment or --project is needed",
            field="ENV",
            mend="twin member ls shop/dev, or: twin member ls --project shop",
        )
    if project is not None:
        return f"/v1/projects/{quote(project, safe='')}/members"
    return f"/v1/environments/{session.environment(str(environment)).id}/members"
