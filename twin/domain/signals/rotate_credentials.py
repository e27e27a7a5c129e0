"""rotate_credentials: another password, without anybody being shut out."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from twin.domain.decider import Context
from twin.domain.desire import component, desire, traits
from twin.domain.durations import parse_duration
from twin.domain.environment import Environment, Hurry
from twin.domain.errors import Rejected
from twin.domain.events import Event
from twin.domain.operations import CredentialAt
from twin.domain.rotation import next_version
from twin.domain.signals.base import Signal


class RotateCredentials(Signal, tag="rotate_credentials", frozen=True, kw_only=True):
    """A new credential is issued beside the old one, every consumer takes it, then the old one is retired.

    `grace`: how long the old one stays valid for consumers outside of the environment, such as `1h`, whatever the
    component's policy says; `0s` ends it as soon as no component uses it. It holds for this rotation and for one under
    way, and for no later one.
    """

    component: str
    grace: str | float | None = None


def decide(env: Environment, rotate: RotateCredentials, context: Context) -> Iterator[Event]:
    """Desired: the next version. One that is asked for and not issued yet is the same wish."""
    wanted = component(env, rotate.component)
    type_ = context.library.type(wanted.type, field="component")
    now = traits(type_, wanted.inputs)
    if not now.rotates:
        told = " without {}: {}".format(*type_.rotates_if).lower() if type_.rotates_if is not None else ""
        raise Rejected(
            f"{rotate.component} ({wanted.type}) has no credential that can be rotated{told}",
            code="unsupported",
            field="component",
            mend="Replace the component, or rotate what it gets its credential from.",
        )
    version, hurry = next_version(env, rotate.component), wanted.hurry
    if rotate.grace is not None:
        hurry = Hurry(grace=parse_duration(rotate.grace, "grace"), version=version)
    rotated = replace(wanted, credential_version=version, hurry=hurry, traits=now)
    desired = replace(env.desired, components={**env.desired.components, rotate.component: rotated})
    goal = CredentialAt(component=rotate.component, version=version)
    yield from desire(env, desired, signal=rotate, context=context, goal=goal, components=(rotate.component,))
