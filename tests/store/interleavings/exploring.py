"""All schedules of a few transactions that differ in the order of conflicting statements, or a seeded sample of them.

Dynamic partial-order reduction (Flanagan and Godefroid, POPL 2005) with sleep sets: play a schedule, find the pairs of
conflicting statements that could have come in the other order, play those orders as well, until there is no new one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct, field

from tests.store.interleavings.footprints import Step, dependent
from tests.store.interleavings.stepping import Choose, Move, Played

Play = Callable[[Choose], Played]
"""Play one schedule from the start and judge it."""


Order = frozenset[tuple[int, ...]]
"""Which of two conflicting statements came first, for all of them."""


class Tally(Struct):
    """What was explored. `orders`: the distinct ones, up to swaps that cannot matter."""

    schedules: int = 0
    waits: int = 0
    complete: bool = True
    orders: set[Order] = field(default_factory=set)

    def count(self, played: Played) -> None:
        """One more."""
        self.schedules += 1
        self.waits += played.waits
        self.orders.add(_order(played.moves))


class Diverged(Exception):
    """A schedule did not come to the same point again: of several that wait, the server let go another first."""


_TRIES = 5


class _Node(Struct):
    """A point of the present schedule. `asleep`: whose next step leads only to what was explored already."""

    ready: Mapping[str, Step]
    asleep: set[str]
    wanted: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)


def explore(play: Play, most: int) -> Tally:
    """Play every order, at most so many schedules."""
    tally = Tally()
    path: list[_Node] = []
    prefix: list[str] = []
    while True:
        if tally.schedules >= most:
            tally.complete = False
            return tally
        if (played := _again(play, path, prefix)) is None:
            tally.complete = False
            path[-1].done.add(prefix[-1])
            if (following := _next(path, prefix)) is None:
                return tally
            prefix = following
            continue
        tally.count(played)
        moves = played.moves
        assert [move.actor for move in moves[: len(prefix)]] == prefix, "a schedule can be played again"
        for depth in range(len(path), len(moves)):
            path.append(_Node(moves[depth].ready, _asleep(path[-1], moves[depth - 1]) if path else set()))
        _want(path, moves, _before(moves))
        for node, move in zip(path, moves, strict=True):
            node.done.add(move.actor)
        if (following := _next(path, [move.actor for move in moves])) is None:
            return tally
        prefix = following


def _again(play: Play, path: Sequence[_Node], prefix: Sequence[str]) -> Played | None:
    for _ in range(_TRIES):
        try:
            return play(_follow(path, prefix))
        except Diverged:
            continue
    return None


def _next(path: list[_Node], actors: Sequence[str]) -> list[str] | None:
    """The way to the deepest point from which another actor is still to go on; None if there is none."""
    while path:
        if left := sorted(path[-1].wanted - path[-1].done - path[-1].asleep):
            return [*actors[: len(path) - 1], left[0]]
        path.pop()
    return None


def sample(play: Play, seed: int, times: int) -> Tally:
    """Play random schedules, from those that change at every statement to those that hardly do."""
    tally = Tally(complete=False)
    for number in range(times):
        tally.count(play(_stroll(random.Random(seed * 1_000_003 + number))))
    return tally


def _follow(path: Sequence[_Node], prefix: Sequence[str]) -> Choose:
    last: list[str] = []
    asleep: list[set[str]] = []
    steps: list[Step] = []

    def choose(depth: int, ready: Mapping[str, Step]) -> str:
        if depth < len(prefix):
            chosen = prefix[depth]
            if chosen not in ready:
                raise Diverged
            asleep[:] = [path[depth].asleep | path[depth].done - {chosen}]
        else:
            sleepers = {name for name in asleep[0] if _sleeps(ready, name, steps[-1])} if asleep else set[str]()
            asleep[:] = [sleepers]
            awake = sorted(ready.keys() - sleepers) or sorted(ready)
            chosen = last[-1] if last and last[-1] in awake else awake[0]
        last[:], steps[:] = [chosen], [ready[chosen]]
        return chosen

    return choose


def _asleep(parent: _Node, move: Move) -> set[str]:
    return {name for name in (parent.asleep | parent.done) - {move.actor} if _sleeps(parent.ready, name, move.step)}


def _sleeps(ready: Mapping[str, Step], name: str, step: Step) -> bool:
    return name in ready and not dependent(ready[name], step)


def _stroll(chance: random.Random) -> Choose:
    stay = chance.choice((0.0, 0.5, 0.8, 0.95))
    last: list[str] = []

    def choose(depth: int, ready: Mapping[str, Step]) -> str:
        chosen = last[0] if last and last[0] in ready and chance.random() < stay else chance.choice(sorted(ready))
        last[:] = [chosen]
        return chosen

    return choose


def _before(moves: Sequence[Move]) -> list[set[int]]:
    """Which moves happen before each, by its own thread or by conflicts."""
    before: list[set[int]] = []
    for number, move in enumerate(moves):
        mine: set[int] = set()
        for earlier in range(number - 1, -1, -1):
            if earlier not in mine and (
                moves[earlier].actor == move.actor or dependent(moves[earlier].step, move.step)
            ):
                mine |= {earlier} | before[earlier]
        before.append(mine)
    return before


def _order(moves: Sequence[Move]) -> Order:
    """The same for schedules that differ only in swaps of independent neighbours."""
    names = sorted({move.actor for move in moves})
    counts = dict.fromkeys(names, 0)
    places: list[tuple[int, int]] = []
    for move in moves:
        places.append((names.index(move.actor), counts[move.actor]))
        counts[move.actor] += 1
    return frozenset(
        (*places[one], *places[two])
        for two in range(len(moves))
        for one in range(two)
        if moves[one].actor != moves[two].actor and dependent(moves[one].step, moves[two].step)
    )


def _want(path: Sequence[_Node], moves: Sequence[Move], before: Sequence[set[int]]) -> None:
    """Where two conflicting moves came in an order that was not forced, want the other one."""
    for late, move in enumerate(moves):
        for early in before[late]:
            if moves[early].actor == move.actor or not dependent(moves[early].step, move.step):
                continue
            if any(early in before[between] and between in before[late] for between in range(early + 1, late)):
                continue
            node = path[early]
            able = {
                moves[between].actor
                for between in range(early + 1, late + 1)
                if (between == late or between in before[late]) and moves[between].actor in node.ready
            } - {moves[early].actor}
            if not able:
                node.wanted |= node.ready.keys()
            elif not able & node.wanted:
                node.wanted.add(move.actor if move.actor in able else min(able))
