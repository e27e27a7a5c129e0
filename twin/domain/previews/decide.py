"""decide for a pull request: what follows from an input, and what from the state alone."""

from __future__ import annotations

from collections.abc import Iterator

from twin.domain.decider import Context
from twin.domain.following import FollowedChanged
from twin.domain.operations import BlockRaised
from twin.domain.previews import events as happened
from twin.domain.previews import inputs as given_as
from twin.domain.previews.commands import take
from twin.domain.previews.events import Event
from twin.domain.previews.evolve import evolve
from twin.domain.previews.inputs import Input
from twin.domain.previews.names import pull_id
from twin.domain.previews.pull_request import Ended, Origin, PullRequest
from twin.domain.previews.standing import deploy_due, is_up, stands, wish
from twin.domain.previews.tasks import CONTENT, IDLE, LOOK, SECOND, due_timers
from twin.domain.previews.trouble import TaskFailed, trouble
from twin.domain.steps import FireTimer, LiftBlock

LAGS = 5
"""So many answers in a row that are older than what was known are taken for those of a copy that lags behind."""


def decide(state: PullRequest | None, given: Input, context: Context) -> tuple[Event, ...]:
    """What follows from an input; nothing from one that is stale, was taken already, or changes nothing."""
    return tuple(_decide(state, given, context))


def _decide(state: PullRequest | None, given: Input, context: Context) -> Iterator[Event]:
    if isinstance(given, given_as.Hint | given_as.CommandGiven):
        # A source that was removed and made anew may be of another repository: its numbers begin anew, too.
        if state is None or (state.origin != given.origin and not stands(state)):
            state, noticed = _noticed(state, given.origin)
            yield noticed
        yield from _heard(state, given, context)
    elif state is not None:
        yield from _known(state, given, context)


def _heard(state: PullRequest, given: given_as.Hint | given_as.CommandGiven, context: Context) -> Iterator[Event]:
    if isinstance(given, given_as.CommandGiven):
        yield from take(state, given, context)
    elif given.delivery not in state.heard:
        yield happened.PullHinted(delivery=given.delivery[:200], what=given.what[:200], look=state.wanted + 1)
        if _may_look(state):
            yield happened.ErrandsCleared(tasks=(LOOK,))


def _may_look(state: PullRequest) -> bool:
    """Whether a look that failed need not wait any longer once something has happened: what was in its way may be gone,
    and it may be the close. A forge that named a time is left in peace; a copy that lags is counted on."""
    failed = state.troubles.get(LOOK)
    return failed is not None and not failed.asked and failed.about != "lag"


def _known(state: PullRequest, given: Input, context: Context) -> Iterator[Event]:
    match given:
        case given_as.Looked():
            yield from _looked(state, given, context)
        case given_as.SlotGranted():
            if state.slot != "held":
                yield happened.SlotTold(held=True)
        case given_as.SlotQueued(ahead=ahead):
            if (state.slot, state.ahead) != ("queued", ahead):
                yield happened.SlotTold(held=False, ahead=ahead)
        case given_as.SlotFreed():
            if state.slot != "none":
                yield happened.SlotTold(held=False)
        case given_as.Deployed(wish=wished, environment=environment):
            yield happened.PreviewDeployed(
                digest=wished.digest, life=wished.life, sha=wished.sha, environment=environment, at=context.now
            )
        case FollowedChanged(environment=environment):
            yield happened.EnvironmentStirred(environment=environment, news=state.news + 1)
        case given_as.EnvironmentIs(news=news, environment=environment):
            if state.seen < news <= state.news:
                yield happened.PreviewSeen(news=news, environment=environment)
        case given_as.Publishing(sink=sink, digest=digest):
            telling = state.tellings.get(sink, 0) + 1
            yield happened.PublishingBegun(sink=sink, digest=digest, telling=telling)
        case given_as.Published(sink=sink, digest=digest, telling=telling, asked=asked):
            if telling != state.tellings.get(sink, 0):
                return  # it was told by another meanwhile: whoever began last says what it shows
            if state.published.get(sink) != digest or f"publish:{sink}" in state.troubles:
                yield happened.PreviewPublished(sink=sink, digest=digest, asked=asked)
        case TaskFailed():
            yield from _failed(state, given, context)
        case LiftBlock(key=key):
            if tasks := tuple(task for task, each in state.troubles.items() if each.block == key):
                yield happened.ErrandsCleared(tasks=tasks, block=key)
                if CONTENT in tasks:
                    yield _looks_again(state, "block resolved")
        case FireTimer(key=key):
            yield from _fire(state, key, context)
        case _:
            raise AssertionError("an input of no pull request that is known")


def advance(state: PullRequest, context: Context) -> tuple[Event, ...]:
    """An environment that goes without our wish is not made again: its time was over, or somebody destroyed it."""
    wished, env = wish(state), state.environment
    if wished is not None and wished.sha is None:
        return ()
    if env is None or state.done is None or not is_up(state) or env.id != state.done.environment:
        return ()
    if env.going or not env.alive:
        return (happened.PreviewEnded(ended=Ended(why="gone", at=context.now)),)
    return ()


def _noticed(state: PullRequest | None, origin: Origin) -> tuple[PullRequest, Event]:
    noticed = happened.PullNoticed(id=pull_id(origin.source, origin.number), origin=origin)
    return evolve(state, noticed), noticed


def _looked(state: PullRequest, given: given_as.Looked, context: Context) -> Iterator[Event]:
    if not state.looked < given.look <= state.wanted:
        return
    known, pull = state.pull, given.pull
    if known is not None and pull is not None and pull.updated_at < known.updated_at:
        before = state.troubles.get(LOOK)
        lags = before.attempt if before is not None and before.about == "lag" else 0
        if lags < LAGS:
            failed = TaskFailed(
                task=LOOK, kind="transient", message="The forge showed what it was like earlier.", about="lag"
            )
            yield happened.ErrandFailed(task=LOOK, trouble=trouble(before, failed, context, final=False))
            return
    yield happened.PullLooked(look=given.look, pull=pull, verdict=given.verdict, at=context.now)
    if given.failed is not None:
        yield from _failed(state, given.failed, context)


def _failed(state: PullRequest, given: TaskFailed, context: Context) -> Iterator[Event]:
    wished = wish(state)
    final = given.task.startswith("publish:") or (
        given.task == "deploy" and deploy_due(state) and wished is not None and wished.sha is not None
    )
    found = trouble(state.troubles.get(given.task), given, context, final=final)
    yield happened.ErrandFailed(task=given.task, trouble=found)
    if found.block is not None:
        yield BlockRaised(
            key=found.block, owner=found.owner or "platform", mend=found.mend or "", message=found.message
        )


def _fire(state: PullRequest, key: str, context: Context) -> Iterator[Event]:
    due = due_timers(state).get(key)
    if due is None or due > context.now:
        return
    if key == SECOND:
        yield happened.SecondLookWanted(look=state.wanted + 1)
    elif key == CONTENT:
        yield happened.ErrandsCleared(tasks=(CONTENT,))
        yield _looks_again(state, "asked again")
    elif key == IDLE:
        yield happened.PreviewEnded(ended=Ended(why="idle", at=context.now))


def _looks_again(state: PullRequest, why: str) -> Event:
    look = state.wanted + 1
    return happened.PullHinted(delivery=f"{CONTENT}:{look}", what=why, look=look)
