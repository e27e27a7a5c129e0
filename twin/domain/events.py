"""The events: all that ever happened to an environment, and its audit history. Facts, in the past tense."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct, field

from twin.domain.environment import Certificate, Desired, Follower, Hold
from twin.domain.identity import Actor, EnvironmentId, OperationId, Placement
from twin.domain.operations import BlockRaised, OperationAccepted, OperationEnded
from twin.domain.steps import Copied, Failure, Found, StepKey


class Created(Struct, frozen=True, kw_only=True, tag="created", tag_field="type"):
    """The environment was asked for."""

    id: EnvironmentId
    project: str
    name: str
    tier: str
    desired: Desired
    at: datetime
    by: Actor
    follower: Follower | None = None


class DesiredChanged(Struct, frozen=True, kw_only=True, tag="desired_changed", tag_field="type"):
    """What is asked for is now this. The one before is in the history and is not stored twice."""

    desired: Desired
    generation: int
    operation_id: OperationId


class StepStarted(Struct, frozen=True, kw_only=True, tag="step_started", tag_field="type"):
    """The intent, committed before the provider is called. `operations` are those that the step serves."""

    key: StepKey
    target: str
    placement: Placement
    epoch: int
    attempt: int
    worker: str
    at: datetime
    deadline: datetime
    uses: tuple[str, ...] = ()
    opened_with: dict[str, int] = field(default_factory=dict)
    credential: int = 1
    operations: tuple[OperationId, ...] = ()


class StepSucceeded(Struct, frozen=True, kw_only=True, tag="step_succeeded", tag_field="type"):
    """An attempt did what it should."""

    key: StepKey
    epoch: int
    attempt: int
    at: datetime
    placement: Placement
    external_id: str = ""
    outputs: dict[str, Any] = field(default_factory=dict)
    credential_version: int = 1
    adopted: bool = False
    copied: Copied | None = None
    lingers: bool = False
    operations: tuple[OperationId, ...] = ()


class StepFailed(Struct, frozen=True, kw_only=True, tag="step_failed", tag_field="type"):
    """An attempt did not succeed, and this is what happens next. `reached`: it may have had an effect on its target."""

    key: StepKey
    epoch: int
    attempt: int
    failure: Failure
    reached: bool = True
    operations: tuple[OperationId, ...] = ()


class StepStopped(Struct, frozen=True, kw_only=True, tag="step_stopped", tag_field="type"):
    """An attempt was ended on our own wish, its effect unknown; it does not count."""

    key: StepKey
    epoch: int
    at: datetime
    message: str = ""


class StepLost(Struct, frozen=True, kw_only=True, tag="step_lost", tag_field="type"):
    """The worker of an attempt is gone. Its effect is unknown and, until `settled_at`, may still come."""

    key: StepKey
    epoch: int
    at: datetime
    settled_at: datetime | None = None


class ResultRefused(Struct, frozen=True, kw_only=True, tag="result_refused", tag_field="type"):
    """A result came under an epoch that is not the running attempt's: recorded, not believed."""

    key: StepKey
    epoch: int
    at: datetime
    result: str
    message: str = ""


class LateEffect(Struct, frozen=True, kw_only=True, tag="late_effect", tag_field="type"):
    """A refused result tells of an effect on what was thought gone: it is removed and swept for again."""

    key: StepKey
    at: datetime


class StepsCancelled(Struct, frozen=True, kw_only=True, tag="steps_cancelled", tag_field="type"):
    """Running attempts are asked to stop; their workers learn it by the heartbeat."""

    keys: tuple[StepKey, ...]
    operation_id: OperationId


class ComponentObserved(Struct, frozen=True, kw_only=True, tag="component_observed", tag_field="type"):
    """A component was looked at. `drift` empty: it stands as applied."""

    key: StepKey
    epoch: int
    at: datetime
    present: bool
    drift: dict[str, str] = field(default_factory=dict)


class ObservationWanted(Struct, frozen=True, kw_only=True, tag="observation_wanted", tag_field="type"):
    """Components are to be looked at once."""

    components: tuple[str, ...]
    token: str
    at: datetime


class FailuresCleared(Struct, frozen=True, kw_only=True, tag="failures_cleared", tag_field="type"):
    """What stood still is tried again."""

    keys: tuple[str, ...]
    operation_id: OperationId | None = None
    block: str | None = None


class Abandoned(Struct, frozen=True, kw_only=True, tag="abandoned", tag_field="type"):
    """The break-glass: the twin lets go of instances without proof that they are gone."""

    component: str
    instances: tuple[str, ...]
    reason: str
    at: datetime
    operation_id: OperationId


class DestructionBegun(Struct, frozen=True, kw_only=True, tag="destruction_begun", tag_field="type"):
    """The delay is over; from here there is no way back."""

    at: datetime


class PlacementSwept(Struct, frozen=True, kw_only=True, tag="placement_swept", tag_field="type"):
    """The inventory at one target. `found` empty: nothing with the environment's mark is left there."""

    key: StepKey
    epoch: int
    at: datetime
    target: str
    placement: Placement
    found: tuple[Found, ...] = ()


class CredentialAcknowledged(Struct, frozen=True, kw_only=True, tag="credential_acknowledged", tag_field="type"):
    """Somebody outside of the environment says that a credential is in use: the one before it may go."""

    component: str
    version: int
    by: Actor
    operation_id: OperationId


class Held(Struct, frozen=True, kw_only=True, tag="held", tag_field="type"):
    """A clone copies from here: what it copies from stays meanwhile."""

    hold: Hold
    operation_id: OperationId


class HoldEnded(Struct, frozen=True, kw_only=True, tag="hold_ended", tag_field="type"):
    """A clone copies no more, or is waited for no longer."""

    clone: EnvironmentId
    why: str


class SourceTold(Struct, frozen=True, kw_only=True, tag="source_told", tag_field="type"):
    """The source of this clone holds nothing for it any more."""


class FollowerTold(Struct, frozen=True, kw_only=True, tag="follower_told", tag_field="type"):
    """Whoever follows this environment knows that it changed."""

    news: str


class BecameReady(Struct, frozen=True, kw_only=True, tag="became_ready", tag_field="type"):
    """For the first time all stands as desired."""

    at: datetime


class Destroyed(Struct, frozen=True, kw_only=True, tag="destroyed", tag_field="type"):
    """Nothing is left, and this certifies it."""

    certificate: Certificate


Event = (
    Created
    | DesiredChanged
    | OperationAccepted
    | OperationEnded
    | StepStarted
    | StepSucceeded
    | StepFailed
    | StepStopped
    | StepLost
    | ResultRefused
    | LateEffect
    | StepsCancelled
    | ComponentObserved
    | ObservationWanted
    | FailuresCleared
    | BlockRaised
    | Abandoned
    | DestructionBegun
    | PlacementSwept
    | CredentialAcknowledged
    | Held
    | HoldEnded
    | SourceTold
    | FollowerTold
    | BecameReady
    | Destroyed
)
