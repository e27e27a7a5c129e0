"""It bites: a missing lock, a wrong order of locks or a forgotten check is found, by statements that a test spoils."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.store.interleavings.exploring import explore
from tests.store.interleavings.invariants import Broken, judge
from tests.store.interleavings.scene import DECIDERS, Act, Cast, InThread, Scene, run
from tests.store.interleavings.situations import only
from twin.domain.decider import Cause
from twin.domain.identity import TWIN
from twin.domain.steps import LoseStep, StepKey
from twin.store import tasks
from twin.store.transact import Transaction
from twin.store.tx import SqlTx

MOST = 150


def without(part: str, instead: str = "") -> Callable[[str], str]:
    return lambda text: text.replace(part, instead)


def untouched_block(text: str) -> str:
    """Raising a block that is open leaves its row alone, and so does not lock it."""
    if text.startswith("INSERT INTO blocks"):
        return text.partition(" DO UPDATE")[0] + " DO NOTHING"
    return f"{text} AND false" if text.startswith("UPDATE blocks SET owner") else text


def no_turns(text: str) -> str:
    """Counting what is leased without keeping others from leasing meanwhile."""
    return "SELECT true" if "pg_advisory" in text or "pg_try_advisory" in text else text


SPOILT = [
    pytest.param("due", ("scale", "destroy"), without(" FOR NO KEY UPDATE"), "seq", id="twin-not-locked"),
    pytest.param("running", ("finish", "reap"), without(" FOR NO KEY UPDATE"), "40P01", id="finish-not-locked"),
    pytest.param("due", ("claim", "work"), without(" FOR UPDATE SKIP LOCKED"), "same epoch", id="claim-not-locked"),
    pytest.param("crowded", ("claim", "claim2"), no_turns, "may be", id="no-turns-at-a-ceiling"),
    pytest.param("crowded", ("eager", "claim"), no_turns, "may be", id="no-turns-with-an-eager-claim"),
    pytest.param("failing", ("blocked", "resolve"), untouched_block, "was resolved", id="block-not-locked"),
    pytest.param("due", ("scale", "claim"), without("pg_notify(", "concat("), "nobody was told", id="no-notify"),
]


@pytest.mark.parametrize(("situation", "pair", "rewrite", "found"), SPOILT)
def test_a_spoilt_statement_is_found(
    scene: Scene, situation: str, pair: tuple[str, str], rewrite: Callable[[str], str], found: str
) -> None:
    with pytest.raises(Broken, match=found):
        explore(scene.play(only(situation, *pair, rewrite=rewrite), judge), MOST)


def test_tasks_locked_before_their_twin_are_found(scene: Scene) -> None:
    """A reaper that ends the lease first, and then looks at the twin, meets a worker that reports: each waits."""

    def cast(act: Act) -> Cast:
        env = act.create()
        attempt = act.launch("w1", env)
        task = attempt.task

        def lose(tx: Transaction) -> None:
            if tasks.release(tx, task, died=True):
                given = LoseStep(key=StepKey.parse(task.key), epoch=task.epoch, proven_dead=False)
                SqlTx(tx, DECIDERS).transition(task.entity_kind, task.entity, given, Cause(TWIN))

        hasty = InThread(scene.driver)
        return {"finish": lambda: act.finish("w1", attempt), "reap": lambda: hasty.write_from_thread(lose)}

    with pytest.raises(Broken, match="40P01"):
        explore(scene.play(cast, judge), MOST)


def test_a_lease_ended_under_another_epoch_is_found(scene: Scene) -> None:
    """A reaper that comes late takes away the lease of the one that goes on."""

    def cast(act: Act) -> Cast:
        env = act.create()
        (task,) = act.lease("w1")
        act.reap("w2")
        act.rewrite = without("tasks.lease_epoch = %(epoch)s::BIGINT", "true")
        return {
            "reap": lambda: run(act.executor("w3").lost(task, proven_dead=False)),
            "retry": lambda: act.signal(env, "retry", "w4"),
        }

    with pytest.raises(Broken, match="its row is"):
        explore(scene.play(cast, judge), MOST)
