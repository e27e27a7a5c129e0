"""evolve: the state after an event. Total: what has happened is never refused. No rule lives here."""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatch
from typing import Any, TypeVar

from msgspec.structs import replace

from twin.domain import events as happened
from twin.domain.environment import NOTHING_THERE, Environment, Instance, Inventory, Look, Proof, Role
from twin.domain.forgetting import forget_stale
from twin.domain.members import UNSURE, digest_of, entitled, next_grant, perhaps_admitted
from twin.domain.operations import BlockRaised, OperationAccepted, OperationEnded
from twin.domain.rotation import live
from twin.domain.steps import Running, StepKey
from twin.domain.succeeded import stripped, succeeded

V = TypeVar("V")


def evolve(env: Environment | None, event: happened.Event) -> Environment:
    """The state after the event."""
    if isinstance(event, happened.Created):
        return Environment(
            id=event.id,
            project=event.project,
            name=event.name,
            tier=event.tier,
            desired=event.desired,
            created_at=event.at,
            created_by=event.by,
            follower=event.follower,
        )
    if env is None:
        raise ValueError(f"a history begins with Created, not with {type(event).__name__}")
    return forget_stale(_after(event, env))


@singledispatch
def _after(event: Any, env: Environment) -> Environment:
    raise TypeError(f"no evolve for {type(event).__name__}")


@_after.register
def _(event: happened.DesiredChanged, env: Environment) -> Environment:
    return replace(env, desired=event.desired, generation=event.generation, changed_by=event.operation_id)


@_after.register
def _(event: OperationAccepted, env: Environment) -> Environment:
    return replace(env, operations=_with(env.operations, event.operation.id, event.operation))


@_after.register
def _(event: OperationEnded, env: Environment) -> Environment:
    return replace(env, operations=_without(env.operations, event.operation_id))


@_after.register
def _(event: BlockRaised, env: Environment) -> Environment:
    return env  # the failure that waits under it says all; the event is for the table of blocks and for people


@_after.register
def _(event: happened.StepStarted, env: Environment) -> Environment:
    key, text = event.key, str(event.key)
    wanted = env.desired.components.get(key.component)
    inputs = wanted.inputs if wanted is not None and key.verb in ("apply", "seed") else {}
    running = Running(
        key=key,
        target=event.target,
        epoch=event.epoch,
        attempt=event.attempt,
        worker=event.worker,
        started_at=event.at,
        deadline=event.deadline,
        inputs=inputs,
        uses=event.uses,
        opened_with=event.opened_with,
        credential=event.credential,
        members=_grantees(env, key),
    )
    env = replace(env, running=_with(env.running, text, running), epoch=max(env.epoch, event.epoch))
    if key.verb in ("apply", "seed"):
        env = _intend(env, event)
    elif key.verb == "remove" and (gone := env.instances.get(key.instance)):
        env = replace(env, instances=_with(env.instances, key.instance, replace(gone, removing=True)))
    return _touched(env, key, running)


def _grantees(env: Environment, key: StepKey) -> dict[str, Role] | None:
    """The people of a grant, by the digest that names them; None for another step, and for whom nobody knows."""
    instance = env.instances.get(key.instance)
    if key.verb != "grant" or instance is None:
        return None
    grant = next_grant(env, instance)
    # An older twin gave and took at once.
    sets = [grant.members, entitled(env)] if grant is not None else [entitled(env)]
    return next((each for each in sets if digest_of(each) == key.digest), None)


def _intend(env: Environment, event: happened.StepStarted) -> Environment:
    """From here on something may stand in the world under this name: it is in the records until proven gone."""
    key = event.key
    wanted = env.desired.components[key.component]
    instance = env.instances.get(key.instance) or Instance(
        component=key.component,
        incarnation=key.incarnation,
        type=wanted.type,
        placement=event.placement,
        identity=wanted.identity,
        traits=wanted.traits,
        untouched=True,
    )
    place = env.placements.get(event.target, event.placement)
    if instance.untouched:
        instance = replace(instance, placement=event.placement)
        others = (each for name, each in env.instances.items() if name != key.instance and not each.untouched)
        if place.identity is None and not any(each.placement.target == event.target for each in others):
            place = event.placement
    used = tuple(dict.fromkeys((*instance.uses, *event.uses)))
    # What it was seen to be applied with is the older: until it is seen again, it may still hold that.
    opened = {**event.opened_with, **instance.opened_with}
    instance = replace(instance, uses=used, opened_with=opened, traits=wanted.traits)
    return replace(
        env,
        instances=_with(env.instances, key.instance, instance),
        highest=_with(env.highest, key.component, max(key.incarnation, env.highest.get(key.component, 0))),
        placements=_with(env.placements, event.target, place),
    )


@_after.register
def _(event: happened.StepSucceeded, env: Environment) -> Environment:
    running = env.running.get(str(event.key))
    env = _settle(env, event.key)
    instance = env.instances.get(event.key.instance)
    return env if instance is None else succeeded(env, instance, running, event)


@_after.register
def _(event: happened.StepFailed, env: Environment) -> Environment:
    text = str(event.key)
    return replace(
        _reached(env, event.key) if event.reached else env,
        running=_without(env.running, text),
        failures=_with(env.failures, text, event.failure),
        attempts=_with(env.attempts, text, event.attempt),
        deaths=_without(env.deaths, text),
    )


@_after.register
def _(event: happened.StepStopped, env: Environment) -> Environment:
    text = str(event.key)
    deaths = _with(env.deaths, text, env.deaths.get(text, 0))
    return replace(_reached(env, event.key), running=_without(env.running, text), deaths=deaths)


@_after.register
def _(event: happened.StepLost, env: Environment) -> Environment:
    text = str(event.key)
    env = replace(
        _reached(env, event.key),
        running=_without(env.running, text),
        deaths=_with(env.deaths, text, env.deaths.get(text, 0) + 1),
    )
    if event.settled_at is None:
        return env
    unsettled = {of: until for of, until in env.unsettled.items() if until > event.at}
    return replace(env, unsettled=_with(unsettled, f"{text}#{event.epoch}", event.settled_at))


@_after.register
def _(event: happened.ResultRefused, env: Environment) -> Environment:
    env = replace(env, unsettled=_without(env.unsettled, f"{event.key}#{event.epoch}"))  # it has ended after all
    return _touched(env, event.key)


@_after.register
def _(event: happened.LateEffect, env: Environment) -> Environment:
    back = env.departed.get(event.key.instance)
    if back is None:
        return env
    return replace(
        env,
        instances=_with(env.instances, back.key, replace(back, removing=True)),
        departed=_without(env.departed, back.key),
        placements=_with(env.placements, back.placement.target, back.placement),
        swept=_without(env.swept, back.placement.target),
        certificate=None,
    )


@_after.register
def _(event: happened.StepsCancelled, env: Environment) -> Environment:
    running = {
        text: replace(attempt, cancelled=True) if attempt.key in event.keys else attempt
        for text, attempt in env.running.items()
    }
    return replace(env, running=running)


@_after.register
def _(event: happened.ComponentObserved, env: Environment) -> Environment:
    env = _settle(env, event.key)
    instance = env.instances.get(event.key.instance)
    if instance is None:
        return env
    drift = event.drift if event.present else {NOTHING_THERE: "nothing stands there any more"}
    seen = replace(instance, drift=drift, looked=event.key.digest)
    return replace(env, instances=_with(env.instances, instance.key, seen))


@_after.register
def _(event: happened.ObservationWanted, env: Environment) -> Environment:
    looks = dict(env.looks)
    for component in event.components:
        looks[component] = Look(event.token, event.at)
    return replace(env, looks=looks)


@_after.register
def _(event: happened.FailuresCleared, env: Environment) -> Environment:
    gone = set(event.keys)
    # To try again what stands in for lost data is the consent that it is lost.
    consented = {
        key: replace(instance, digest=None, drift={}) if instance.lost and _is_cleared(key, gone) else instance
        for key, instance in env.instances.items()
    }
    # Whoever clears a policy's bound grants it anew; any other count goes on.
    spent = {
        key for key in gone & env.failures.keys() if env.failures[key].block == env.policy_block(StepKey.parse(key))
    }
    return replace(
        env,
        instances=consented,
        failures={key: failure for key, failure in env.failures.items() if key not in gone},
        attempts={key: count for key, count in env.attempts.items() if key not in spent},
        deaths={key: count for key, count in env.deaths.items() if key not in gone},
        leftovers={} if any(":sweep:" in key for key in gone) else env.leftovers,
    )


@_after.register
def _(event: happened.Abandoned, env: Environment) -> Environment:
    proofs, departed = dict(env.proofs), dict(env.departed)
    for key in event.instances:
        if instance := env.instances.get(key) or env.departed.get(key):
            departed[key] = stripped(instance)
            proofs[key] = Proof(
                instance=key,
                type=instance.type,
                external_id=instance.external_id,
                target=instance.placement.target,
                at=event.at,
                abandoned=event.reason,
            )
    instances = {key: instance for key, instance in env.instances.items() if key not in event.instances}
    # A place that is gone for good cannot be asked for an inventory: where nothing else stands, none is owed.
    left = {instance.placement.target for instance in instances.values()}
    lost = {departed[key].placement.target for key in event.instances if key in departed} - left
    placements = {target: placement for target, placement in env.placements.items() if target not in lost}
    leftovers = {target: found for target, found in env.leftovers.items() if target not in lost}
    keep = {text: attempt for text, attempt in env.running.items() if attempt.key.instance not in event.instances}
    env = replace(env, instances=instances, departed=departed, proofs=proofs, running=keep)
    env = replace(env, placements=placements, leftovers=leftovers)
    for text in [*env.failures, *env.attempts, *env.deaths]:
        stale = StepKey.parse(text)
        if stale.instance in event.instances or (stale.verb == "sweep" and stale.component in lost):
            env = _settle(env, stale)
    return env


@_after.register
def _(event: happened.DestructionBegun, env: Environment) -> Environment:
    departure = env.desired.departure
    if departure is None:
        return env
    return replace(env, desired=replace(env.desired, departure=replace(departure, begun=True)))


@_after.register
def _(event: happened.PlacementSwept, env: Environment) -> Environment:
    env = _settle(env, event.key)
    if event.found:
        return replace(env, leftovers=_with(env.leftovers, event.target, event.found))
    if any(instance.placement.target == event.target for instance in env.instances.values()):
        return env  # something came back while it was asked: it has to be asked again once that is gone
    return replace(
        env,
        leftovers=_without(env.leftovers, event.target),
        swept=_with(env.swept, event.target, Inventory(placement=event.placement, at=event.at)),
    )


@_after.register
def _(event: happened.CredentialAcknowledged, env: Environment) -> Environment:
    instance = env.current(event.component)
    if instance is None:
        return env
    credentials = tuple(
        replace(each, acknowledged_by=event.by) if each.version == event.version else each for each in live(instance)
    )
    return _with_instance(env, replace(instance, credentials=credentials))


@_after.register
def _(event: happened.Held, env: Environment) -> Environment:
    return replace(env, holds=_with(env.holds, event.hold.clone, event.hold))


@_after.register
def _(event: happened.HoldEnded, env: Environment) -> Environment:
    return replace(env, holds=_without(env.holds, event.clone))


@_after.register
def _(event: happened.SourceTold, env: Environment) -> Environment:
    return replace(env, source_told=True)


@_after.register
def _(event: happened.FollowerTold, env: Environment) -> Environment:
    return replace(env, heard=event.news)


@_after.register
def _(event: happened.BecameReady, env: Environment) -> Environment:
    return replace(env, was_ready=True)


@_after.register
def _(event: happened.Destroyed, env: Environment) -> Environment:
    return replace(
        env,
        certificate=event.certificate,
        released=True,
        failures={},
        attempts={},
        deaths={},
        looks={},
        unsettled={},
    )


def _settle(env: Environment, key: StepKey) -> Environment:
    """A step came to its end: nothing of its earlier attempts is remembered."""
    text = str(key)
    return replace(
        env,
        running=_without(env.running, text),
        failures=_without(env.failures, text),
        attempts=_without(env.attempts, text),
        deaths=_without(env.deaths, text),
    )


def _is_cleared(instance: str, keys: set[str]) -> bool:
    return any(key.startswith(f"{instance}:apply:") for key in keys)


def _touched(env: Environment, key: StepKey, running: Running | None = None) -> Environment:
    """An attempt whose outcome is not known (yet) may make of an instance what its key says. Not `running`: it was
    given up and has ended after all, nobody knows before or after which other."""
    instance = env.instances.get(key.instance)
    if instance is not None and key.verb == "grant" and instance.access != key.digest:
        people = running.members if running is not None else None
        admits = perhaps_admitted(instance, people) if people is not None else None
        return _with_instance(env, replace(instance, access=UNSURE, admits=admits))
    if instance is None or key.verb not in ("apply", "suspend"):
        return env
    recorded = instance.suspended if key.verb == "suspend" else not instance.suspended and instance.digest == key.digest
    locked = instance.locked or (key.verb == "suspend" and instance.traits.grants)
    unsure = replace(instance, unsure=instance.unsure or not recorded, locked=locked)
    return replace(env, instances=_with(env.instances, key.instance, unsure))


def _reached(env: Environment, key: StepKey) -> Environment:
    """From here on nobody can say that nothing stands there."""
    instance = env.instances.get(key.instance)
    if instance is None or not instance.untouched:
        return env
    return replace(env, instances=_with(env.instances, key.instance, replace(instance, untouched=False)))


def _with_instance(env: Environment, instance: Instance) -> Environment:
    return replace(env, instances=_with(env.instances, instance.key, instance))


def _with(values: Mapping[str, V], key: str, value: V) -> dict[str, V]:
    return {**values, key: value}


def _without(values: dict[str, V], key: str) -> dict[str, V]:
    return {name: value for name, value in values.items() if name != key} if key in values else values
