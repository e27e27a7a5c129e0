"""What follows from the state of a pull request: whether it should have an environment, and what that should be."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from twin.domain.previews.pull_request import PullRequest, Wish

Standing = Literal["unknown", "over", "ended", "problem", "unwanted", "waits for leave", "wanted"]


def standing(state: PullRequest) -> Standing:
    """Where it stands by what the forge last said and people have commanded."""
    pull, verdict = state.pull, state.verdict
    if state.gone or (pull is not None and pull.is_over):
        return "over"
    if pull is None or verdict is None:
        return "unknown"
    if state.ended is not None:
        return "ended"
    if verdict.problem is not None:
        return "problem"
    if verdict.unwanted is not None or verdict.recipe is None:
        return "unwanted"
    if pull.is_fork and (state.allowed is None or state.allowed.sha != pull.head_sha):
        return "waits for leave"
    return "wanted"


def wish(state: PullRequest) -> Wish | None:
    """What the environment should be; None: as it is, until more is known.

    Gone because it is over or not wanted only once that is sure. A commit that may not be shown, as it is a stranger's
    or its configuration is wrong, leaves alone what is shown already.
    """
    match standing(state):
        case "unknown":
            return None
        case "ended":
            return away(state)
        case "over" | "unwanted":
            return away(state) if state.sure or state.ended is not None or not stands(state) else None
        case "problem" | "waits for leave":
            return None if is_up(state) else away(state)
        case "wanted":
            assert state.pull is not None
            assert state.verdict is not None
            return Wish(
                life=state.life,
                sha=state.pull.head_sha,
                turn=state.turn,
                recipe=state.verdict.recipe,
                until=state.until,
                protected=state.protected,
            )


def away(state: PullRequest) -> Wish:
    """The wish to be gone."""
    return Wish(life=state.life)


def is_up(state: PullRequest) -> bool:
    """Whether an environment was deployed in this life, so that there should be one."""
    return state.done is not None and state.done.sha is not None and state.done.life == state.life


def stands(state: PullRequest) -> bool:
    """Whether there is, or may be, anything to take away."""
    alive = state.environment is not None and state.environment.alive
    return state.slot != "none" or alive or is_up(state) or state.offered == state.life


def carried_out(state: PullRequest, wished: Wish) -> bool:
    """Whether the environment was asked to be like this, as far as it ever existed."""
    if wished.sha is None and state.life == 0:
        return True
    return state.done is not None and state.done.digest == wished.digest


def deploy_due(state: PullRequest) -> bool:
    """Whether the environment is to be asked for something."""
    wished, env = wish(state), state.environment
    if wished is None:
        return False
    # What a worker that was given up has done late is seen, and put right.
    strays = env is not None and env.alive and not env.going and state.seen == state.news
    if wished.sha is None:
        return strays or not carried_out(state, wished)
    # One of the same name that is on its way out is awaited: then there is room for the next.
    if state.slot != "held" or (env is not None and env.going):
        return False
    strays = strays and env is not None and env.sha is not None and env.sha != wished.sha
    return strays or not carried_out(state, wished)


def waits_for_room(state: PullRequest) -> bool:
    """Whether the project has as many environments as it may, so that this one has to wait."""
    wished, trouble = wish(state), state.troubles.get("deploy")
    return trouble is not None and trouble.kind == "queued" and wished is not None and trouble.about == wished.digest


def slot_due(state: PullRequest) -> bool:
    """Whether a slot is to be asked for, or given back."""
    wished = wish(state)
    if wished is None:
        return False
    if wished.sha is not None:
        return state.slot == "none"
    if state.slot == "held":
        return carried_out(state, wished) and not (state.environment is not None and state.environment.alive)
    return state.slot == "queued"


def is_sure(state: PullRequest, look: int) -> bool:
    """Whether the answer to this look, that it should have no preview, is the second one."""
    return state.second is not None and look >= state.second


def idle_at(state: PullRequest) -> datetime | None:
    """When nobody will have done anything for too long."""
    idle = state.verdict.idle_ttl if state.verdict is not None else None
    if idle is None or state.active_at is None or state.protected or standing(state) != "wanted" or not is_up(state):
        return None
    at = state.active_at + timedelta(seconds=idle)
    return max(at, state.until) if state.until is not None else at
