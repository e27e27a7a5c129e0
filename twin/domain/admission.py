"""Whether a twin takes signals at all: one that is gone, or is going, takes hardly any."""

from __future__ import annotations

from twin.domain.environment import Environment
from twin.domain.errors import NotFound, Rejected


def check_open(env: Environment | None, *, while_departing: bool = False) -> None:
    """Raise `NotFound`, or `Rejected` for one that is destroyed or, unless `while_departing`, that will be."""
    if env is None:
        raise NotFound("there is no such environment")
    if env.certificate is not None:
        raise Rejected(f"{env.project}/{env.name} is destroyed", code="destroyed", mend="Create it anew.")
    if env.desired.departure is not None and not while_departing:
        when = "is being destroyed" if env.departing else f"will be destroyed at {env.desired.departure.at:%F %T} UTC"
        mend = None if env.departing else "Cancel the destroy operation first."
        raise Rejected(f"{env.project}/{env.name} {when}", code="destroying", mend=mend)
