"""What the twin promises of credentials and copies, judged by what happens and not by what its planner says.

A credential ends no earlier than those outside were told; credentials are issued one after the other. A clone is held
for from its beginning, until it copies no more; nobody uses it before it is copied.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from twin.domain.environment import Environment, Seed
from twin.domain.events import Created, HoldEnded, StepStarted
from twin.domain.operations import OperationAccepted
from twin.domain.steps import StepKey
from twin.testing.simulator.journal import Journal

State = Callable[[str], Environment | None]


class Promises:
    """Judges events before they change a state. `state`: a twin's as it is known now; `slack`: seconds by which waits
    may be shorter, for clocks are set back."""

    def __init__(self, state: State, journal: Journal) -> None:
        self.slack = 0.0
        self._state = state
        self._must = journal.must
        self._forced: set[str] = set()
        self._begun: dict[str, Seed] = {}

    def judge(self, entity: str, event: Any, at: datetime) -> None:
        """One event of a twin, at the time of its commit."""
        match event:
            case Created(desired=desired) if desired.seed is not None and desired.seed.components:
                self._begun[entity] = desired.seed
            case OperationAccepted(operation=operation):
                if operation.signal == "destroy" and operation.arguments.get("force"):
                    self._forced.add(entity)
            case HoldEnded(clone=clone):
                self._released(entity, clone, at)
            case StepStarted(key=key) if key.verb in ("apply", "issue", "retire"):
                env = self._state(entity)
                assert env is not None
                self._credential(env, key, event.at) if key.verb != "apply" else self._used(env, key)

    def committed(self) -> None:
        """A clone begins with the hold on its source, in one commit."""
        for clone, seed in self._begun.items():
            source = self._state(seed.source)
            hold = source.holds.get(clone) if source is not None else None
            kept = set(hold.instances) if hold is not None else set()
            self._must(kept == set(seed.components.values()), "nothing is held for a clone", str(kept), clone)
        self._begun.clear()

    def _used(self, env: Environment, key: StepKey) -> None:
        seed = env.desired.seed
        copied = seed is None or key.component not in seed.components or key.component in env.seeded
        self._must(copied, "a clone is used before it is copied", str(key), env.id)

    def _credential(self, env: Environment, key: StepKey, at: datetime) -> None:
        instance, wanted = env.instances[key.instance], env.desired.components[key.component]
        issued = [each.version for each in instance.credentials]
        if key.verb == "issue":
            self._must([int(key.digest) - 1] == issued, "a credential is issued out of turn", str(key), env.id)
            return
        self._must(issued[:-1] == [int(key.digest)], "another than the old credential ends", str(key), env.id)
        old, new = instance.credentials
        if new.acknowledged_by is None:
            asked = wanted.hurry if wanted.hurry is not None and new.version <= wanted.hurry.version else None
            waits = (wanted.rotation.acknowledge and asked is None) or old.superseded_at is None
            self._must(not waits, "a credential ends unacknowledged", str(key), env.id)
            assert old.superseded_at is not None
            over = old.superseded_at + timedelta(seconds=asked.grace if asked is not None else wanted.rotation.grace)
            early = at + timedelta(seconds=self.slack) < over
            self._must(not early, "a credential ends before its grace", f"{key}: {over}", env.id)

    def _released(self, source: str, clone: str, at: datetime) -> None:
        env, held = self._state(clone), self._state(source)
        assert env is not None
        assert held is not None
        assert env.desired.seed is not None
        left = [name for name in env.desired.seed.components if name in env.desired.components.keys() - env.seeded]
        hopeless = [
            text
            for text, failure in env.failures.items()
            if StepKey.parse(text).verb == "seed" and failure.kind == "terminal"
        ]
        over = env.departing or env.certificate is not None or not left or bool(hopeless)
        over = over or source in self._forced or held.holds[clone].until <= at + timedelta(seconds=self.slack)
        self._must(over, "a source is let go while it is copied", f"{left} of {clone}", source)
