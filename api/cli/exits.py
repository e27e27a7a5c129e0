"""What a command's exit code says to a script."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from twin.domain.errors import Problem


class Exit(IntEnum):
    """The exit codes. 69, 70 and 77 are those of sysexits.h; 130 is what shells give an interrupted command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    BLOCKED = 5
    OVERTAKEN = 6
    NO_SERVICE = 69
    BUG = 70
    NOT_ALLOWED = 77
    DETACHED = 130


MEANING: Mapping[Exit, str] = {
    Exit.DONE: "done",
    Exit.FAILED: "the operation failed, a check found something wrong, or there is no certificate yet",
    Exit.USAGE: "the command line is wrong",
    Exit.NOT_FOUND: "what was named does not exist",
    Exit.REFUSED: "refused: invalid input, a conflict, another plan than expected",
    Exit.BLOCKED: "waits for a human (on a terminal, the command waits too)",
    Exit.OVERTAKEN: "the operation was superseded or cancelled by another",
    Exit.NO_SERVICE: "no twin answers",
    Exit.BUG: "an error of the twin itself",
    Exit.NOT_ALLOWED: "no token, a wrong one, or one without the role",
    Exit.DETACHED: "Ctrl-C: detached; the twin goes on",
}

_BY_STATUS = {
    401: Exit.NOT_ALLOWED,
    403: Exit.NOT_ALLOWED,
    404: Exit.NOT_FOUND,
    429: Exit.NO_SERVICE,
    502: Exit.NO_SERVICE,
    503: Exit.NO_SERVICE,
    504: Exit.NO_SERVICE,
}


class WrongUsage(Problem):
    """An argument of a command that cannot be read."""

    code = "usage"


class NoTwin(Problem):
    """Nobody answers at the address. The message is the whole of what a person is told."""

    code = "no_twin"
    status = 503
    retryable = True

    def __init__(self, url: str) -> None:
        super().__init__(f"No twin at {url}: run `twin serve` or set TWIN_URL")


def exit_for(problem: Problem) -> Exit:
    """The code for an error, whether the API's or our own."""
    if isinstance(problem, WrongUsage):
        return Exit.USAGE
    if (found := _BY_STATUS.get(problem.status)) is not None:
        return found
    return Exit.BUG if problem.status >= 500 else Exit.REFUSED
