"""`plan`: what a signal would do, without doing it."""

from __future__ import annotations

from collections.abc import Sequence
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

    What a signal's command takes may stand as its options or as NAME=VALUE.

    Example: twin plan shop/dev scale app replicas=3, twin plan shop/dev clone pr-1 data=masked ttl=24h
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


def as_words(command: Any, words: Sequence[str]) -> list[str]:
    """The words as the command reads them: what stands as `name=value` becomes its option, or takes its argument's
    place. Other words stay, such as the `replicas=3` that `scale` takes for itself."""
    options = {flag.lstrip("-"): each for each in command.params for flag in each.opts if flag.startswith("--")}
    arguments = [each.name.rstrip("_") for each in command.params if each.param_type_name == "argument"][
        1:
    ]  # after ENV
    given: list[str] = []
    placed: list[str] = []
    named: dict[str, str] = {}
    left = list(words)
    while left:
        word = left.pop(0)
        name, equals, value = word.partition("=")
        key = name.replace("_", "-")
        if word.startswith("-"):
            given.append(word)
            option = options.get(key.lstrip("-"))
            if left and not equals and option is not None and not option.is_flag:
                given.append(left.pop(0))
        elif equals and key in options:
            given += [f"--{key}", value] if not options[key].is_flag else [f"--{key}"] * (value == "true")
        elif equals and name in arguments:
            named[name] = value
        else:
            placed.append(word)
    for argument in arguments:
        if argument in named:
            placed.insert(arguments.index(argument), named[argument])
    return [*given, *placed]


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
    with command.make_context(name, [environment, *as_words(command, signal[1:])], parent=context) as inner:
        command.invoke(inner)
