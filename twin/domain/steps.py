"""Steps: what a plan consists of, how an attempt of one runs and ends."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from msgspec import Struct, field

from twin.domain.digest import digest
from twin.domain.identity import EnvironmentId, Placement

Verb = Literal["seed", "apply", "drain", "issue", "retire", "grant", "remove", "suspend", "observe", "sweep"]

CHANGES: frozenset[Verb] = frozenset({"seed", "apply", "drain", "issue", "retire", "grant", "remove", "suspend"})
"""The verbs that change the world."""


class StepKey(Struct, frozen=True):
    """What a step is about. The same key keeps its attempt count over crashes and replanning.

    `digest` is the target digest; a change of what is wanted is another key, and its attempts start at 1. For `issue`
    and `retire` it is the credential's version. A sweep (the inventory before a certificate) has the target's name as
    its `component`.
    """

    component: str
    incarnation: int
    verb: Verb
    digest: str

    def __str__(self) -> str:
        return f"{self.component}@{self.incarnation}:{self.verb}:{self.digest}"

    @property
    def instance(self) -> str:
        """The instance it acts on."""
        return instance_key(self.component, self.incarnation)

    @classmethod
    def parse(cls, text: str) -> StepKey:
        """The inverse of str()."""
        instance, verb, target_digest = text.rsplit(":", 2)
        component, incarnation = instance.rsplit("@", 1)
        return cls(component, int(incarnation), verb, target_digest)  # type: ignore[arg-type]


def instance_key(component: str, incarnation: int) -> str:
    """`db@1`: one incarnation of a component."""
    return f"{component}@{incarnation}"


class Step(Struct, frozen=True, kw_only=True):
    """One step of a plan. `after` are keys of steps of the same plan, `waits_for` is what else has to come first; that
    and `why` are for people."""

    key: StepKey
    target: str
    after: tuple[str, ...] = ()
    why: str = ""
    running: bool = False
    not_before: datetime | None = None
    waits_for: str = ""


class Plan(Struct, frozen=True):
    """What is left to do, derived from desired and applied; never stored."""

    steps: tuple[Step, ...] = ()

    @property
    def digest(self) -> str:
        """Names this plan, for `expect_plan`."""
        return digest([[str(step.key), sorted(step.after)] for step in self.steps])

    def step(self, key: str) -> Step | None:
        """The step of that key."""
        return next((step for step in self.steps if str(step.key) == key), None)


class Running(Struct, frozen=True, kw_only=True):
    """An attempt whose intent is committed and whose result has not come.

    `inputs`, `uses` and `opened_with` are what it was started with; `credential` is the version that a first apply
    makes, `members` the people and roles of a grant. `cancelled` tells its worker, by the heartbeat, to stop.
    """

    key: StepKey
    target: str
    epoch: int
    attempt: int
    worker: str
    started_at: datetime
    deadline: datetime
    inputs: dict[str, Any] = field(default_factory=dict)
    uses: tuple[str, ...] = ()
    opened_with: dict[str, int] = field(default_factory=dict)
    credential: int = 1
    members: dict[str, Literal["viewer", "developer", "operator", "admin"]] | None = None
    cancelled: bool = False


class Failure(Struct, frozen=True, kw_only=True):
    """Why a step does not go on now. transient: tried again at `next_at`. blocked: waits under `block`. terminal:
    suppressed until the key's digest changes or `retry` clears it."""

    kind: Literal["transient", "blocked", "terminal"]
    message: str
    first_at: datetime
    at: datetime
    next_at: datetime | None = None
    block: str | None = None
    owner: str | None = None
    mend: str | None = None
    field: str | None = None


# -- results of an attempt, as an engine reports them


class Copied(Struct, frozen=True):
    """What a component began with: how much was copied, and what the source's server calls the moment."""

    rows: int
    bytes: int
    point: str = ""


class Succeeded(Struct, frozen=True, kw_only=True, tag="succeeded"):
    """The step did what it should. For an apply: what came of it, and whether what it has replaced still serves."""

    placement: Placement
    external_id: str = ""
    outputs: dict[str, Any] = field(default_factory=dict)
    credential_version: int = 1
    adopted: bool = False
    copied: Copied | None = None
    lingers: bool = False


class Looked(Struct, frozen=True, kw_only=True, tag="looked"):
    """What an observe saw. `present` False: nothing stands there."""

    present: bool
    drift: dict[str, str] = field(default_factory=dict)


class Found(Struct, frozen=True):
    """A resource with the environment's mark that an inventory found. `removal`: how a person removes it there; empty
    where nothing tells, as in histories from before it was told."""

    kind: str
    external_id: str
    detail: str = ""
    removal: str = ""


class Swept(Struct, frozen=True, kw_only=True, tag="swept"):
    """What an inventory found; empty is the proof of absence."""

    placement: Placement
    found: tuple[Found, ...] = ()


class FailedTransient(Struct, frozen=True, kw_only=True, tag="failed_transient"):
    """Will pass by itself. `retry_after` in seconds wins over the backoff. `reached` False, here and below: the target
    was never reached, so that nothing can have happened there."""

    message: str
    retry_after: float | None = None
    reached: bool = True


class FailedBlocked(Struct, frozen=True, kw_only=True, tag="failed_blocked"):
    """Needs a human."""

    message: str
    block: str
    owner: str
    mend: str
    reached: bool = True


class FailedTerminal(Struct, frozen=True, kw_only=True, tag="failed_terminal"):
    """Cannot succeed as asked."""

    message: str
    field: str | None = None
    mend: str | None = None
    reached: bool = True


class Stopped(Struct, frozen=True, kw_only=True, tag="stopped"):
    """The attempt was ended on our own wish (cancelled, or the worker drains); its effect is unknown."""

    message: str


Result = Succeeded | Looked | Swept | FailedTransient | FailedBlocked | FailedTerminal | Stopped


# -- inputs that engines give to decide; each is refused or does nothing when the world has moved on


class StartStep(Struct, frozen=True, kw_only=True):
    """A worker that leases the step's task wants to call the provider now. No event follows if it may not.
    `deadline`, in seconds, is for this attempt instead of the type's."""

    key: StepKey
    epoch: int
    worker: str
    placement: Placement
    deadline: float | None = None


class EndStep(Struct, frozen=True, kw_only=True):
    """An attempt ended. A result under an old epoch is refused and recorded."""

    key: StepKey
    epoch: int
    result: Result


class LoseStep(Struct, frozen=True, kw_only=True):
    """The attempt's worker is gone. `proven_dead`: its process certainly does not run any more."""

    key: StepKey
    epoch: int
    proven_dead: bool


class FireTimer(Struct, frozen=True):
    """A timer's time has come; decide checks that it has."""

    key: str


class LiftBlock(Struct, frozen=True):
    """A block was resolved: what waits under it goes on."""

    key: str


class EndHold(Struct, frozen=True, kw_only=True):
    """To a source: the clone copies no more."""

    clone: EnvironmentId
    why: str


class TellSource(Struct, frozen=True):
    """To a clone: its source knows that it copies no more."""


EngineInput = StartStep | EndStep | LoseStep | FireTimer | LiftBlock | EndHold | TellSource
