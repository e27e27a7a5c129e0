"""Entrances: where in an environment a person has access, where not yet, and where still, as it is to be shown."""

from __future__ import annotations

from collections.abc import Iterator

from twin.domain.environment import Environment, Instance, Role
from twin.domain.members import UNSURE, entitled, next_grant
from twin.domain.planner import plan
from twin.service.views import Access


def offering(env: Environment) -> Iterator[tuple[str, Instance | None]]:
    """The components that can give people access, as they stand."""
    for name, wanted in env.desired.components.items():
        if wanted.traits.grants:
            yield name, env.current(name)


def leaving(env: Environment) -> dict[str, Role]:
    """Who is not to have access and may have it still, somewhere, and as what."""
    wanted = entitled(env)
    return {
        name: role
        for instance in env.instances.values()
        for name, role in (instance.admits or {}).items()
        if name not in wanted
    }


def access_of_person(env: Environment, person: str) -> dict[str, Access]:
    """By component, how far it is with somebody's access. Of what was replaced or is no longer desired only what is
    still to be taken away."""
    wanted = entitled(env)
    found: dict[str, Access] = {}
    for name, instance in offering(env) if person in wanted else ():
        if instance is not None and instance.suspended:
            found[name] = "suspended"
        else:
            found[name] = "granted" if instance is not None and _has(env, instance, person) else "pending"
    for instance in env.instances.values():
        if person in (instance.admits or {}) and person not in wanted:
            found[instance.component] = "being taken away"
    return found


def waits(env: Environment, person: str) -> dict[str, str]:
    """By component, why somebody's access is not as it should be, as far as that is known: what the last attempt met,
    or that a lost one may still act."""
    wanted = entitled(env)
    found: dict[str, str] = {}
    for instance in env.instances.values():
        grant = next_grant(env, instance) if instance.traits.grants else None
        if grant is None or (person in wanted and _has(env, instance, person)):
            continue
        if person not in wanted and person not in (instance.admits or {}):
            continue
        for step in plan(env).steps:
            if step.key.verb != "grant" or step.key.instance != instance.key or step.running:
                continue
            failure = env.failures.get(str(step.key))
            if failure is not None:
                found[instance.component] = f"{failure.kind}: {failure.message}"
            elif step.not_before is not None:
                found[instance.component] = f"an attempt that was lost may act until {step.not_before:%F %T} UTC"
    return found


def _has(env: Environment, instance: Instance, person: str) -> bool:
    """Whether a member has what is theirs; what is being taken from others leaves them alone."""
    wanted, grant = entitled(env), next_grant(env, instance)
    if grant is None:
        return True
    settled = instance.access != UNSURE or (grant.takes and not instance.locked)
    return settled and (instance.admits or {}).get(person) == wanted[person]
