"""Real transactions, each in its thread, held before every statement until a scheduler lets one of them go on.

Nothing is patched: SQLAlchemy's own events hold the thread. A statement that waits for another's lock is recognised by
what PostgreSQL says about it (`pg_blocking_pids`), and then others go on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from msgspec import Struct, field
from sqlalchemy import Connection, Engine, ExceptionContext, event

from tests.store.interleavings.footprints import Step, Touched, end, statement

DEADLINE = 20.0
"""Seconds after which a schedule that does not move has hung."""

_SOON = 0.004
"""Seconds after which a statement that has not returned is looked at: it may wait for a lock."""

_blockers = "SELECT pid, pg_blocking_pids(pid) FROM unnest(%s::int[]) AS pid"
_here = threading.local()


class Actor:
    """One participant: `work` runs in a thread of its own."""

    def __init__(self, name: str, work: Callable[[], Any], stage: Stage) -> None:
        self.name = name
        self.pending: Step | None = None
        self.granted = False
        self.blocked = False
        self.done = False
        self.pid = 0
        self.result: Any = None
        self.error: BaseException | None = None
        self._locked: list[Touched] = []
        self._work = work
        self.stage = stage
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def ready(self) -> bool:
        """Whether it stands before a statement."""
        return self.pending is not None and not self.granted

    def start(self) -> None:
        """Run to the first statement."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the end of the thread."""
        self._thread.join(DEADLINE)

    def at(self, step: Step) -> None:
        """Stand here until let go."""
        if step.ends:
            self._locked.clear()
        else:
            self._locked.append(step.locks)
        self.stage.hold(self, step)

    def ending(self, text: str) -> Step:
        """The end of the transaction it is in."""
        return end(text, self._locked)

    def _run(self) -> None:
        _here.actor = self
        try:
            self.result = self._work()
        except BaseException as error:  # whatever it is, the schedule is judged with it
            self.error = error
        finally:
            self.stage.leave(self)


class Move(Struct, frozen=True):
    """One choice of a schedule: who went on with what, and who else could have (with what)."""

    actor: str
    step: Step
    ready: Mapping[str, Step]


class Played(Struct):
    """A schedule that was played to its end."""

    moves: list[Move] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, BaseException] = field(default_factory=dict)
    states: list[str] = field(default_factory=list)
    """SQLSTATEs of failed statements, such as 40P01."""
    waits: int = 0
    """How often a statement had to wait for a lock."""

    def __str__(self) -> str:
        return "\n".join(
            f"  {n:3} {move.actor:12} {' '.join(move.step.text.split())[:110]}" for n, move in enumerate(self.moves)
        )


Choose = Callable[[int, Mapping[str, Step]], str]
"""The name of the actor that goes on: given the depth, and who is ready with which step."""


Rewrite = Callable[[str], str]
"""What a test makes of a statement before it is sent, to see that a wrong one is found."""


class Stage:
    """Plays one schedule."""

    def __init__(
        self, monitor: psycopg.Connection[Any], casts: Mapping[str, Callable[[], Any]], rewrite: Rewrite = str
    ) -> None:
        self.rewrite = rewrite
        self._monitor = monitor
        self._moved = threading.Condition()
        self._actors = [Actor(name, work, self) for name, work in casts.items()]
        self._free = False
        self.states: list[str] = []

    def play(self, choose: Choose) -> Played:
        """Let all act to their end, one statement at a time."""
        played = Played(states=self.states)
        for actor in self._actors:
            actor.start()
        try:
            self._settle(played)
            while ready := {actor.name: actor for actor in self._actors if actor.ready}:
                steps = {name: actor.pending for name, actor in ready.items() if actor.pending is not None}
                chosen = ready[choose(len(played.moves), steps)]
                step = steps[chosen.name]
                played.moves.append(Move(chosen.name, step, steps))
                self._let_go(chosen, ended=step.ends)
                self._settle(played)
        finally:
            self._release()
        played.results = {actor.name: actor.result for actor in self._actors if actor.error is None}
        played.errors = {actor.name: actor.error for actor in self._actors if actor.error is not None}
        return played

    def hold(self, actor: Actor, step: Step) -> None:
        """Called by the actor's thread before each statement."""
        with self._moved:
            if self._free:
                return
            actor.pending, actor.granted, actor.blocked = step, False, False
            self._moved.notify_all()
            if not self._moved.wait_for(lambda: actor.granted or self._free, DEADLINE * 2):
                raise TimeoutError("the scheduler is gone")

    def leave(self, actor: Actor) -> None:
        """Called by the actor's thread at its end."""
        with self._moved:
            actor.done, actor.pending, actor.blocked = True, None, False
            self._moved.notify_all()

    def _let_go(self, actor: Actor, *, ended: bool) -> None:
        with self._moved:
            actor.granted = True
            if ended:  # locks are released: who waited may go on by itself
                for each in self._actors:
                    each.blocked = False
            self._moved.notify_all()

    def _settle(self, played: Played) -> None:
        """Until everybody stands before a statement, waits for a lock that another holds, or has ended."""
        until = time.monotonic() + DEADLINE
        with self._moved:
            while moving := [actor for actor in self._actors if not (actor.done or actor.ready or actor.blocked)]:
                if not self._moved.wait_for(lambda: all(a.done or a.ready for a in moving), _SOON):
                    self._find_blocked(moving, played)
                if time.monotonic() > until:
                    raise TimeoutError(f"{[actor.name for actor in moving]} neither go on nor wait\n{played}")
            waiting = [actor for actor in self._actors if actor.blocked]
            if waiting and not any(actor.ready for actor in self._actors):
                # All wait for each other: the server will end one of them.
                for actor in waiting:
                    actor.blocked = False
                if not self._moved.wait_for(lambda: any(a.done or a.ready for a in waiting), DEADLINE):
                    raise TimeoutError(f"{[actor.name for actor in waiting]} wait for ever\n{played}")
                self._settle(played)

    def _find_blocked(self, moving: Sequence[Actor], played: Played) -> None:
        # Who waits for one that moves may have been let go meanwhile.
        pids = {actor.pid for actor in self._actors if actor.ready or actor.blocked}
        asked = {actor.pid: actor for actor in moving if actor.pid and not (actor.done or actor.ready)}
        for pid, blockers in self._monitor.execute(_blockers, [list(asked)]).fetchall():
            if pids & set(blockers):
                asked[pid].blocked = True
                played.waits += 1

    def _release(self) -> None:
        with self._moved:
            self._free = True
            self._moved.notify_all()
        for actor in self._actors:
            actor.join()


@contextmanager
def gates() -> Iterator[None]:
    """While open, every statement of an actor's thread is held; other threads go their way."""

    def before(
        connection: Connection, cursor: Any, text: str, parameters: Any, context: Any, executemany: bool
    ) -> tuple[str, Any]:
        actor: Actor | None = getattr(_here, "actor", None)
        if actor is None:
            return text, parameters
        raw: Any = connection.connection.dbapi_connection
        actor.pid = raw.info.backend_pid
        text = actor.stage.rewrite(text)
        actor.at(statement(text, parameters))
        return text, parameters

    def commit(connection: Connection) -> None:
        actor: Actor | None = getattr(_here, "actor", None)
        if actor is not None:
            actor.at(actor.ending("COMMIT"))

    def rollback(connection: Connection) -> None:
        actor: Actor | None = getattr(_here, "actor", None)
        if actor is not None:
            actor.at(actor.ending("ROLLBACK"))

    def failed(context: ExceptionContext) -> None:
        actor: Actor | None = getattr(_here, "actor", None)
        if actor is not None:
            actor.stage.states.append(str(getattr(context.original_exception, "sqlstate", "?")))

    hooks: tuple[tuple[str, Any], ...] = (
        ("before_cursor_execute", before),
        ("commit", commit),
        ("rollback", rollback),
        ("handle_error", failed),
    )
    for name, hook in hooks:
        event.listen(Engine, name, hook, retval=name == "before_cursor_execute")
    try:
        yield
    finally:
        for name, hook in hooks:
            event.remove(Engine, name, hook)
