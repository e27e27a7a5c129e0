"""The status of an environment: derived, never stored."""

from __future__ import annotations

from twin.domain.environment import Environment, Status
from twin.domain.planner import plan

_QUIET = frozenset({"observe", "retire"})
"""What is planned and changes nothing for those who use the environment: an old credential may stay for hours."""


def status(env: Environment) -> Status:
    """One of the eight words. What needs a human comes before what goes on by itself."""
    if env.certificate is not None:
        return "destroyed"
    if env.departing:
        return "destroying"
    steps = plan(env).steps
    kinds = {env.failures[key].kind for step in steps if (key := str(step.key)) in env.failures and not step.running}
    if "blocked" in kinds:
        return "blocked"
    if "terminal" in kinds:
        return "failed"
    if env.desired.suspended:
        return "updating" if steps else "suspended"
    if not env.was_ready:
        return "creating"
    return "updating" if any(step.key.verb not in _QUIET for step in steps) else "ready"
