"""Commands that people write under a pull request: `/twin redeploy`, `/twin extend 2d`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import get_args

from msgspec import Struct

from twin.domain.decider import Context
from twin.domain.durations import duration_text, parse_duration
from twin.domain.errors import Problem
from twin.domain.naming import check_component_name
from twin.domain.near import near_misses
from twin.domain.previews.events import CommandTaken
from twin.domain.previews.hearing import was_heard
from twin.domain.previews.inputs import CommandGiven
from twin.domain.previews.pull_request import PullRequest
from twin.domain.previews.standing import standing
from twin.domain.pulls import Permission

COMMANDS: dict[str, Permission] = {
    "status": "read",
    "redeploy": "write",
    "extend": "write",
    "protect": "write",
    "unprotect": "write",
    "destroy": "write",
    "logs": "write",
    "allow": "write",
}
"""Every command and what whoever gives it must be able to do in the repository."""

LONGEST_ARGUMENT = 100
LONGEST_EXTENSION = 30 * 86_400.0

_LONGEST_LINE = 500
_LINE = re.compile(r"/twin(?:[ \t]+(\S{1,30})(?:[ \t]+(.*))?)?[ \t]*", re.ASCII)
_SHA = re.compile(r"[0-9a-f]{7,64}", re.ASCII)
_LEVELS: tuple[Permission, ...] = get_args(Permission)


class Command(Struct, frozen=True):
    """What a comment asks for; `name` need not be a command that there is."""

    name: str
    argument: str = ""


class _Taken(Struct, frozen=True, kw_only=True):
    text: str
    refusal: bool = False
    sha: str | None = None
    until: timedelta | None = None
    logs: str | None = None


def parse_command(text: str) -> Command | None:
    """The command of a comment: its first line that is not blank begins with `/twin`. None if there is none, so that
    what quotes a command, or speaks of one, gives none."""
    if (found := _LINE.fullmatch(_first_line(text))) is None:
        return None
    return Command((found[1] or "status").lower(), (found[2] or "").strip()[:LONGEST_ARGUMENT])


def command_line(text: str) -> str | None:
    """The line of a comment that is its command, to be shown and read again; None if there is none, or if it is longer
    than a line that somebody writes, or holds what cannot be shown."""
    line = _first_line(text)
    return line if parse_command(line) is not None and len(line) <= _LONGEST_LINE and line.isprintable() else None


def _first_line(text: str) -> str:
    return next((line for line in text[:10_000].splitlines() if line.strip()), "").rstrip()


def take(state: PullRequest, given: CommandGiven, context: Context) -> Iterator[CommandTaken]:
    """What a command does, or why it does nothing: either is answered, once."""
    if was_heard(state, given.comment):
        return
    taken = _refused(state, given) or _taken(state, given)
    yield CommandTaken(
        comment=given.comment,
        command=given.command[:30],
        argument=given.argument[:LONGEST_ARGUMENT],
        by=given.by,
        at=context.now,
        look=state.wanted if taken.refusal else state.wanted + 1,
        text=taken.text,
        refusal=taken.refusal,
        sha=taken.sha,
        until=context.now + taken.until if taken.until is not None else None,
        logs=taken.logs,
    )


def _refused(state: PullRequest, given: CommandGiven) -> _Taken | None:
    if given.command not in COMMANDS:
        near = near_misses(given.command, COMMANDS)
        mend = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}."
        return _no(f"/twin {given.command} is no command; {mend}")
    needed = COMMANDS[given.command]
    if _LEVELS.index(given.permission) < _LEVELS.index(needed):
        return _no(f"/twin {given.command} needs {needed} permission on the repository; you have {given.permission}.")
    if standing(state) == "over" and given.command not in ("status", "logs"):
        return _no("the pull request is closed; reopen it first.")
    return None


def _taken(state: PullRequest, given: CommandGiven) -> _Taken:
    match given.command:
        case "status":
            return _Taken(text="this is how it is.")
        case "redeploy":
            return _Taken(text="it is deployed anew.")
        case "extend":
            return _extended(given.argument)
        case "protect":
            return _Taken(text="neither time nor /twin destroy ends it; closing the pull request does.")
        case "unprotect":
            return _Taken(text="it is protected no longer.")
        case "destroy":
            if state.protected:
                return _no("it is protected; /twin unprotect first.")
            return _Taken(text="it is destroyed, and comes back with /twin redeploy.")
        case "logs":
            return _logs(state, given.argument)
        case _:
            return _allowed(state, given)


def _extended(argument: str) -> _Taken:
    try:
        seconds = parse_duration(argument, "the time")
    except Problem as problem:
        return _no(f"{problem.message}; for example: /twin extend 2d.")
    if not 60 <= seconds <= LONGEST_EXTENSION:
        return _no(f"the time must be 1m to {duration_text(LONGEST_EXTENSION)}; for example: /twin extend 2d.")
    return _Taken(text=f"it lives at least {duration_text(seconds)} from now on.", until=timedelta(seconds=seconds))


def _logs(state: PullRequest, argument: str) -> _Taken:
    recipe = state.verdict.recipe if state.verdict is not None else None
    component = argument or (recipe.component if recipe is not None else "app")
    try:
        check_component_name(component, "the component")
    except Problem as problem:
        return _no(f"{problem.message}.")
    if state.environment is None or not state.environment.alive:
        return _no("there is no environment that could have any.")
    return _Taken(text=f"the last lines of {component}:", logs=component)


def _allowed(state: PullRequest, given: CommandGiven) -> _Taken:
    """The commit that was the last one known when the command was written, and is so still: never one that was pushed
    since. Another one is meant only by the whole of its id: a stranger can make two commits that begin alike."""
    pull = state.pull
    if pull is not None and not pull.is_fork:
        return _no("it does not come from a fork, so that it needs no leave.")
    named = given.argument.lower()
    if named and not _SHA.fullmatch(named):
        return _no(f"{given.argument} is no commit; name it as it is shown here, or say /twin allow alone.")
    head = pull.head_sha if pull is not None else given.sha
    if head is None:
        return _no("its commit is not known yet; wait until it is shown here, and look at it.")
    if named != head and not (given.sha == head and head.startswith(named)):
        return _no(f"its last commit is {head[:12]} by now; look at it, then: /twin allow {head}")
    return _Taken(text=f"commit {head[:12]} may run. The next one will need leave of its own.", sha=head)


def _no(text: str) -> _Taken:
    return _Taken(text=text, refusal=True)
