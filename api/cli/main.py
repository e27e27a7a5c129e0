"""The entry point of `twin`: the commands together, and errors as exit codes."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer
from msgspec import convert

from api.cli import (
    backup,
    blocks,
    credentials,
    destroy,
    doctor,
    entering,
    environments,
    history,
    local,
    members,
    plan,
    previews,
    quotas,
    serve,
    signals,
    targets,
    tokens,
    up,
)
from api.cli.exits import MEANING, exit_for
from api.cli.output import Format, Screen
from api.cli.plans import show_plan
from api.cli.session import Session
from twin.domain.errors import Problem
from twin.service.views import PlanView

_EXAMPLES = """\b
Begin:
  twin serve                                the service, on this machine
  twin up examples/guestbook --name shop    a living environment
  twin show shop                            how it is, and who must act
  twin plan shop scale app replicas=3       what would happen
  twin scale shop app replicas=3            make it happen
  twin destroy shop                         until proven gone
"""

_EXITS = "\b\nExit codes:\n" + "\n".join(f"  {code.value:>3}  {meaning}" for code, meaning in MEANING.items())

app = typer.Typer(
    name="twin",
    help="A digital twin for every environment: provisions, sleeps, answers signals, remembers everything.\n\n"
    + _EXAMPLES,
    epilog=_EXITS,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)
of_environments = (up, environments, plan, entering, signals, credentials, members, destroy, history)
for group in (*of_environments, blocks, targets, previews, quotas, tokens):
    app.add_typer(group.app)
for service in (serve, backup, local, doctor):
    app.add_typer(service.app)


@app.callback()
def root(
    context: typer.Context,
    output: Annotated[Format, typer.Option("--output", "-o", help="json is for scripts.")] = Format.TABLE,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    """Before every command."""
    context.obj = Session(output)
    context.call_on_close(context.obj.close)
    if version:
        from importlib.metadata import version as version_of

        context.obj.screen.text(version_of("twin"))
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit


def main() -> None:
    """Run the command line; every error is told in words, and as an exit code."""
    try:
        app()
    except Problem as problem:
        screen = Screen(_format(sys.argv))
        screen.problem(problem)
        _show_other_plan(screen, problem)
        sys.exit(exit_for(problem))
    except BrokenPipeError:
        # The reader (head, less) has gone; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def _show_other_plan(screen: Screen, problem: Problem) -> None:
    """A refused --expect-plan comes with the plan that it would be instead."""
    found = (problem.details.get("details") or {}).get("plan")
    if found and not screen.json:
        screen.note()
        show_plan(screen, convert(found, PlanView), err=True)


def _format(words: list[str]) -> Format:
    """What --output says, for errors before or outside of a session."""
    said = " ".join(words[: words.index("--")] if "--" in words else words)
    wanted = ("--output json", "--output=json", "-o json", "-ojson")
    return Format.JSON if any(each in said for each in wanted) else Format.TABLE


if __name__ == "__main__":
    main()
