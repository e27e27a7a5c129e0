"""Rotation: which credentials of a component live, who still holds an old one, and when that may be retired.

Issue a new one beside the old, have every consumer applied with it, wait for those outside, retire the old one: never
three live, never none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from twin.domain.environment import Component, Credential, Environment, Instance
from twin.domain.references import references
from twin.domain.steps import CHANGES, Step, StepKey, Verb


def live(instance: Instance) -> tuple[Credential, ...]:
    """The credentials that the world takes, oldest first; none before the first apply."""
    if instance.credentials or instance.digest is None:
        return instance.credentials
    # Applied before its type could rotate: what it has counts as issued under the number that it had then.
    return (Credential(version=instance.credential_version, issued_at=instance.applied_at),)


def versions(instance: Instance | None, wanted: Component | None) -> tuple[int, ...]:
    """The versions that an apply of it makes valid."""
    issued = live(instance) if instance is not None else ()
    if issued:
        return tuple(each.version for each in issued)
    return (wanted.credential_version if wanted is not None else 1,)


def newest(instance: Instance) -> int:
    """The version that consumers are to use; 0 before the first apply."""
    issued = live(instance)
    return issued[-1].version if issued else 0


def kept_version(env: Environment, instance: Instance) -> int | None:
    """Under which version the secrets that consumers are to use are kept: the newest issued credential's, for of one
    that is being issued nothing counts yet. None, of what does not rotate: whichever is the newest."""
    wanted = env.desired.components.get(instance.component)
    rotates = bool(instance.credentials) or (wanted is not None and wanted.traits.rotates)
    return (newest(instance) or None) if rotates else None


def next_version(env: Environment, component: str) -> int:
    """What a rotate asks for now: one that is asked for and not issued yet, or else the one after the newest."""
    wanted, instance = env.desired.components[component], env.current(component)
    issued = newest(instance) if instance is not None else 0
    if any(running.key.verb == "issue" and running.key.component == component for running in env.running.values()):
        issued += 1
    return max(wanted.credential_version, issued + 1) if issued else wanted.credential_version


def opened_with(env: Environment, component: str) -> dict[str, int]:
    """The credentials that an apply of this component now would be given, by instance."""
    found: dict[str, int] = {}
    for reference in references(env.desired.components[component].inputs):
        if reference.kind == "secrets" and (source := env.current(reference.component or "")) is not None:
            found[source.key] = newest(source)
    return found


def holders(env: Environment, instance: Instance) -> list[str]:
    """The other instances that were applied with, may have been, or are being applied with, an older credential than
    the newest."""
    now = newest(instance)
    others = [each for each in env.instances.values() if each.key != instance.key and not each.untouched]
    found = [each.key for each in others if _holds(each, instance, now)]
    found += [
        running.key.instance
        for running in env.running.values()
        if running.opened_with.get(instance.key, now) < now and running.key.instance != instance.key
    ]
    return list(dict.fromkeys(found))


def _holds(user: Instance, instance: Instance, version: int) -> bool:
    if instance.key in user.opened_with:
        return user.opened_with[instance.key] < version
    if instance.key not in user.uses:
        return False
    # Applied before this was recorded: it holds what there was then, if it was given a secret at all.
    return any(each.kind == "secrets" and each.component == instance.component for each in references(user.inputs))


def grace(wanted: Component, version: int) -> float | None:
    """Seconds that an old credential stays beside this one for those outside; None: until one of them has said that
    the new one is in use."""
    if wanted.hurry is not None and version <= wanted.hurry.version:
        return wanted.hurry.grace
    return None if wanted.rotation.acknowledge else wanted.rotation.grace


def retirement(env: Environment, instance: Instance, wanted: Component) -> tuple[datetime | None, str]:
    """Until when the oldest of two credentials stays for those outside (None: no longer), or what it waits for."""
    *_, old, new = live(instance)
    if new.acknowledged_by is not None:
        return None, ""
    seconds, since = grace(wanted, new.version), old.superseded_at
    if seconds is None:
        return None, f"somebody outside to say that credential {new.version} is in use"
    return (None if since is None else since + timedelta(seconds=seconds)), ""


def settled_at(env: Environment, instances: list[str], verbs: frozenset[Verb] = CHANGES) -> datetime | None:
    """Until when a lost attempt on one of these, of one of the verbs, may still have its effect."""
    lost = [(StepKey.parse(text.rpartition("#")[0]), until) for text, until in env.unsettled.items()]
    times = [until for key, until in lost if key.instance in instances and key.verb in verbs]
    return max(times, default=None)


def due_rotations(env: Environment) -> Iterator[tuple[str, datetime]]:
    """When each component's credential has lived for as long as it may."""
    for name, wanted in env.desired.components.items():
        instance = env.current(name)
        if wanted.rotate_every is None or not wanted.traits.rotates or instance is None:
            continue
        issued = live(instance)
        if len(issued) == 1 and issued[0].version >= wanted.credential_version and issued[0].issued_at is not None:
            yield name, issued[0].issued_at + timedelta(seconds=wanted.rotate_every)


def stuck(env: Environment, retire: Step, steps: Mapping[str, Step]) -> tuple[str, str] | None:
    """The consumer that keeps an old credential, and the component that needs a human before that consumer can be
    applied, or go: itself, or one that it needs. Of the credential's own component there is no telling: if it cannot be
    applied, the rotation fails."""
    own = retire.key.component
    for first in retire.after:
        if first in steps and (consumer := steps[first].key.component) != own:
            todo, seen = [first], set[str]()
            while todo:
                if (text := todo.pop()) in seen or text not in steps:
                    continue
                seen.add(text)
                failure = env.failures.get(text)
                if failure is not None and failure.kind != "transient" and steps[text].key.component != own:
                    return consumer, steps[text].key.component
                todo += steps[text].after
    return None
