"""Bugs to plant: each is a small change of the sources, made in a copy of them, that the simulator must find.

`python -m tests.simulation.planted` looks for the seed that finds each one soonest, to be remembered here.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

from tests.simulation.planted_pulls import BUGS_OF_PULLS
from tests.simulation.planting import BOUND, Bug, Edit, found, one

_REFUSED = """    if running is None or running.epoch != given.epoch:
        yield from _refuse(env, given, context)
"""

_NEWEST_OWN = "        own = credentials[max(credentials)] if credentials else self._of(tx, env, key.instance, None)\n"

BUGS = (
    one(
        "epoch not compared",
        7,
        "twin/domain/outcomes.py",
        _REFUSED,
        _REFUSED.replace("running is None or running.epoch != given.epoch", "running is None"),
    ),
    one(
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
    one(
        "lost wake",
        1,
        "twin/store/tasks.py",
        """            if due is not None:
                tx.woken.add((entity, spec.kind, spec.key))
""",
        "",
    ),
    one(
        "attempts forgotten with the worker",
        7,
        "twin/domain/evolve.py",
        "        deaths=_with(env.deaths, text, env.deaths.get(text, 0) + 1),\n",
        "        deaths=_with(env.deaths, text, env.deaths.get(text, 0) + 1),\n"
        "        attempts=_without(env.attempts, text),\n",
    ),
    one(
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
    one(
        "adoption of an old incarnation",
        11,
        "twin/domain/desire.py",
        " and not instance.removing:",
        ":",
        "slow,quota",
    ),
    one("certificate without settle time", 2, "twin/domain/planner.py", "not_before=settled,", "not_before=None,"),
    one(
        "certificate without inventory",
        1,
        "twin/domain/planner.py",
        "    return removals + sweeps\n",
        "    return removals\n",
    ),
    one(
        "nothing is unsettled after a death",
        10,
        "twin/domain/outcomes.py",
        "settled_at=until if acts else None",
        "settled_at=None",
        "crash,late",
    ),
    one(
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
    one(
        "block not lifted for every twin",
        3,
        "twin/store/blocks.py",
        '(tasks.c.key == bindparam("of_key")) & tasks.c.due_at.is_(None))',
        '(tasks.c.key == bindparam("of_key")) & tasks.c.due_at.is_(None) & tasks.c.entity.op("GLOB")("*[0-9A-M]"))',
    ),
    one(
        "removal before its user left",
        1,
        "twin/domain/planner.py",
        "for user in _users(env, gone.key):",
        "for user in ():",
    ),
    one(
        "retry_after ignored",
        1,
        "twin/domain/outcomes.py",
        "timedelta(seconds=retry_after) if retry_after is not None else backoff",
        "backoff",
    ),
    one(
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
    one(
        "idempotency ignored",
        1,
        "twin/service/accepting.py",
        "    known = tx.idempotent(request.by.name, request.idempotency_key)\n",
        "    known: IdempotentReply | None = None\n",
    ),
    one(
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
    one(
        "a start whose answer was lost gives its lease back",
        1,
        "twin/engine/execute.py",
        "        if mine is None or (mine.worker, mine.epoch) != (self._worker, task.epoch):\n",
        "        if mine is None or mine is not None:\n",
    ),
    one(
        "rows of tasks that nobody wants stay",
        1,
        "twin/store/tasks.py",
        "for kind, key in sorted(rows.keys() - wanted.keys()):",
        "for kind, key in [place for place in rows.keys() - wanted.keys() if place[0] == 'step']:",
    ),
    one(
        "an epoch is given again",
        3,
        "twin/store/tasks.py",
        "        epoch = max(epoch, gone.scalar() or 0)\n",
        "        epoch = min(epoch, gone.scalar() or 0)\n",
    ),
    one(
        "an effect that was not seen is forgotten",
        26,
        "twin/domain/planner.py",
        'return "an attempt that was not seen to succeed may have changed it" if instance.unsure else ""',
        'return ""',
    ),
    one(
        "lock order: a task's row before its twin's",
        2,
        "twin/store/tx.py",
        """        self._lock(task.entity_kind, task.entity)
        return tasks.release(""",
        "        return tasks.release(",
    ),
    one("resume forgets to start", 1, "twin/domain/planner.py", "    if instance.suspended:\n", "    if False:\n"),
    one(
        "a credential ends while consumers hold it",
        1,
        "twin/domain/planner.py",
        "    holders = rotation.holders(env, instance)\n",
        "    holders: list[str] = []\n",
    ),
    one(
        "a third credential is issued beside two",
        6,
        "twin/domain/planner.py",
        "    if len(issued) > 1:\n",
        "    if len(issued) > 1 and issued[-1].version >= wanted.credential_version:\n",
    ),
    one(
        "a credential ends before its grace",
        1,
        "twin/domain/planner.py",
        "for time in (until, settled) if",
        "for time in (settled,) if",
    ),
    one(
        "a source is removed while it is copied",
        5,
        "twin/domain/planner.py",
        """            why=why(gone),
            waits_for=told(holding(env, gone.key)),
""",
        "            why=why(gone),\n",
    ),
    one(
        "a hold outlives a clone that goes",
        12,
        "twin/domain/seeding.py",
        """    if env.departing or env.certificate is not None:
        return "the clone goes"
""",
        "",
    ),
    one(
        "a clone is used before it is copied",
        2,
        "twin/domain/planner.py",
        "needed = [str(seeds[name].key)] if name in seeds else []",
        "needed: list[str] = []",
    ),
    one(
        "a hold is ended by the first component that is copied",
        2,
        "twin/domain/seeding.py",
        "    if not (left := to_copy(env)):\n",
        "    left = to_copy(env)\n    if len(left) < len(env.desired.components) and env.instances:\n",
    ),
    one(
        "a hold ends in the wrong order of locks",
        2,
        "twin/engine/execute.py",
        "for entity in sorted((clone, source))}",
        "for entity in (clone, source)}",
    ),
    one(
        "a membership has no end",
        8,
        "twin/domain/timers.py",
        "if (end := next_end(desired.members)) is not None:",
        "if (end := next_end({})) is not None:",
    ),
    one(
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
    words = sys.argv[1:]
    wanted = [bug for bug in (*BUGS, *BUGS_OF_PULLS) if not words or any(word in bug.name for word in words)]
    with ThreadPoolExecutor(2) as pool:
        for line in pool.map(_search, wanted):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
