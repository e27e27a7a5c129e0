"""The preview source as an entity: one repository's configuration, and the slots of what may live at once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from msgspec import Struct, field
from msgspec.structs import replace

from twin.domain.codec import JsonCodec
from twin.domain.decider import AT_ONCE, Context, EntityIndex, TaskSpec
from twin.domain.errors import Invalid, NotFound
from twin.domain.naming import check_name
from twin.domain.operations import BlockRaised
from twin.domain.previews.config import SourceConfig, check_config
from twin.domain.previews.pull_request import Origin
from twin.domain.previews.source_events import (
    Event,
    PullWoken,
    RepositoryKnown,
    SlotAwaited,
    SlotLeft,
    SlotTaken,
    SourceConfigured,
    SourceErrandFailed,
    SourceErrandsCleared,
    SourceReconciled,
    SourceRemoved,
    Waiting,
)
from twin.domain.previews.tasks import PREVIEWS, forge_queue
from twin.domain.previews.trouble import TaskFailed, Trouble, trouble
from twin.domain.pulls import Repository
from twin.domain.steps import FireTimer, LiftBlock
from twin.domain.timers import TIMERS

SCHEMA_V = 1

RECONCILE = "reconcile"
"""The errand to compare what the forge lists with what is known, and to hint every pull request that differs."""

WAKE = "wake:"
"""The errand to tell a pull request, whose entity follows, that it has a slot now."""


class PreviewSource(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A source. `live`: the pull requests that hold a slot, and since when; `queue`: those that wait, the first first;
    `unaware`: those that were given one and do not know it. `generation` counts the configurations, `reconciled` is
    the last that was reconciled. `mark`: what the forge gave with its last listing, `listed`: names what that was.
    `known`: the repository that it is of, as the forge showed it last: it is this one for good, whatever is called so.
    """

    name: str
    config: SourceConfig
    generation: int = 0
    removed: bool = False
    live: dict[str, datetime] = field(default_factory=dict)
    queue: tuple[Waiting, ...] = ()
    unaware: tuple[str, ...] = ()
    mark: str | None = None
    listed: str | None = None
    reconciled: int = 0
    reconciled_at: datetime | None = None
    troubles: dict[str, Trouble] = field(default_factory=dict)
    known: Repository | None = None

    @property
    def repository(self) -> str:
        """What the repository is called now, as far as is known."""
        return self.known.name if self.known is not None else self.config.repository

    def is_of(self, repository: str, repository_id: int | None) -> bool:
        """Whether it is the source of the repository that is called so and has that id, if the id is known. Names are
        the same in capitals, on all forges."""
        if self.known is not None and repository_id is not None:
            return self.known.id == repository_id
        return self.repository.casefold() == repository.casefold()

    @property
    def at_rest(self) -> bool:
        """Whether it was removed and nothing of it lives any more."""
        return self.removed and not self.live and not self.queue and self.reconciled == self.generation

    def origin(self, number: int) -> Origin:
        """Where a pull request of it is, its repository as it is configured: forges do not care about its case."""
        config = self.config
        return Origin(
            source=self.name,
            forge=config.forge,
            repository=config.repository,
            number=number,
            project=config.project,
        )

    def ahead(self, pull: str) -> int | None:
        """How many wait before it; None if it does not wait."""
        return next((place for place, each in enumerate(self.queue) if each.pull == pull), None)


# -- inputs


class Configure(Struct, frozen=True, kw_only=True):
    """The source is configured like this from now on."""

    name: str
    config: SourceConfig


class RemoveSource(Struct, frozen=True):
    """There are to be no previews of it any more."""


class TakeSlot(Struct, frozen=True, kw_only=True):
    """A pull request wants to live. `most`: by its own file, how many may at once."""

    pull: str
    most: int | None = None


class FreeSlot(Struct, frozen=True):
    """A pull request lives no more, or does not want to."""

    pull: str


class Woken(Struct, frozen=True):
    """A pull request knows that it has a slot. In one transaction with telling it."""

    pull: str


class Reconciled(Struct, frozen=True, kw_only=True):
    """Every pull request that differed was given a hint. `generation`: that was read before; `mark`: the listing's;
    `listed` names all that was listed."""

    generation: int
    mark: str | None = None
    listed: str | None = None


class RepositorySeen(Struct, frozen=True, kw_only=True):
    """The forge showed this repository to whoever asked for the one of the source, which was of that generation."""

    repository: Repository
    generation: int


Input = (
    Configure
    | RemoveSource
    | TakeSlot
    | FreeSlot
    | Woken
    | Reconciled
    | RepositorySeen
    | TaskFailed
    | LiftBlock
    | FireTimer
)


class PreviewSourceDecider(JsonCodec[PreviewSource, Event]):
    """See `twin.domain.decider.Decider`."""

    kind = "preview_source"
    schema_v = SCHEMA_V
    state, event = PreviewSource, Event
    shared = False

    def decide(self, state: PreviewSource | None, given: Input, context: Context) -> tuple[Event, ...]:
        """What follows from an input; nothing from one that changes nothing."""
        if isinstance(given, Configure):
            return tuple(_configure(state, given))
        return tuple(_decide(state, given, context)) if state is not None else _missing(given)

    def advance(self, state: PreviewSource, context: Context) -> tuple[Event, ...]:
        """A slot that is free goes to the first who waits."""
        first = next((each for each in state.queue if _has_room(state, each.most)), None)
        return (SlotTaken(pull=first.pull, at=context.now, waited=True),) if first is not None else ()

    def evolve(self, state: PreviewSource | None, event: Event) -> PreviewSource:
        """The state after an event."""
        if isinstance(event, SourceConfigured):
            before = state or PreviewSource(name=event.name, config=event.config)
            # What was removed, and made anew under the same name, may be of another repository.
            known = before.known if not before.at_rest else None
            return replace(before, config=event.config, generation=event.generation, removed=False, known=known)
        assert state is not None, "a source begins by being configured"
        return _after(state, event)

    def next_tasks(self, state: PreviewSource) -> frozenset[TaskSpec]:
        """To reconcile, at its time, and to tell who was given a slot."""
        tasks = [_wake(state, WAKE + pull) for pull in state.unaware]
        if not state.at_rest:
            tasks.append(_reconcile(state))
        return frozenset(tasks)

    def index(self, state: PreviewSource) -> EntityIndex:
        """It lives under its own name in its project, until nothing of it is left."""
        return EntityIndex(
            project=state.config.project,
            name=state.name,
            tier="",
            status="removed" if state.at_rest else "removing" if state.removed else "ready",
            labels={"repository": state.config.repository, "forge": state.config.forge},
            live=not state.at_rest,
        )


PREVIEW_SOURCE = PreviewSourceDecider()


def _configure(state: PreviewSource | None, given: Configure) -> Iterator[Event]:
    check_name(given.name, "name")
    check_config(given.config)
    if state is None:
        yield SourceConfigured(name=given.name, config=given.config, generation=1)
        return
    for fixed in ("forge", "repository", "project"):
        was, wanted = getattr(state.config, fixed), getattr(given.config, fixed)
        if was != wanted and not state.at_rest and not (fixed == "repository" and _is_its_name(state, wanted)):
            raise Invalid(
                f"{fixed} of preview source {given.name} is {was!r}; it stays while the source lives",
                field=fixed,
                mend="Remove the source, or configure another one under another name.",
            )
    if state.removed or state.config != given.config:
        yield SourceConfigured(name=given.name, config=given.config, generation=state.generation + 1)


def _is_its_name(state: PreviewSource, name: str) -> bool:
    return state.known is not None and state.known.name.casefold() == name.casefold()


def _missing(given: Input) -> tuple[Event, ...]:
    if isinstance(given, RemoveSource | TakeSlot):
        raise NotFound("there is no such preview source", field="name", mend="See which there are: twin preview ls")
    return ()


def _decide(state: PreviewSource, given: Input, context: Context) -> Iterator[Event]:
    match given:
        case RemoveSource():
            if not state.removed:
                yield SourceRemoved(generation=state.generation + 1)
        case TakeSlot(pull=pull, most=most):
            if pull in state.live or state.ahead(pull) is not None:
                return
            # Whoever waits already comes first, unless it waits by its own file alone.
            if not state.removed and _has_room(state, most):
                yield SlotTaken(pull=pull, at=context.now)
            else:
                yield SlotAwaited(waiting=Waiting(pull=pull, at=context.now, most=most))
        case FreeSlot(pull=pull):
            if pull in state.live or state.ahead(pull) is not None:
                yield SlotLeft(pull=pull)
        case Woken(pull=pull):
            if pull in state.unaware:
                yield PullWoken(pull=pull)
        case Reconciled(generation=generation, mark=mark, listed=listed):
            yield SourceReconciled(generation=generation, at=context.now, mark=mark, listed=listed)
        case RepositorySeen(repository=seen, generation=generation):
            known = state.known
            first = known is None and generation == state.generation
            if first or (known is not None and known.id == seen.id and known != seen):
                yield RepositoryKnown(repository=seen)
        case TaskFailed():
            found = trouble(state.troubles.get(given.task), given, context, final=False)
            yield SourceErrandFailed(task=given.task, trouble=found)
            if found.block is not None:
                owner, mend = found.owner or "platform", found.mend or ""
                yield BlockRaised(key=found.block, owner=owner, mend=mend, message=found.message)
        case LiftBlock(key=key):
            if tasks := tuple(task for task, each in state.troubles.items() if each.block == key):
                yield SourceErrandsCleared(tasks=tasks, block=key)


def _has_room(state: PreviewSource, most: int | None) -> bool:
    limit = min(state.config.max_live, most) if most is not None else state.config.max_live
    return not state.removed and len(state.live) < limit


def _after(state: PreviewSource, event: Event) -> PreviewSource:
    match event:
        case SourceRemoved(generation=generation):
            return replace(state, removed=True, generation=generation)
        case SlotTaken(pull=pull, at=at, waited=waited):
            unaware = (*state.unaware, pull) if waited else state.unaware
            queue = tuple(each for each in state.queue if each.pull != pull)
            return replace(state, live={**state.live, pull: at}, queue=queue, unaware=unaware)
        case SlotAwaited(waiting=waiting):
            return replace(state, queue=(*state.queue, waiting))
        case SlotLeft(pull=pull):
            return replace(
                _aware(state, pull),
                live={each: at for each, at in state.live.items() if each != pull},
                queue=tuple(each for each in state.queue if each.pull != pull),
            )
        case PullWoken(pull=pull):
            return _aware(state, pull)
        case SourceReconciled(generation=generation, at=at, mark=mark, listed=listed):
            return replace(
                state,
                mark=mark,
                listed=listed,
                reconciled=max(state.reconciled, generation),
                reconciled_at=at,
                troubles=_without(state, (RECONCILE,)),
            )
        case RepositoryKnown(repository=repository):
            return replace(state, known=repository)
        case SourceErrandFailed(task=task, trouble=found):
            return replace(state, troubles={**state.troubles, task: found})
        case SourceErrandsCleared(tasks=tasks):
            return replace(state, troubles=_without(state, tasks))
        case _:
            return state


def _aware(state: PreviewSource, pull: str) -> PreviewSource:
    unaware = tuple(each for each in state.unaware if each != pull)
    return replace(state, unaware=unaware, troubles=_without(state, (WAKE + pull,)))


def _without(state: PreviewSource, tasks: tuple[str, ...]) -> dict[str, Trouble]:
    return {key: each for key, each in state.troubles.items() if key not in tasks}


def _wake(state: PreviewSource, key: str) -> TaskSpec:
    found = state.troubles.get(key)
    return TaskSpec("step", key, PREVIEWS, found.next_at or AT_ONCE if found is not None else AT_ONCE)


def _reconcile(state: PreviewSource) -> TaskSpec:
    """At once after a change of the configuration: what it means for each pull request is found by looking."""
    queue, found = forge_queue(state.config.forge), state.troubles.get(RECONCILE)
    if found is not None and found.block is not None:
        return TaskSpec("block", found.block, TIMERS, None)
    due = AT_ONCE
    if state.reconciled == state.generation and state.reconciled_at is not None:
        due = state.reconciled_at + timedelta(seconds=state.config.reconcile_every)
    if found is not None and found.next_at is not None:
        due = max(due, found.next_at)
    return TaskSpec("step", RECONCILE, queue, due)
