"""What a step that succeeded makes of an instance: the part of `evolve` that knows the verbs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from msgspec.structs import replace

from twin.domain.environment import Credential, Environment, Instance, Proof
from twin.domain.events import StepSucceeded
from twin.domain.members import NOBODY, UNSURE
from twin.domain.rotation import live
from twin.domain.steps import Copied, Running

V = TypeVar("V")


def succeeded(env: Environment, instance: Instance, running: Running | None, event: StepSucceeded) -> Environment:
    """The state once the step is done; its failures and attempts are forgotten already."""
    return _DONE[event.key.verb](env, instance, running, event)


def stripped(instance: Instance) -> Instance:
    """What is kept of an instance that is gone."""
    return replace(
        instance,
        inputs={},
        outputs={},
        uses=(),
        credentials=(),
        opened_with={},
        access=None,
        lingers=None,
        admits=None,
        locked=False,
        drift={},
        digest=None,
        unsure=False,
        looked=None,
    )


def _applied(env: Environment, instance: Instance, running: Running | None, event: StepSucceeded) -> Environment:
    # Also what was lost and, by consent, is made anew: its people were lost with it.
    mended = (bool(instance.drift) or instance.digest is None) and instance.access is not None
    # An apply lets in nobody who was shut out: only a grant does, which names all who are members by then.
    shut_out = (instance.suspended or instance.locked) and instance.access not in (None, NOBODY)
    instance = replace(
        instance,
        placement=event.placement,
        credentials=_credentials(instance, running, event),
        digest=event.key.digest,
        unsure=False,
        untouched=False,
        inputs=running.inputs if running else instance.inputs,
        uses=running.uses if running else instance.uses,
        opened_with=running.opened_with if running else instance.opened_with,
        external_id=event.external_id,
        outputs=event.outputs,
        credential_version=event.credential_version,
        access=UNSURE if mended or shut_out else instance.access,
        admits=None if mended else instance.admits,
        locked=False,
        # What serves still is of the apply before, or of one before that.
        lingers=tuple(dict.fromkeys([*(instance.lingers or ()), *instance.uses])) if event.lingers else None,
        suspended=False,
        drift={},
        applied_at=event.at,
    )
    return _placed(_with_instance(env, instance), event)


def _credentials(instance: Instance, running: Running | None, event: StepSucceeded) -> tuple[Credential, ...]:
    """The first apply issues the first credential; no later one changes which there are."""
    if not instance.traits.rotates:
        return ()
    if issued := live(instance):
        return issued
    return (Credential(version=running.credential if running is not None else 1, issued_at=event.at),)


def _removed(env: Environment, instance: Instance, running: Running | None, event: StepSucceeded) -> Environment:
    proof = Proof(
        instance=instance.key,
        type=instance.type,
        external_id=instance.external_id,
        target=instance.placement.target,
        at=event.at,
    )
    return replace(
        env,
        instances={key: each for key, each in env.instances.items() if key != instance.key},
        departed=_with(env.departed, instance.key, stripped(instance)),
        proofs=_with(env.proofs, instance.key, proof),
    )


def _suspended(env: Environment, instance: Instance, running: Running | None, event: StepSucceeded) -> Environment:
    return _with_instance(env, replace(instance, suspended=True, unsure=False, lingers=None))


def _drained(env: Environment, instance: Instance, running: Running | None, event: StepSucceeded) -> Environment:
    return _with_instance(env, replace(instance, lingers=None))


def _seeded(env: Environment, instance: Instance, running: Running | None, event: StepSucceeded) -> Environment:
    env = _placed(_with_instance(env, replace(instance, placement=event.placement, untouched=False)), event)
    return replace(env, seeded=_with(env.seeded, instance.component, event.copied or Copied(0, 0)))


def _issued(env: Environment, instance: Instance, running: Running | None, event: StepSucceeded) -> Environment:
    older = [replace(each, superseded_at=each.superseded_at or event.at) for each in live(instance)]
    new = Credential(version=int(event.key.digest), issued_at=event.at)
    instance = replace(
        instance,
        outputs=event.outputs,
        credential_version=event.credential_version,
        credentials=(*older, new),
    )
    return _with_instance(env, instance)


def _retired(env: Environment, instance: Instance, running: Running | None, event: StepSucceeded) -> Environment:
    kept = tuple(each for each in live(instance) if each.version != int(event.key.digest))
    return _with_instance(env, replace(instance, credentials=kept))


def _granted(env: Environment, instance: Instance, running: Running | None, event: StepSucceeded) -> Environment:
    admits = running.members if running is not None else None
    return _with_instance(env, replace(instance, access=event.key.digest, admits=admits))


_DONE: Mapping[str, Callable[[Environment, Instance, Running | None, StepSucceeded], Environment]] = {
    "apply": _applied,
    "drain": _drained,
    "remove": _removed,
    "suspend": _suspended,
    "seed": _seeded,
    "issue": _issued,
    "retire": _retired,
    "grant": _granted,
}


def _placed(env: Environment, event: StepSucceeded) -> Environment:
    return replace(env, placements=_with(env.placements, event.placement.target, event.placement))


def _with_instance(env: Environment, instance: Instance) -> Environment:
    return replace(env, instances=_with(env.instances, instance.key, instance))


def _with(values: Mapping[str, V], key: str, value: V) -> dict[str, V]:
    return {**values, key: value}
