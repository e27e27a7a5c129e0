"""clone: another environment that begins with this one's data."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Literal

from msgspec import field

from twin.domain.admission import check_open
from twin.domain.blueprint import ComponentSpec, Policy, render
from twin.domain.decider import Context
from twin.domain.desire import desire
from twin.domain.durations import duration_text, parse_duration
from twin.domain.environment import Component, Environment, Follower, Hold, Seed
from twin.domain.errors import Invalid, Rejected
from twin.domain.events import Event, Held
from twin.domain.hosts import without_host
from twin.domain.identity import EnvironmentId
from twin.domain.library import Library
from twin.domain.operations import FieldsAt, OperationAccepted
from twin.domain.signals.base import Signal
from twin.domain.signals.create import Create

HOLD = 24 * 3600.0
"""Seconds that a source waits at most for its clone to have copied, unless the clone says otherwise."""

SHORTEST_HOLD = 1.0
"""Seconds: a shorter one is over before the copy has begun."""


class Clone(Signal, tag="clone", frozen=True, kw_only=True):
    """A new environment of the same blueprint and project.

    `data`: `none` begins empty, `schema` takes over what holds data without the data, `full` all of it, `masked` what
    the blueprint's masking has made fit to be seen (components without masking begin empty). `inputs` are put over
    those of the source; `ttl` and what else a tier says come from `tier`. `hold`: how long the source keeps what is
    copied at the most. `id`, `follower` and `sources` are given by the service, not by the one who asks.
    """

    name: str
    tier: str = "preview"
    ttl: str | float | None = None
    data: Literal["none", "schema", "full", "masked"] = "none"
    inputs: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    hold: str | float | None = None
    id: str = ""
    sources: dict[str, Any] = field(default_factory=dict)
    follower: Follower | None = None


def creation(env: Environment, clone: Clone, seq: int, library: Library) -> Create:
    """What creates the clone: the source as it is desired at its event `seq`, with the clone's own inputs and tier.
    Raises `Rejected` for a source that is gone or going, before anything that it lacks."""
    check_open(env)
    blueprint, _ = library.blueprint(str(env.desired.blueprint))
    about = {"id": env.id, "name": env.name, "project": env.project, "tier": env.tier}
    rendered = render(blueprint, env.desired.inputs, env.tier, about)
    seed = None
    if clone.data != "none":
        seed = Seed(
            source=env.id,
            project=env.project,
            name=env.name,
            seq=seq,
            mode=clone.data,
            components=_copied(env, clone.data, library),
        )
    return Create(
        name=clone.name,
        project=env.project,
        blueprint=str(env.desired.blueprint),
        tier=clone.tier,
        inputs={**_chosen(env, blueprint.tier(env.tier).inputs), **clone.inputs},
        labels=clone.labels,
        ttl=clone.ttl,
        id=clone.id,
        follower=clone.follower,
        sources=clone.sources,
        seed=seed,
        without=tuple(sorted(rendered.keys() - env.desired.components.keys())),
        besides={
            name: without_host(env, name, _spec(each), library)
            for name, each in env.desired.components.items()
            if name not in rendered
        },
    )


def decide(env: Environment, clone: Clone, context: Context) -> Iterator[Event]:
    """The source's part: it keeps what is copied until it is. The clone is created in the same transaction."""
    hold = parse_duration(clone.hold, "hold") if clone.hold is not None else HOLD
    if hold < SHORTEST_HOLD:
        raise Invalid(
            f"hold is {clone.hold!r}, which protects nothing",
            field="hold",
            mend=f"Give it time to copy, such as 2h; without one it is {duration_text(HOLD)}.",
        )
    copied = _copied(env, clone.data, context.library) if clone.data != "none" else {}
    for event in desire(env, env.desired, signal=clone, context=context, goal=FieldsAt({}), components=tuple(copied)):
        yield event
        if isinstance(event, OperationAccepted) and copied:
            yield Held(
                hold=Hold(
                    clone=EnvironmentId(clone.id),
                    name=f"{env.project}/{clone.name}",
                    instances=tuple(copied.values()),
                    until=context.now + timedelta(seconds=hold),
                ),
                operation_id=event.operation.id,
            )


def _chosen(env: Environment, tier: dict[str, Any]) -> dict[str, Any]:
    """The source's inputs but for those that its tier gave it: the clone's tier has its own."""
    return {name: value for name, value in env.desired.inputs.items() if name not in tier or tier[name] != value}


def _spec(component: Component) -> ComponentSpec:
    """A component that a signal has added, as if a blueprint described it. Its place is the clone's tier's."""
    return ComponentSpec(
        type=component.type,
        inputs=component.inputs,
        needs=component.needs,
        observe_every=component.observe_every,
        rotate_every=component.rotate_every,
        rotation=component.rotation,
        masking=component.masking,
        policy=component.policy or Policy(),
    )


def _copied(env: Environment, mode: str, library: Library) -> dict[str, str]:
    """Whose data are copied in this mode. Raises `Rejected` where there is nothing yet to copy, or nothing to mask."""
    found: dict[str, str] = {}
    for name, wanted in env.desired.components.items():
        type_ = library.types.get(wanted.type)
        if type_ is None or mode not in type_.copies or (mode == "masked" and not wanted.masking):
            continue
        instance = env.current(name)
        if instance is None or instance.digest is None:
            raise Rejected(
                f"{name} of {env.project}/{env.name} is not there yet, so it cannot be copied",
                code="not_ready",
                field="data",
                mend=f"Wait until {env.project}/{env.name} is ready, or clone with data: none.",
            )
        found[name] = instance.key
    if mode == "masked" and not found:
        raise Rejected(
            f"no component of {env.project}/{env.name} says how its data are masked",
            code="no_masking",
            field="data",
            mend="Name the scripts in the blueprint (components.db.masking: [mask.sql]), or clone with data: schema.",
        )
    return found
