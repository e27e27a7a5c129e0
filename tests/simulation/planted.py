"""Bugs to plant: each is a small change of the sources, made in a copy of them, that the simulator must find.

`python -m tests.simulation.planted` looks for the seed that finds each one soonest, to be remembered here.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from msgspec import Struct

from tests.simulation.command import PROJECT, simulator

SIZE = ("--environments", "6", "--days", "2", "--pace", "0.3", "--jobs", "1", "--as-it-is")
BOUND = 40
"""So many seeds at most may be needed when the remembered one finds a bug no more, since all else has changed."""

_BROKEN = re.compile(r"seed (\d+):.*BROKEN: ([^:]+):")


class Edit(Struct, frozen=True):
    """One replacement; `old` stands exactly once in the file."""

    file: str
    old: str
    new: str


class Bug(Struct, frozen=True):
    """A bug, and the seed that found it; `faults` where few kinds find it sooner than all."""

    name: str
    seed: int
    edits: tuple[Edit, ...]
    faults: str = "all"


class Catch(Struct, frozen=True):
    """The seed that found a bug, and the rule that it breaks."""

    seed: int
    rule: str


def plant(bug: Bug, tree: Path) -> None:
    """Copy the sources to `tree` with the bug in them, compiled as far as they are."""
    for part in ("twin", "alembic"):
        shutil.copytree(PROJECT / part, tree / part)
    for edit in bug.edits:
        path = tree / edit.file
        text = path.read_text()
        assert text.count(edit.old) == 1, f"{bug.name}: {edit.file} has changed; plant it anew at its new place"
        path.write_text(text.replace(edit.old, edit.new))
        for stale in path.parent.glob(f"__pycache__/{path.stem}.*"):
            stale.unlink()


def found(bug: Bug, seeds: Sequence[int]) -> Catch | None:
    """What the first of the seeds that finds the bug has found."""
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        plant(bug, Path(folder))
        done = _lives(bug.faults, seeds, Path(folder))
    broken = _BROKEN.search(done.stdout)
    assert broken or done.returncode == 0, f"{bug.name}: {done.stdout[-500:]} {done.stderr[-1500:]}"
    return Catch(int(broken[1]), broken[2]) if broken else None


def hunt(bug: Bug) -> Catch | None:
    """First with the seed that is remembered, then with many."""
    return found(bug, [bug.seed]) or found(bug, range(1, BOUND + 1))


@cache
def without(faults: str, seed: int) -> str:
    """What is broken in the same life without any bug; empty if all holds."""
    done = _lives(faults, [seed], PROJECT)
    return "" if done.returncode == 0 else done.stdout[-3000:] + done.stderr[-1500:]


def _lives(faults: str, seeds: Sequence[int], tree: Path) -> subprocess.CompletedProcess[str]:
    return simulator("--seeds", f"{seeds[0]}..{seeds[-1]}", "--faults", faults, *SIZE, tree=tree)


def _one(name: str, seed: int, file: str, old: str, new: str, faults: str = "all") -> Bug:
    return Bug(name, seed, (Edit(file, old, new),), faults)


_REFUSED = """    if running is None or running.epoch != given.epoch:
        yield from _refuse(env, given, context)
"""

_NEWEST_OWN = "        own = credentials[max(credentials)] if credentials else self._of(tx, env, key.instance, None)\n"

BUGS = (
    _one(
        "epoch not compared",
        7,
        "twin/domain/outcomes.py",
        _REFUSED,
        _REFUSED.replace("running is None or running.epoch != given.epoch", "running is None"),
    ),
    _one(
        "intent after the call",
        1,
        "twin/engine/execute.py",
        """            attempt = await self._persist(lambda tx: self._start_held(tx, task), task.key)
        except Unavailable as refusal:""",
        """            seen: list[Attempt | None] = []

            def look(tx: Tx) -> None:
                seen.append(self._start_held(tx, task))
                raise KeyError(task.key)

            try:
                await self._store.transact(look)
            except KeyError:
                pass
            if seen and seen[-1] is not None:
                result, secrets = await self._call(seen[-1])
                attempt = await self._persist(lambda tx: self._start_held(tx, task), task.key)
                return await self._persist(lambda tx: self._end(tx, attempt, result, secrets), task.key)
            attempt = await self._persist(lambda tx: self._start_held(tx, task), task.key)
        except Unavailable as refusal:""",
    ),
    _one(
        "lost wake",
        1,
        "twin/store/tasks.py",
        """            if due is not None:
                tx.woken.add((entity, spec.kind, spec.key))
""",
        "",
    ),
    _one(
        "attempts forgotten with the worker",
        7,
        "twin/domain/evolve.py",
        "        deaths=_with(env.deaths, text, env.deaths.get(text, 0) + 1),\n",
        "        deaths=_with(env.deaths, text, env.deaths.get(text, 0) + 1),\n"
        "        attempts=_without(env.attempts, text),\n",
    ),
    _one(
        "acknowledgement before COMMIT",
        10,
        "twin/store/sqlite.py",
        """            result = fn(tx)
            self._raw.execute("COMMIT")
""",
        """            result = fn(tx)
            try:
                self._raw.execute("COMMIT")
            except sqlite3.Error:
                self._raw.rollback()
""",
    ),
    _one(
        "adoption of an old incarnation",
        11,
        "twin/domain/desire.py",
        " and not instance.removing:",
        ":",
        "slow,quota",
    ),
    _one("certificate without settle time", 2, "twin/domain/planner.py", "not_before=settled,", "not_before=None,"),
    _one(
        "certificate without inventory",
        1,
        "twin/domain/planner.py",
        "    return removals + sweeps\n",
        "    return removals\n",
    ),
    _one(
        "nothing is unsettled after a death",
        10,
        "twin/domain/outcomes.py",
        "settled_at=until if acts else None",
        "settled_at=None",
        "crash,late",
    ),
    _one(
        "lease cleared on the wrong row",
        2,
        "twin/store/tasks.py",
        '_under_epoch = _this_row & (tasks.c.lease_epoch == bindparam("epoch"))',
        """_under_epoch = (
    (tasks.c.entity == bindparam("of_entity"))
    & ((tasks.c.key == bindparam("of_key")) | (tasks.c.kind == bindparam("of_kind")))
    & (tasks.c.lease_epoch == bindparam("epoch"))
)
_under_epoch = _under_epoch""",
    ),
    _one(
        "block not lifted for every twin",
        3,
        "twin/store/blocks.py",
        '(tasks.c.key == bindparam("of_key")) & tasks.c.due_at.is_(None))',
        '(tasks.c.key == bindparam("of_key")) & tasks.c.due_at.is_(None) & tasks.c.entity.op("GLOB")("*[0-9A-M]"))',
    ),
    _one(
        "removal before its user left",
        1,
        "twin/domain/planner.py",
        "for user in _users(env, gone.key):",
        "for user in ():",
    ),
    _one(
        "retry_after ignored",
        1,
        "twin/domain/outcomes.py",
        "timedelta(seconds=retry_after) if retry_after is not None else backoff",
        "backoff",
    ),
    _one(
        "operation ended twice",
        1,
        "twin/domain/goals.py",
        "            yield ended\n",
        '            yield ended\n            if ended.outcome == "superseded":\n                yield ended\n',
    ),
    Bug(
        "stale failure suppresses a new digest",
        2,
        (
            Edit(
                "twin/domain/forgetting.py",
                "    if not (env.failures or env.attempts or env.deaths):\n",
                "    if env.failures or not (env.attempts or env.deaths):\n",
            ),
            Edit(
                "twin/domain/timers.py",
                "        failure = env.failures.get(key)\n",
                "        of = {text.split(':')[0]: failure for text, failure in env.failures.items()}\n"
                "        failure = of.get(key.split(':')[0])\n",
            ),
        ),
    ),
    Bug(
        "secrets minted for the call, kept after it",
        1,
        (
            Edit(
                "twin/engine/secrets.py",
                "            self._mint(tx, env, key.instance, version, name)\n",
                "            assert self._vault.mint()\n",
            ),
            Edit(
                "twin/engine/secrets.py",
                _NEWEST_OWN,
                _NEWEST_OWN + "        if key.verb in ('apply', 'issue') and wanted is not None:\n"
                "            minted = self._types[wanted.type].minted\n"
                "            own = {**{name: self._vault.mint() for name in minted}, **own}\n"
                "            credentials = {max(credentials): own} if credentials else {}\n",
            ),
        ),
    ),
    _one(
        "idempotency ignored",
        1,
        "twin/service/accepting.py",
        "    known = tx.idempotent(request.by.name, request.idempotency_key)\n",
        "    known: IdempotentReply | None = None\n",
    ),
    _one(
        "late result accepted after destroy",
        8,
        "twin/domain/outcomes.py",
        _REFUSED,
        """    if running is None or running.epoch != given.epoch:
        if env.certificate is not None and isinstance(given.result, Succeeded):
            at, where = context.now, given.result.placement
            yield happened.StepSucceeded(key=given.key, epoch=given.epoch, attempt=1, at=at, placement=where)
            return
        yield from _refuse(env, given, context)
""",
    ),
    _one(
        "a start whose answer was lost gives its lease back",
        1,
        "twin/engine/execute.py",
        "        if mine is None or (mine.worker, mine.epoch) != (self._worker, task.epoch):\n",
        "        if mine is None or mine is not None:\n",
    ),
    _one(
        "rows of tasks that nobody wants stay",
        1,
        "twin/store/tasks.py",
        "for kind, key in sorted(rows.keys() - wanted.keys()):",
        "for kind, key in [place for place in rows.keys() - wanted.keys() if place[0] == 'step']:",
    ),
    _one(
        "an epoch is given again",
        3,
        "twin/store/tasks.py",
        "        epoch = max(epoch, gone.scalar() or 0)\n",
        "        epoch = min(epoch, gone.scalar() or 0)\n",
    ),
    _one(
        "an effect that was not seen is forgotten",
        26,
        "twin/domain/planner.py",
        'return "an attempt that was not seen to succeed may have changed it" if instance.unsure else ""',
        'return ""',
    ),
    _one(
        "lock order: a task's row before its twin's",
        2,
        "twin/store/tx.py",
        """        self._lock(task.entity_kind, task.entity)
        return tasks.release(""",
        "        return tasks.release(",
    ),
    _one("resume forgets to start", 1, "twin/domain/planner.py", "    if instance.suspended:\n", "    if False:\n"),
    _one(
        "a credential ends while consumers hold it",
        1,
        "twin/domain/planner.py",
        "    holders = rotation.holders(env, instance)\n",
        "    holders: list[str] = []\n",
    ),
    _one(
        "a third credential is issued beside two",
        6,
        "twin/domain/planner.py",
        "    if len(issued) > 1:\n",
        "    if len(issued) > 1 and issued[-1].version >= wanted.credential_version:\n",
    ),
    _one(
        "a credential ends before its grace",
        1,
        "twin/domain/planner.py",
        "for time in (until, settled) if",
        "for time in (settled,) if",
    ),
    _one(
        "a source is removed while it is copied",
        5,
        "twin/domain/planner.py",
        """            why=why(gone),
            waits_for=told(holding(env, gone.key)),
""",
        "            why=why(gone),\n",
    ),
    _one(
        "a hold outlives a clone that goes",
        12,
        "twin/domain/seeding.py",
        """    if env.departing or env.certificate is not None:
        return "the clone goes"
""",
        "",
    ),
    _one(
        "a clone is used before it is copied",
        2,
        "twin/domain/planner.py",
        "needed = [str(seeds[name].key)] if name in seeds else []",
        "needed: list[str] = []",
    ),
    _one(
        "a hold is ended by the first component that is copied",
        2,
        "twin/domain/seeding.py",
        "    if not (left := to_copy(env)):\n",
        "    left = to_copy(env)\n    if len(left) < len(env.desired.components) and env.instances:\n",
    ),
    _one(
        "a hold ends in the wrong order of locks",
        2,
        "twin/engine/execute.py",
        "for entity in sorted((clone, source))}",
        "for entity in (clone, source)}",
    ),
    _one(
        "a membership has no end",
        8,
        "twin/domain/timers.py",
        "if (end := next_end(desired.members)) is not None:",
        "if (end := next_end({})) is not None:",
    ),
    _one(
        "a lost grant is forgotten",
        23,
        "twin/domain/evolve.py",
        'key.verb == "grant" and instance.access != key.digest:',
        'key.verb == "grant" and instance is None:',
        "lost_reply,crash,late,freeze,transient",
    ),
)


def _search(bug: Bug) -> str:
    best = found(bug, range(1, BOUND + 1))
    return f"{bug.name}: " + (f"seed {best.seed}: {best.rule}" if best else "NOT FOUND")


if __name__ == "__main__":
    wanted = [bug for bug in BUGS if not sys.argv[1:] or any(word in bug.name for word in sys.argv[1:])]
    with ThreadPoolExecutor(2) as pool:
        for line in pool.map(_search, wanted):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
