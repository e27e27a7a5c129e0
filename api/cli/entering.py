"""Going into an environment: `open`, `logs`, `run`."""

from __future__ import annotations

import os
import sys
import webbrowser
from typing import Annotated
from urllib.parse import quote

import typer
from rich.text import Text

from api.cli.exits import WrongUsage
from api.cli.session import Env, Output, Session
from twin.domain.errors import NotFound
from twin.ports.provider import LogLine
from twin.service.credentials import MOST_REASON
from twin.service.views import Credentials, PersonalCredentials

PANEL = "Environments"

app = typer.Typer()


@app.command("open", rich_help_panel=PANEL)
def open_(context: typer.Context, environment: Env, output: Output = None) -> None:
    """Print its URL, and open it if there is a browser."""
    session = Session.of(context, output)
    view = session.environment(environment)
    if view.url is None:
        raise NotFound(
            f"{view.project}/{view.name} has no URL now: {view.summary}",
            field="ENV",
            mend=f"twin show {view.project}/{view.name}",
        )
    if session.screen.json:
        session.show({"url": view.url})
        return
    session.screen.text(view.url)
    if _has_browser():
        webbrowser.open(view.url)


@app.command("logs", rich_help_panel=PANEL)
def logs(
    context: typer.Context,
    environment: Env,
    component: Annotated[str | None, typer.Argument(metavar="COMPONENT", help="Without: the first with logs.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with each new line, until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", min=0, help="How many of the last.")] = 100,
    output: Output = None,
) -> None:
    """What a component wrote.

    With --output json: one JSON object a line.
    """
    session = Session.of(context, output)
    path = f"/v1/environments/{session.environment(environment).id}/logs"
    wanted = {"component": component, "lines": lines, "follow": "true" if follow else None}
    some = False
    for line in session.api.lines(path, wanted, accept="application/x-ndjson"):
        if not line:
            continue
        some = True
        if session.screen.json:
            session.screen.out.file.write(line + "\n")
        else:
            said = session.api.decode(line.encode(), LogLine)
            at = f"{said.at.astimezone():%H:%M:%S} " if said.at is not None else ""
            text = Text.assemble((f"{at}{said.source} ", "dim"), Text.from_ansi(said.text))
            session.screen.text(text)
        session.screen.out.file.flush()
    if not some and not session.screen.json:
        session.screen.note("Nothing is written yet.")


@app.command(
    "run", rich_help_panel=PANEL, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
def run(
    context: typer.Context,
    environment: Env,
    command: Annotated[list[str], typer.Argument(metavar="COMMAND", help="What to run, with its arguments.")],
    as_: Annotated[
        str | None,
        typer.Option("--as", metavar="me|NAME", help="With a member's own credentials, not the app's."),
    ] = None,
) -> None:
    """Run a command here, with the environment's secrets as variables.

    They are not printed, and that they were looked at is recorded.

    Example: twin run shop -- sh -c 'psql "$DATABASE_URL"'

    With access of one's own, psql finds its way: twin run shop/dev --as me -- psql
    """
    session = Session.of(context)
    as_, command = _person(as_, command)
    words = command[1:] if command[:1] == ["--"] else command
    if not words:
        raise WrongUsage("no command is given", field="COMMAND", mend=f"twin run {environment} -- env")
    variables = _variables(session, environment, words, as_)
    sys.stdout.flush()
    try:
        os.execvpe(words[0], words, {**os.environ, **variables})  # noqa: S606
    except FileNotFoundError:
        session.screen.note(f"{words[0]}: there is no such command")
        raise typer.Exit(127) from None
    except OSError as error:
        session.screen.note(f"{words[0]}: {error.strerror}")
        raise typer.Exit(126) from None


def _person(person: str | None, words: list[str]) -> tuple[str | None, list[str]]:
    """`--as` behind ENV, where what follows is the command's and not read as options."""
    if person is None and words[:1] == ["--as"] and len(words) > 1:
        return words[1], words[2:]
    if person is None and words and words[0].startswith("--as="):
        return words[0].removeprefix("--as="), words[1:]
    return person, words


def _variables(session: Session, environment: str, words: list[str], person: str | None) -> dict[str, str]:
    """The app's, or one person's own."""
    path = f"/v1/environments/{session.environment(environment).id}"
    if person is None:
        body = {"reason": f"twin run {words[0]}"[:MOST_REASON]}
        return session.api.decode(session.api.send(f"{path}/credentials/reveal", body).body, Credentials).variables
    answer = session.api.send(f"{path}/members/{quote(person, safe='')}/credentials").body
    own = session.api.decode(answer, PersonalCredentials)
    for component in own.pending:
        session.screen.note(f"{own.person} has no access to {component} yet")
    return own.variables


def _has_browser() -> bool:
    """Whether there is a screen to open one on; text browsers would take over the terminal."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
