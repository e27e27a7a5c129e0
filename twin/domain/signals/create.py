"""create: ask for an environment."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from msgspec import field
from msgspec.structs import replace

from twin.domain.blueprint import ComponentSpec, effective_inputs, render
from twin.domain.decider import Context
from twin.domain.desire import complete, desire, materialise
from twin.domain.durations import parse_duration
from twin.domain.environment import Desired, Environment, Follower, Membership, Seed
from twin.domain.errors import Conflict, Invalid
from twin.domain.events import Created, Event
from twin.domain.hosts import with_hosts
from twin.domain.identity import EnvironmentId
from twin.domain.naming import check_labels, check_name
from twin.domain.near import suggestion
from twin.domain.operations import Exists, Goal, Seeded
from twin.domain.signals.base import Signal


class Create(Signal, tag="create", frozen=True, kw_only=True):
    """An environment of a blueprint. `ttl`: how long it lives, such as `24h`; the tier's when not given.

    `id`, `project`, `project_members` and `follower` are given by the service, not by the one who asks, and so is what
    makes it a clone: `seed`, `without` these components of the blueprint, and with others `besides`; and what makes it
    a preview: the `source` of components.
    """

    name: str
    blueprint: str
    tier: str = "dev"
    inputs: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    ttl: str | float | None = None
    project: str = "default"
    id: str = ""
    seed: Seed | None = None
    without: tuple[str, ...] = ()
    besides: dict[str, ComponentSpec] = field(default_factory=dict)
    project_members: dict[str, Membership] = field(default_factory=dict)
    sources: dict[str, Any] = field(default_factory=dict)
    follower: Follower | None = None


def with_sources(specs: dict[str, ComponentSpec], sources: dict[str, Any]) -> dict[str, ComponentSpec]:
    """The components, these with another `source`. Raises `Invalid` if there is none of that name."""
    for name in sources:
        if name not in specs:
            raise Invalid(
                f"component is {name!r}; the blueprint has: {', '.join(sorted(specs))}",
                field="component",
                mend=suggestion(name, specs),
            )
    inputs = {name: {**specs[name].inputs, "source": source} for name, source in sources.items()}
    return {**specs, **{name: replace(specs[name], inputs=each) for name, each in inputs.items()}}


def decide(env: Environment | None, create: Create, context: Context) -> Iterator[Event]:
    """The environment begins; everything it will have is desired, nothing is applied."""
    if env is not None:
        raise Conflict(f"environment {env.project}/{env.name} exists already", field="name")
    check_name(create.name, "name")
    check_name(create.project, "project")
    check_labels(create.labels)
    blueprint, ref = context.library.blueprint(create.blueprint)
    tier = blueprint.tier(create.tier)
    inputs = effective_inputs(blueprint, create.tier, create.inputs)
    ttl = parse_duration(create.ttl, "ttl") if create.ttl is not None else tier.ttl
    bare = Desired(
        blueprint=ref,
        inputs=inputs,
        labels=create.labels,
        protected=tier.protected,
        destroy_delay=tier.destroy_delay,
        seed=create.seed,
        project_members=create.project_members,
        expires_at=context.now + timedelta(seconds=ttl) if ttl is not None else None,
    )
    created = Created(
        id=EnvironmentId(create.id),
        project=create.project,
        name=create.name,
        tier=create.tier,
        desired=bare,
        at=context.now,
        by=context.cause.actor,
        follower=create.follower,
    )
    env = Environment(
        id=created.id,
        project=created.project,
        name=created.name,
        tier=created.tier,
        desired=bare,
        created_at=created.at,
        created_by=created.by,
    )
    about = {"id": create.id, "name": create.name, "project": create.project, "tier": create.tier}
    specs = {**render(blueprint, inputs, create.tier, about), **create.besides}
    wanted = with_sources({name: each for name, each in specs.items() if name not in create.without}, create.sources)
    components = {
        name: materialise(env, name, spec, context.library, ref.bundle)
        for name, spec in with_hosts(env, wanted, context.library).items()
    }
    desired = complete(env, replace(bare, components=components), context.library, allow_data_loss=True)
    yield created
    names = tuple(sorted(components))
    goal: Goal = Exists(names) if create.seed is None else Seeded(names)
    yield from desire(env, desired, signal=create, context=context, goal=goal, components=names)
