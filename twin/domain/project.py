"""The project as an entity: who its members are, whether its environments have been told, and how many it may have.

A change of the members is one event here; a task then brings it to every living environment, one transaction each, and
comes to rest when all have it. Environments that come later take the members over as they are created.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct, field
from msgspec.structs import replace

from twin.domain.codec import JsonCodec
from twin.domain.decider import AT_ONCE, Context, EntityIndex, TaskSpec
from twin.domain.environment import Membership, Role
from twin.domain.errors import NotFound
from twin.domain.identity import Actor
from twin.domain.members import check_person, ends_at, next_end, without_ended
from twin.domain.naming import check_name
from twin.domain.near import near_misses
from twin.domain.quotas import Quotas, check_quotas
from twin.domain.steps import FireTimer
from twin.domain.timers import TIMERS

SCHEMA_V = 1

TELL = "tell"
"""The task to tell the environments. It is no timer that `decide` knows: an engine walks through them, and says
`EnvironmentsHaveIt` once none is left."""

_ENDS = "members"


def project_id(name: str) -> str:
    """The entity that stands for the project of that name."""
    return f"prj_{name}"


class Project(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A project and its members. `generation` counts the changes, `told` is the last that every environment has.
    `changed_by` and `request_id` are those of the last change: what follows from it in environments is theirs."""

    name: str
    changed_by: Actor
    request_id: str | None = None
    members: dict[str, Membership] = field(default_factory=dict)
    generation: int = 0
    told: int = 0
    quotas: Quotas = Quotas()


# -- inputs


class SetMember(Struct, frozen=True, kw_only=True):
    """Somebody becomes a member, or has another role or end from now on. `until`: a time, or a span such as `8h`."""

    project: str
    name: str
    role: Role = "developer"
    until: str | float | None = None


class RemoveMember(Struct, frozen=True, kw_only=True):
    """Somebody is a member no longer."""

    project: str
    name: str


class EnvironmentsHaveIt(Struct, frozen=True):
    """Every living environment has the members of that generation, or of a later one."""

    generation: int


class SetQuotas(Struct, frozen=True, kw_only=True):
    """The project may have so many environments from now on."""

    project: str
    quotas: Quotas


Input = SetMember | RemoveMember | SetQuotas | EnvironmentsHaveIt | FireTimer


# -- events


class MemberSet(Struct, frozen=True, kw_only=True, tag="member_set", tag_field="type"):
    """A person's place in the project is now this."""

    project: str
    name: str
    membership: Membership
    generation: int
    by: Actor
    request_id: str | None = None


class MemberRemoved(Struct, frozen=True, kw_only=True, tag="member_removed", tag_field="type"):
    """A person has no place in the project any more."""

    name: str
    generation: int
    by: Actor
    request_id: str | None = None


class MembershipsEnded(Struct, frozen=True, kw_only=True, tag="memberships_ended", tag_field="type"):
    """The time of these is over."""

    names: tuple[str, ...]
    generation: int
    by: Actor
    at: datetime


class EnvironmentsTold(Struct, frozen=True, kw_only=True, tag="environments_told", tag_field="type"):
    """All of the project's environments have the members of that generation."""

    generation: int


class QuotasSet(Struct, frozen=True, kw_only=True, tag="quotas_set", tag_field="type"):
    """The project's quotas are these now."""

    project: str
    quotas: Quotas
    by: Actor


Event = MemberSet | MemberRemoved | MembershipsEnded | EnvironmentsTold | QuotasSet


class ProjectDecider(JsonCodec[Project, Event]):
    """See `twin.domain.decider.Decider`."""

    kind = "project"
    schema_v = SCHEMA_V
    state, event = Project, Event
    shared = True

    def decide(self, state: Project | None, given: Input, context: Context) -> tuple[Event, ...]:
        """What follows from an input; nothing from one that changes nothing."""
        match given:
            case SetMember():
                return _set(state, given, context)
            case RemoveMember():
                return _remove(state, given, context)
            case SetQuotas():
                return _set_quotas(state, given, context)
            case EnvironmentsHaveIt(generation=generation):
                news = state is not None and generation > state.told
                return (EnvironmentsTold(generation=generation),) if news else ()
            case FireTimer():
                return _end(state, context) if state is not None and given.key == _ENDS else ()

    def advance(self, state: Project, context: Context) -> tuple[Event, ...]:
        """Nothing follows from the state alone."""
        return ()

    def evolve(self, state: Project | None, event: Event) -> Project:
        """The state after an event."""
        if isinstance(event, QuotasSet):
            return replace(state or Project(name=event.project, changed_by=event.by), quotas=event.quotas)
        if isinstance(event, EnvironmentsTold):
            assert state is not None, "a project begins with its first member, or its quotas"
            return replace(state, told=event.generation)
        if isinstance(event, MemberSet):
            state = state or Project(name=event.project, changed_by=event.by)
            members = {**state.members, event.name: event.membership}
        else:
            assert state is not None, "a project begins with its first member, or its quotas"
            gone = event.names if isinstance(event, MembershipsEnded) else (event.name,)
            members = {name: each for name, each in state.members.items() if name not in gone}
        request = event.request_id if not isinstance(event, MembershipsEnded) else None
        members = dict(sorted(members.items()))
        return replace(state, members=members, generation=event.generation, changed_by=event.by, request_id=request)

    def next_tasks(self, state: Project) -> frozenset[TaskSpec]:
        """To tell the environments what they do not know yet, and the next end of a membership."""
        tasks = []
        if state.told < state.generation:
            tasks.append(TaskSpec("timer", TELL, TIMERS, AT_ONCE))
        if (end := next_end(state.members)) is not None:
            tasks.append(TaskSpec("timer", _ENDS, TIMERS, end))
        return frozenset(tasks)

    def index(self, state: Project) -> EntityIndex:
        """It lives under its own name."""
        return EntityIndex(project=state.name, name=state.name, tier="", status="ready")


PROJECT = ProjectDecider()


def _set(state: Project | None, given: SetMember, context: Context) -> tuple[Event, ...]:
    check_name(given.project, "project")
    check_person(given.name, "name")
    membership = Membership(role=given.role, until=ends_at(given.until, context.now, "until"))
    if state is not None and state.members.get(given.name) == membership:
        return ()
    return (
        MemberSet(
            project=given.project,
            name=given.name,
            membership=membership,
            generation=_next(state),
            by=context.cause.actor,
            request_id=context.cause.request_id,
        ),
    )


def _set_quotas(state: Project | None, given: SetQuotas, context: Context) -> tuple[Event, ...]:
    check_name(given.project, "project")
    check_quotas(given.quotas)
    if given.quotas == (state.quotas if state is not None else Quotas()):
        return ()
    return (QuotasSet(project=given.project, quotas=given.quotas, by=context.cause.actor),)


def _remove(state: Project | None, given: RemoveMember, context: Context) -> tuple[Event, ...]:
    members = state.members if state is not None else {}
    if given.name not in members:
        near = near_misses(given.name, members)
        raise NotFound(
            f"{given.name!r} is no member of project {given.project}",
            field="name",
            near=near,
            mend=None if near else f"See who is: twin member ls --project {given.project}",
        )
    return (
        MemberRemoved(
            name=given.name,
            generation=_next(state),
            by=context.cause.actor,
            request_id=context.cause.request_id,
        ),
    )


def _end(state: Project, context: Context) -> tuple[Event, ...]:
    left = without_ended(state.members, context.now)
    names = tuple(sorted(state.members.keys() - left.keys()))
    if not names:
        return ()
    return (MembershipsEnded(names=names, generation=_next(state), by=context.cause.actor, at=context.now),)


def _next(state: Project | None) -> int:
    return (state.generation if state is not None else 0) + 1
