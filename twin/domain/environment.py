"""The state of an environment's twin: frozen values, a fold of its events."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from msgspec import Struct, field

from twin.domain.blueprint import Policy, Rotation
from twin.domain.identity import Actor, ComponentRef, EnvironmentId, OperationId, Placement
from twin.domain.operations import Operation
from twin.domain.steps import Copied, Failure, Found, Running, StepKey, instance_key

NOTHING_THERE = ""
"""The field of a drift that is about no field: nothing stands there any more."""

Role = Literal["viewer", "developer", "operator", "admin"]
SeedMode = Literal["schema", "full", "masked"]
Status = Literal["creating", "ready", "updating", "blocked", "failed", "suspended", "destroying", "destroyed"]


class Traits(Struct, frozen=True, omit_defaults=True):
    """What the planner must know of a component's type, materialised so that planning needs no catalogue."""

    stateful: bool = False
    suspends: bool = False
    rotates: bool = False
    grants: bool = False
    deadline: float = 120.0
    settle: float = 5.0


class Hurry(Struct, frozen=True, kw_only=True):
    """How many seconds an old credential stays beside any up to `version`, whatever the component's policy says: so
    somebody has asked for these rotations, and for no later ones."""

    grace: float
    version: int


class Component(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A component as desired, all defaults materialised. `identity` digests what only a new incarnation can change.

    `credential_version` only ever rises; `rotate_every` seconds after the last one was issued, it does so by itself.
    `masking`: the bundle's files that make a copy of its data fit to be seen.
    """

    type: str
    target: str
    inputs: dict[str, Any]
    needs: tuple[str, ...] = ()
    policy: Policy | None = None
    observe_every: float | None = None
    bundle: str | None = None
    traits: Traits = Traits()
    identity: str = ""
    incarnation: int = 1
    credential_version: int = 1
    rotate_every: float | None = None
    rotation: Rotation = Rotation()
    hurry: Hurry | None = None
    masking: tuple[str, ...] = ()


class BlueprintRef(Struct, frozen=True):
    """A published version."""

    name: str
    version: str
    bundle: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


class Departure(Struct, frozen=True, kw_only=True):
    """The wish to be gone: destruction begins at `at`, and until then it can be cancelled."""

    at: datetime
    begun: bool = False


class Membership(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A person's place in an environment, until a time or for good."""

    role: Role
    until: datetime | None = None


class Seed(Struct, frozen=True, kw_only=True):
    """What an environment began as a copy of: the fork point is the source's event `seq`.

    `components`: whose data are copied, and from which of the source's instances.
    """

    source: EnvironmentId
    project: str
    name: str
    seq: int
    mode: SeedMode
    components: dict[str, str] = field(default_factory=dict)


class Desired(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is asked for. A level: only the latest counts.

    `members` are those of this environment, `project_members` those that its project gives to all of its own.
    """

    blueprint: BlueprintRef
    inputs: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    components: dict[str, Component] = field(default_factory=dict)
    suspended: bool = False
    protected: bool = False
    expires_at: datetime | None = None
    destroy_delay: float = 0.0
    departure: Departure | None = None
    seed: Seed | None = None
    members: dict[str, Membership] = field(default_factory=dict)
    project_members: dict[str, Membership] = field(default_factory=dict)


class Credential(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A credential that the world takes. `superseded_at`: since when there is a newer one beside it. `acknowledged_by`:
    who has said, from outside of the environment, that it is in use."""

    version: int
    issued_at: datetime | None = None
    superseded_at: datetime | None = None
    acknowledged_by: Actor | None = None


class Instance(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One incarnation of a component as it last stood in the world.

    `digest` None: its creation was begun and never seen to succeed. `uses`: the instances it was applied with.
    `removing`: a removal was begun, so it will not serve again. `drift`: how observed differs from applied.
    `untouched`: no attempt has reached the target yet, so nothing can stand there, and its placement may be corrected.
    `unsure`: a step that would make something else of it was begun since and none was seen to succeed, so what stands
    may not be what is recorded here. `credential_version` counts what its secrets have said, `credentials` are those
    that live, oldest first. `opened_with`: of the instances that it was applied with, the oldest credential that it
    may hold. `access`: the digest of the members that were last granted access of their own; `admits`: who may have it
    by now, granted or begun to be, with the most that they may have, and None if nobody knows. `locked`: a suspension,
    which shuts people out, was begun since it was last applied. `lingers`: what an apply has replaced serves until who
    uses it has been applied too; the instances that it was itself applied with. None: nothing does.
    """

    component: str
    incarnation: int
    type: str
    placement: Placement
    identity: str = ""
    traits: Traits = Traits()
    digest: str | None = None
    unsure: bool = False
    untouched: bool = False
    inputs: dict[str, Any] = field(default_factory=dict)
    uses: tuple[str, ...] = ()
    external_id: str = ""
    outputs: dict[str, Any] = field(default_factory=dict)
    credential_version: int = 1
    credentials: tuple[Credential, ...] = ()
    opened_with: dict[str, int] = field(default_factory=dict)
    access: str | None = None
    lingers: tuple[str, ...] | None = None
    admits: dict[str, Role] | None = None
    locked: bool = False
    suspended: bool = False
    removing: bool = False
    drift: dict[str, str] = field(default_factory=dict)
    applied_at: datetime | None = None
    looked: str | None = None

    @property
    def key(self) -> str:
        """`db@1`."""
        return instance_key(self.component, self.incarnation)

    @property
    def lost(self) -> bool:
        """Whether it held data, was applied, and was then seen to be gone."""
        return self.traits.stateful and self.digest is not None and NOTHING_THERE in self.drift


class Look(Struct, frozen=True):
    """A wish to observe a component once; `token` tells one wish from the next."""

    token: str
    at: datetime


class Inventory(Struct, frozen=True, kw_only=True):
    """The evidence of absence at one placement: asked by mark, found nothing."""

    placement: Placement
    at: datetime


class Proof(Struct, frozen=True, kw_only=True):
    """What became of one resource: removed, or abandoned and so unproven."""

    instance: str
    type: str
    external_id: str
    target: str
    at: datetime
    abandoned: str | None = None


class Certificate(Struct, frozen=True, kw_only=True):
    """The certificate of destruction."""

    at: datetime
    resources: tuple[Proof, ...] = ()
    inventories: tuple[Inventory, ...] = ()

    @property
    def unproven(self) -> tuple[Proof, ...]:
        """What was abandoned: nobody knows that it is gone."""
        return tuple(proof for proof in self.resources if proof.abandoned is not None)


class Hold(Struct, frozen=True, kw_only=True):
    """A clone copies from these instances: until it has, or until a time, nothing takes them away."""

    clone: EnvironmentId
    name: str
    instances: tuple[str, ...]
    until: datetime


class Follower(Struct, frozen=True, kw_only=True):
    """Another entity that wants to know how an environment is."""

    kind: str
    entity: str


class Environment(Struct, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """The twin. Only `evolve` makes the next one.

    `__dict__` is no part of the value: it keeps what was derived from this one state and goes with it.
    """

    id: EnvironmentId
    project: str
    name: str
    tier: str
    desired: Desired
    created_at: datetime
    created_by: Actor
    generation: int = 0
    changed_by: OperationId | None = None
    instances: dict[str, Instance] = field(default_factory=dict)
    highest: dict[str, int] = field(default_factory=dict)
    operations: dict[str, Operation] = field(default_factory=dict)
    running: dict[str, Running] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    deaths: dict[str, int] = field(default_factory=dict)
    looks: dict[str, Look] = field(default_factory=dict)
    unsettled: dict[str, datetime] = field(default_factory=dict)
    placements: dict[str, Placement] = field(default_factory=dict)
    departed: dict[str, Instance] = field(default_factory=dict)
    proofs: dict[str, Proof] = field(default_factory=dict)
    swept: dict[str, Inventory] = field(default_factory=dict)
    leftovers: dict[str, tuple[Found, ...]] = field(default_factory=dict)
    certificate: Certificate | None = None
    seeded: dict[str, Copied] = field(default_factory=dict)
    source_told: bool = False
    holds: dict[str, Hold] = field(default_factory=dict)
    was_ready: bool = False
    released: bool = False
    follower: Follower | None = None
    heard: str = ""
    epoch: int = 0

    def current(self, component: str) -> Instance | None:
        """The instance of the incarnation that is desired, if there is one."""
        wanted = self.desired.components.get(component)
        return None if wanted is None else self.instances.get(instance_key(component, wanted.incarnation))

    def ref(self, component: str, incarnation: int, type_: str) -> ComponentRef:
        """What a provider is told about one of its components."""
        return ComponentRef(
            environment=self.id,
            component=component,
            incarnation=incarnation,
            type=type_,
            project=self.project,
            tier=self.tier,
            environment_name=self.name,
        )

    def epoch_of(self, key: StepKey) -> int:
        """The epoch of the attempt that runs under a key, 0 if none: a start must bring a higher one."""
        running = self.running.get(str(key))
        return running.epoch if running is not None else 0

    def policy_block(self, key: StepKey) -> str:
        """The block under which a step waits once its component's policy is used up."""
        return f"policy/{self.project}/{self.name}/{key.component}"

    @property
    def departing(self) -> bool:
        """Whether destruction has begun."""
        return self.desired.departure is not None and self.desired.departure.begun
