"""Seeding: what a clone still has to copy, and what its source holds for it meanwhile."""

from __future__ import annotations

from twin.domain.digest import digest
from twin.domain.environment import Environment, Hold
from twin.domain.steps import StepKey


def to_copy(env: Environment) -> tuple[str, ...]:
    """The components whose data are still to be copied, before anything else is done to them."""
    seed = env.desired.seed
    if seed is None:
        return ()
    return tuple(name for name in seed.components if name in env.desired.components and name not in env.seeded)


def seed_digest(env: Environment, component: str) -> str:
    """Names a copy: of what, and how much of it."""
    seed = env.desired.seed
    return digest([seed.source, seed.seq, seed.mode, seed.components.get(component)] if seed is not None else [])


def over(env: Environment) -> str | None:
    """Why a clone needs its source no longer; None while it does."""
    if env.desired.seed is None or not env.desired.seed.components:
        return None
    if env.departing or env.certificate is not None:
        return "the clone goes"
    if not (left := to_copy(env)):
        return "all is copied"
    for text, failure in env.failures.items():
        key = StepKey.parse(text)
        if key.verb == "seed" and key.component in left and failure.kind == "terminal":
            return f"{key.component} cannot be copied: {failure.message}"
    return None


def holding(env: Environment, instance: str) -> Hold | None:
    """The hold that keeps an instance from being taken away."""
    return next((hold for hold in env.holds.values() if instance in hold.instances), None)


def told(hold: Hold | None) -> str:
    """What a step waits for, for a person."""
    return f"clone {hold.name} to have copied it (until {hold.until:%F %T} UTC at the most)" if hold is not None else ""
