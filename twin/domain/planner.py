"""The planner: compares desired with applied and yields the steps that are left. Pure, derived, never stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from twin.domain import rotation
from twin.domain.digest import digest
from twin.domain.environment import Component, Environment, Instance
from twin.domain.members import next_grant
from twin.domain.references import Reference, references
from twin.domain.seeding import holding, seed_digest, to_copy, told
from twin.domain.steps import Plan, Running, Step, StepKey, instance_key

_SWEEP = "inventory"


def plan(env: Environment) -> Plan:
    """What is left to do. Empty exactly when the twin has converged.

    A transition asks several times for the plan of the same state: it is made once and kept beside that state.
    """
    known: Plan | None = env.__dict__.get("plan")
    if known is None:
        known = env.__dict__["plan"] = _plan(env)
    return known


def _plan(env: Environment) -> Plan:
    if env.departing or env.certificate is not None:
        steps = _destruction(env)
    elif env.desired.suspended:
        steps = _suspension(env)
    else:
        steps = _convergence(env)
    return Plan(tuple(_with_running(env, steps)))


def target_digest(env: Environment, name: str) -> str:
    """What the applied digest of a component must be for it to have converged.

    It covers the inputs, the instances it uses, and what its references mean now: the outputs they name, and for
    secrets the incarnation and credential version, never their value. Defaults were materialised when desired was
    set, so a deploy of a newer twin does not change it.
    """
    wanted = env.desired.components[name]
    meanings = {str(reference): _meaning(env, reference) for reference in references(wanted.inputs)}
    return digest([wanted.type, wanted.target, wanted.inputs, uses(env, name), wanted.bundle, meanings])


def _meaning(env: Environment, reference: Reference) -> Any:
    source = env.desired.components.get(reference.component or "")
    if source is None:
        return None
    instance = env.current(reference.component or "")
    if reference.kind == "secrets":
        return [source.incarnation, instance.credential_version if instance else 1]
    return instance.outputs.get(reference.name) if instance else None


def uses(env: Environment, name: str) -> tuple[str, ...]:
    """The instances that an apply of this component now would use."""
    wanted = env.desired.components[name]
    return tuple(instance_key(need, env.desired.components[need].incarnation) for need in wanted.needs)


def ready(env: Environment, step: Step) -> bool:
    """Whether nothing has to come before the step."""
    return not step.after and not step.waits_for and not step.running and not _acting(env, step.key.instance)


def _convergence(env: Environment) -> list[Step]:
    seeds = {name: _seed(env, name) for name in to_copy(env)}
    applies: dict[str, Step] = {}
    for name in _dependencies_first(env.desired.components):
        wanted = env.desired.components[name]
        target = target_digest(env, name)
        if why := _why_apply(env, name, env.current(name), target):
            needed = [str(seeds[name].key)] if name in seeds else []
            needed += [str(applies[need].key) for need in wanted.needs if need in applies]
            needed += [running for need in wanted.needs for running in _acting(env, _desired_instance(env, need))]
            key = StepKey(name, wanted.incarnation, "apply", target)
            applies[name] = Step(key=key, target=wanted.target, after=_others(needed, key), why=why)
    observes = [
        Step(
            key=StepKey(name, instance.incarnation, "observe", look.token),
            target=instance.placement.target,
            after=(str(applies[name].key),) if name in applies else (),
            why="to compare it with the world",
        )
        for name, look in env.looks.items()
        if (instance := env.current(name)) and instance.digest is not None and instance.looked != look.token
    ]
    doomed = [instance for instance in env.instances.values() if not _is_current(env, instance)]
    drains = {step.key.instance: step for name in env.desired.components if (step := _drain(env, name, applies))}
    credentials = {name: step for name in env.desired.components if (step := _credential(env, name, applies, drains))}
    grants = [*_takings(env), *_givings(env, applies)]
    why_removed: Callable[[Instance], str] = lambda gone: (  # noqa: E731
        "replaced by a new incarnation" if gone.component in env.desired.components else "no longer desired"
    )
    removals = _removals(env, doomed, applies, why_removed, drains)
    return [*seeds.values(), *applies.values(), *drains.values(), *credentials.values(), *grants, *observes, *removals]


def _seed(env: Environment, name: str) -> Step:
    wanted, seed = env.desired.components[name], env.desired.seed
    assert seed is not None  # to_copy names components of a clone only
    key = StepKey(name, wanted.incarnation, "seed", seed_digest(env, name))
    return Step(key=key, target=wanted.target, why=f"{seed.mode} copy of {seed.name}")


def _drain(env: Environment, name: str, applies: dict[str, Step]) -> Step | None:
    """What an apply has replaced ends once all that use it have been applied and know what came instead."""
    instance = env.current(name)
    if instance is None or instance.lingers is None or instance.suspended:
        return None
    users = _users(env, instance.key)
    after = [str(applies[name].key)] if name in applies else []
    for user in users:
        component = user.rpartition("@")[0]
        if component in applies and applies[component].key.instance == user:
            after.append(str(applies[component].key))
        elif (gone := env.instances.get(user)) is not None and not _is_current(env, gone):
            after.append(str(_removal_key(gone)))
        after += _acting(env, user)
    key = drain_key(instance)
    return Step(
        key=key,
        target=instance.placement.target,
        after=_others(after, key),
        why="what it has replaced still serves",
        # A lost attempt may lead somebody to it once more.
        not_before=rotation.settled_at(env, [instance.key, *users]),
    )


def _lingering(env: Environment, instance: str, drains: dict[str, Step]) -> list[str]:
    """The steps that end what was applied with an instance and has been replaced, but still serves."""
    of_it = [env.instances[each] for each in drains if instance in (env.instances[each].lingers or ())]
    used = env.instances[instance].uses
    return [str(drains[each.key].key) for each in of_it if each.key not in used]


def _credential(env: Environment, name: str, applies: dict[str, Step], drains: dict[str, Step]) -> Step | None:
    """The next step of a rotation: issue a credential beside the one that lives, or retire the older of two once
    nobody holds it."""
    wanted, instance = env.desired.components[name], env.current(name)
    if instance is None or not wanted.traits.rotates or instance.digest is None or instance.suspended:
        return None
    issued = rotation.live(instance)
    own = [str(applies[name].key)] if name in applies else []
    if len(issued) > 1:
        return _retire(env, instance, wanted, applies, [*own, *_lingering(env, instance.key, drains)])
    if issued[-1].version >= wanted.credential_version:
        return None
    # One after the other: one that was asked for meanwhile must not skip one that a lost attempt may have made valid.
    following = issued[-1].version + 1
    return Step(
        key=StepKey(name, instance.incarnation, "issue", str(following)),
        target=instance.placement.target,
        after=tuple(own),
        why=f"credential {following} beside {issued[-1].version}",
        not_before=rotation.settled_at(env, [instance.key]),
    )


def _retire(env: Environment, instance: Instance, wanted: Component, applies: dict[str, Step], own: list[str]) -> Step:
    holders = rotation.holders(env, instance)
    after, others = list(own), []
    for holder in holders:
        component = holder.rpartition("@")[0]
        if component in applies and applies[component].key.instance == holder:
            after.append(str(applies[component].key))
        elif (user := env.instances.get(holder)) is not None and not _is_current(env, user):
            after.append(str(_removal_key(user)))
        elif not _acting(env, holder):
            others.append(component)
        after += _acting(env, holder)
    until, waits_for = rotation.retirement(env, instance, wanted)
    settled = rotation.settled_at(env, [instance.key, *_users(env, instance.key)])
    old = rotation.live(instance)[0]
    key = StepKey(instance.component, instance.incarnation, "retire", str(old.version))
    return Step(
        key=key,
        target=instance.placement.target,
        after=_others(after, key),
        why=f"credential {old.version} was replaced by {rotation.newest(instance)}",
        not_before=max((time for time in (until, settled) if time is not None), default=None),
        waits_for=f"{', '.join(others)} to take the new credential" if others else waits_for,
    )


def _takings(env: Environment) -> Iterator[Step]:
    """Taking access away waits for no other step: not until what changes can be applied, is resumed, or goes."""
    for instance in env.instances.values():
        grant = next_grant(env, instance) if instance.traits.grants and not instance.untouched else None
        if grant is not None and grant.takes:
            yield Step(
                key=StepKey(instance.component, instance.incarnation, "grant", grant.digest),
                target=instance.placement.target,
                why="who is no member must not have access",
                # Nobody may come back by an attempt that was lost.
                not_before=rotation.settled_at(env, [instance.key], frozenset({"grant"})),
            )


def _givings(env: Environment, applies: dict[str, Step]) -> Iterator[Step]:
    """Access is given to what stands as desired."""
    for name in env.desired.components:
        instance = env.current(name)
        if instance is None or not instance.traits.grants or instance.digest is None:
            continue
        grant = next_grant(env, instance)
        if grant is not None and not grant.takes:
            yield Step(
                key=StepKey(name, instance.incarnation, "grant", grant.digest),
                target=instance.placement.target,
                after=(str(applies[name].key),) if name in applies else (),
                why="members changed",
                not_before=rotation.settled_at(env, [instance.key]),
            )


def _why_apply(env: Environment, name: str, instance: Instance | None, target: str) -> str:
    if instance is None or instance.digest is None:
        return "not there yet"
    if instance.drift:
        return "drift: " + "; ".join(f"{field}: {text}" if field else text for field, text in instance.drift.items())
    if instance.suspended:
        return "resume"
    if instance.digest != target:
        changed = sorted(
            field
            for field in instance.inputs.keys() | env.desired.components[name].inputs.keys()
            if instance.inputs.get(field) != env.desired.components[name].inputs.get(field)
        )
        return f"{', '.join(changed)} changed" if changed else "what it refers to changed"
    return "an attempt that was not seen to succeed may have changed it" if instance.unsure else ""


def _removals(
    env: Environment,
    doomed: list[Instance],
    applies: dict[str, Step],
    why: Callable[[Instance], str],
    drains: dict[str, Step],
) -> Iterator[Step]:
    """Removal follows the applied edges backwards, and a replacement stands before the replaced one goes."""
    keys = {gone.key: _removal_key(gone) for gone in doomed}
    for gone in doomed:
        after = _lingering(env, gone.key, drains)
        for user in _users(env, gone.key):
            if user in keys:
                after.append(str(keys[user]))
            else:
                component = user.rsplit("@", 1)[0]
                after += [str(applies[component].key)] if component in applies else []
                after += _acting(env, user)
        if gone.component in applies:
            after.append(str(applies[gone.component].key))
        yield Step(
            key=keys[gone.key],
            target=gone.placement.target,
            after=_others(after, keys[gone.key]),
            why=why(gone),
            waits_for=told(holding(env, gone.key)),
        )


def _suspension(env: Environment) -> list[Step]:
    candidates = [each for each in env.instances.values() if each.traits.suspends and _is_current(env, each)]
    awake = {each.key: each for each in candidates if not each.suspended or each.unsure}
    keys = {name: suspend_key(instance) for name, instance in awake.items()}
    suspends = [
        Step(
            key=keys[name],
            target=instance.placement.target,
            after=tuple(str(keys[user]) for user in _users(env, name) if user in keys),
            why="suspended",
            waits_for=told(holding(env, name)),
        )
        for name, instance in awake.items()
    ]
    return [*suspends, *_takings(env)]


def _destruction(env: Environment) -> list[Step]:
    removals = list(_removals(env, list(env.instances.values()), {}, lambda _: "the environment goes", {}))
    settled = max(env.unsettled.values(), default=None)
    # Sweeps of several targets run side by side: none waits for another's, all wait for everything else.
    acting = [key for key, running in env.running.items() if running.key.verb != "sweep"]
    sweeps = [
        Step(
            key=StepKey(target, 0, "sweep", _SWEEP),
            target=target,
            after=(*(str(step.key) for step in removals), *acting),
            why="to prove that nothing is left",
            not_before=settled,
        )
        for target in env.placements
        if target not in env.swept
    ]
    removals += _takings(env)  # people need not stay until what they are in can go
    return removals + sweeps


def _with_running(env: Environment, steps: Iterable[Step]) -> Iterator[Step]:
    """Running attempts are part of the plan, also those whose result is no longer wanted; others on the same instance
    come after them."""
    planned = set()
    for step in steps:
        key = str(step.key)
        planned.add(key)
        acting = [running for running in _acting(env, step.key.instance) if running != key]
        yield Step(
            key=step.key,
            target=step.target,
            after=tuple(sorted({*step.after, *acting})),
            why=step.why,
            running=key in env.running,
            not_before=step.not_before,
            waits_for=step.waits_for,
        )
    for key, running in env.running.items():
        if key not in planned:
            yield Step(key=running.key, target=running.target, why="started before the plan changed", running=True)


def _acting(env: Environment, instance: str) -> list[str]:
    return [key for key, running in env.running.items() if running.key.instance == instance]


def _users(env: Environment, instance: str) -> list[str]:
    """Who uses an instance: by what was applied, and by what runs now."""
    applied = [user.key for user in env.instances.values() if instance in user.uses]
    running: list[Running] = [attempt for attempt in env.running.values() if instance in attempt.uses]
    return list(dict.fromkeys([*applied, *(attempt.key.instance for attempt in running)]))


def suspend_key(instance: Instance) -> StepKey:
    """The key of the step that suspends an instance as it stands."""
    return StepKey(instance.component, instance.incarnation, "suspend", instance.digest or "unfinished")


def drain_key(instance: Instance) -> StepKey:
    """The key of the step that ends what the instance's last apply has replaced."""
    return StepKey(instance.component, instance.incarnation, "drain", instance.digest or "unfinished")


def _removal_key(instance: Instance) -> StepKey:
    return StepKey(instance.component, instance.incarnation, "remove", "gone")


def _is_current(env: Environment, instance: Instance) -> bool:
    wanted = env.desired.components.get(instance.component)
    return wanted is not None and wanted.incarnation == instance.incarnation


def _desired_instance(env: Environment, name: str) -> str:
    return instance_key(name, env.desired.components[name].incarnation)


def _others(keys: Iterable[str], own: StepKey) -> tuple[str, ...]:
    return tuple(sorted(set(keys) - {str(own)}))


def _dependencies_first(components: dict[str, Component]) -> list[str]:
    """Topological order; ties by name, so that the same desired always gives the same plan."""
    order: list[str] = []
    placed: set[str] = set()

    def place(name: str) -> None:
        if name in placed:
            return
        placed.add(name)
        for need in sorted(components[name].needs):
            if need in components:
                place(need)
        order.append(name)

    for name in sorted(components):
        place(name)
    return order
