"""evolve for a pull request: the only place where the next state comes from."""

from __future__ import annotations

from msgspec.structs import replace

from twin.domain.operations import BlockRaised
from twin.domain.previews import events as happened
from twin.domain.previews.events import Event
from twin.domain.previews.hearing import with_comment, with_delivery
from twin.domain.previews.pull_request import UNSURE, Allowed, Answer, Done, Ended, Preview, PullRequest
from twin.domain.previews.standing import is_sure, standing, wish


def evolve(state: PullRequest | None, event: Event) -> PullRequest:
    """The state after an event. Total: never refuses what has happened."""
    if isinstance(event, happened.PullNoticed):
        return _noticed(state, event)
    assert state is not None, "a pull request begins by being noticed"
    return _counted(_after(state, event))


def _noticed(state: PullRequest | None, event: happened.PullNoticed) -> PullRequest:
    """A new one; what is numbered goes on where the one of another repository has ended, so that late answers to that
    are stale."""
    fresh = PullRequest(id=event.id, origin=event.origin)
    if state is None:
        return fresh
    numbers = replace(fresh, wanted=state.wanted, looked=state.wanted, news=state.news, seen=state.news)
    return replace(numbers, life=state.life, done=state.done, tellings=state.tellings)


def _counted(state: PullRequest) -> PullRequest:
    """Lives: one in which a deployment may have begun ends as it is to be gone."""
    wished = wish(state)
    if wished is None:
        return state
    if wished.sha is not None:
        return replace(state, offered=state.life) if state.slot == "held" else state
    return replace(state, life=state.life + 1) if state.offered == state.life else state


def _after(state: PullRequest, event: Event) -> PullRequest:
    match event:
        case happened.PullHinted(delivery=delivery, look=look):
            return replace(state, wanted=look, heard=with_delivery(state, delivery))
        case happened.PullLooked():
            return _looked(state, event)
        case happened.SecondLookWanted(look=look):
            return replace(state, wanted=look, second=look)
        case happened.CommandTaken():
            return _commanded(state, event)
        case happened.SlotTold(held=held, ahead=ahead):
            slot = "held" if held else "none" if ahead is None else "queued"
            return replace(_without(state, "slot"), slot=slot, ahead=ahead or 0)
        case happened.PreviewDeployed():
            return _deployed(state, event)
        case happened.EnvironmentStirred(news=news):
            return replace(state, news=news)
        case happened.PreviewSeen(news=news, environment=environment):
            return replace(_without(state, "see"), seen=news, environment=environment)
        case happened.PreviewEnded(ended=ended):
            return replace(state, ended=ended)
        case happened.PublishingBegun(sink=sink, telling=telling):
            tellings = {**state.tellings, sink: telling} if telling else state.tellings
            return replace(state, published={**state.published, sink: UNSURE}, tellings=tellings)
        case happened.PreviewPublished():
            return _published(state, event)
        case happened.ErrandFailed(task=task, trouble=trouble):
            return replace(state, troubles={**state.troubles, task: trouble})
        case happened.ErrandsCleared(tasks=tasks):
            return _without(state, *tasks)
        case happened.PullNoticed() | BlockRaised():
            return state


def _looked(state: PullRequest, event: happened.PullLooked) -> PullRequest:
    was_over = state.gone or (state.pull is not None and state.pull.is_over)
    pull = event.pull or state.pull
    after = replace(
        _without(state, "look", "content"),
        looked=event.look,
        pull=pull,
        gone=event.pull is None,
        verdict=event.verdict or state.verdict,
    )
    is_over = after.gone or (pull is not None and pull.is_over)
    if pull is not None and not is_over:
        if was_over:
            after = replace(after, ended=None)
        if was_over or state.pull is None or state.pull.head_sha != pull.head_sha:
            after = replace(after, active_at=event.at)
    if standing(after) in ("over", "unwanted"):
        sure = state.sure or is_sure(state, event.look)
        return replace(after, leaving_since=state.leaving_since or event.at, sure=sure)
    return replace(after, leaving_since=None, second=None, sure=False)


def _commanded(state: PullRequest, event: happened.CommandTaken) -> PullRequest:
    answer = Answer(
        comment=event.comment,
        by=event.by,
        command=event.command,
        text=event.text,
        ok=not event.refusal,
        at=event.at,
        logs=event.logs,
    )
    after = replace(state, wanted=event.look, heard=with_comment(state, event.comment), answer=answer)
    if event.refusal:
        return after
    if event.command != "status":  # anybody may ask
        after = replace(after, active_at=event.at)
    match event.command:
        case "redeploy":
            return replace(_without(after, "deploy"), turn=state.turn + 1, ended=None)
        case "extend":
            return replace(after, until=event.until)
        case "protect" | "unprotect":
            return replace(after, protected=event.command == "protect")
        case "destroy":
            return replace(after, ended=Ended(why="destroyed", at=event.at, by=event.by))
        case "allow" if event.sha is not None:
            return replace(after, allowed=Allowed(sha=event.sha, by=event.by, at=event.at))
        case _:
            return after


def _deployed(state: PullRequest, event: happened.PreviewDeployed) -> PullRequest:
    done = Done(digest=event.digest, life=event.life, sha=event.sha, environment=event.environment, at=event.at)
    # How it is now has to be looked at, also where nobody tells; a look that began before counts for nothing.
    after = replace(_without(state, "deploy"), done=done, news=state.news + 1, seen=state.news)
    before = state.environment
    if event.environment is not None and (before is None or before.id != event.environment):
        return replace(after, environment=Preview(id=event.environment, status="creating", sha=event.sha))
    return after


def _published(state: PullRequest, event: happened.PreviewPublished) -> PullRequest:
    after = replace(_without(state, f"publish:{event.sink}"), published={**state.published, event.sink: event.digest})
    if state.answer is None or event.asked != state.answer.comment:
        return after
    return replace(after, answer=replace(state.answer, logs=None))


def _without(state: PullRequest, *tasks: str) -> PullRequest:
    if state.troubles.keys().isdisjoint(tasks):
        return state
    return replace(state, troubles={key: each for key, each in state.troubles.items() if key not in tasks})
