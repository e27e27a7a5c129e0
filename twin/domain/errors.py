"""The classes of failure (what happens next is in the type) and the refusals of bad input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any


class StepFailure(Exception):
    """Why an attempt of a step did not succeed. Providers raise one of the three subclasses and nothing else."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Transient(StepFailure):
    """Will pass by itself (rate limit, network, server restarting): retried with backoff for as long as it takes.

    `retry_after` is what the server asked for; it wins over the backoff.
    """

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Blocked(StepFailure):
    """Needs a human (quota, permission, capacity, platform credentials): waits at no cost until it is resolved.

    `key` names the reason and is shared by all twins that it stops: `<provider>/<target>/<reason>`, for example
    `postgres/local/createdb`. `owner` is who can mend it, `mend` the command or action that does.
    """

    def __init__(self, message: str, *, key: str, owner: str = "platform", mend: str) -> None:
        super().__init__(message)
        self.key = key
        self.owner = owner
        self.mend = mend


class Terminal(StepFailure):
    """Cannot succeed as asked (invalid input, unsupported change, program error): not retried.

    `field` is the input to correct, where one is to blame.
    """

    def __init__(self, message: str, *, field: str | None = None, mend: str | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.mend = mend


class Problem(Exception):
    """An error for the person who asked. `code` is stable and documented in docs/errors.md."""

    code = "problem"
    status = 400
    retryable = False

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        mend: str | None = None,
        code: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.mend = mend
        self.details = dict(details or {})
        if code is not None:
            self.code = code


class Rejected(Problem):
    """A signal that cannot be accepted; nothing was changed."""

    code = "rejected"
    status = 409


class Invalid(Problem):
    """Input that is wrong in itself: names the field, what is wrong with the value, and the mend."""

    code = "invalid"
    status = 422


class OutOfBounds(Invalid):
    """A value outside of what its component type or blueprint allows."""

    code = "out_of_bounds"


class NotFound(Problem):
    """What was named does not exist; `near` holds similar names, best first."""

    code = "not_found"
    status = 404

    def __init__(
        self, message: str, *, field: str | None = None, near: Sequence[str] = (), mend: str | None = None
    ) -> None:
        if near and mend is None:
            mend = f"Did you mean {' or '.join(repr(name) for name in near)}?"
        super().__init__(message, field=field, mend=mend, details={"near": list(near)} if near else None)


class UnknownComponent(NotFound):
    """The environment has no component of that name."""

    code = "unknown_component"
    status = 422


class Conflict(Problem):
    """The world has moved since the caller looked (name taken, other key, other version)."""

    code = "conflict"
    status = 409


class PreconditionFailed(Problem):
    """If-Match or `expect_plan` named another state than today's."""

    code = "precondition_failed"
    status = 412


class Unauthenticated(Problem):
    """No token, or one that is unknown or expired."""

    code = "unauthenticated"
    status = 401


class Forbidden(Problem):
    """The principal's roles do not allow this."""

    code = "forbidden"
    status = 403


class Unavailable(Problem):
    """The service cannot answer now; the same request may succeed later."""

    code = "unavailable"
    status = 503
    retryable = True


class Unreadable(Unavailable):
    """A stored secret does not open with the vault's keys; a human has to mend that first."""

    code = "secret_unreadable"
    retryable = False
