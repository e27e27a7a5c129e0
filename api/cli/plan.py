"""`plan`: what a signal would do, without doing it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from api.cli.exits import WrongUsage
from api.cli.plans import show_plan
from api.cli.session import Env, Output, Preview, Session
from api.cli.signals import PANEL
from twin.domain.near import suggestion

app = typer.Typer()


@app.command(
    "plan",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    rich_help_panel="Environments",
)
def plan(
    context: typer.Context,
    environment: Env,
    signal: Annotated[
        list[str] | None, typer.Argument(metavar="SIGNAL", help="As its command: scale app replicas=3.")
    ] = None,
    preview: Preview = True,
    output: Output = None,
) -> None:
    """What a signal would do, without doing it.

    Without a signal: what is left to do. Where a provider can tell, also what each step would change, resource by
    resource; options stand before ENV.

    Example: twin plan shop/dev scale app replicas=3
    """
    session = Session.of(context, output)
    session.preview = preview
    if signal:
        _run_dry(session, context, environment, signal)
        return
    view = session.environment(environment)
    if session.screen.json:
        session.show(view.plan)
    else:
        session.screen.note(view.summary)
        show_plan(session.screen, view.plan)


def _run_dry(session: Session, context: typer.Context, environment: str, signal: list[str]) -> None:
    """The signal's own command reads its words, so that both mean the same."""
    root: Any = context.find_root().command
    known = {name: each for name, each in root.commands.items() if getattr(each, "rich_help_panel", None) == PANEL}
    name = signal[0].replace("_", "-")
    for ending in ("-component", "-credentials", "-credential"):
        name = name.removesuffix(ending)
    if (command := known.get(name)) is None:
        raise WrongUsage(f"{signal[0]!r} is no signal", field="SIGNAL", mend=suggestion(signal[0], known))
    session.dry_run = True
    with command.make_context(name, [environment, *signal[1:]], parent=context) as inner:
        command.invoke(inner)
