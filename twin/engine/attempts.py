"""One attempt as the engine holds it: what was committed with the intent, and the inputs with references resolved."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct

from twin.domain.environment import Environment, Instance
from twin.domain.errors import Terminal
from twin.domain.identity import ComponentRef, Placement
from twin.domain.references import Reference, resolve
from twin.domain.steps import Running, StepKey
from twin.engine.secrets import Opened
from twin.ports.provider import UNKNOWN
from twin.ports.store import Claimed


class Attempt(Struct, frozen=True, kw_only=True):
    """An attempt whose intent is committed. `unknown`: the attempt before it died, so what it did is not known.
    `unsettled`: of one that is only imagined, for a preview, the components whose values may not be there yet."""

    task: Claimed
    key: StepKey
    running: Running
    env: Environment
    unknown: bool
    placement: Placement | None
    configured: Placement
    secrets: Opened
    bundle: str | None
    unsettled: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        """Without secrets: this may end up in a traceback or log."""
        return f"Attempt({self.key}, epoch={self.running.epoch}, attempt={self.running.attempt})"

    @property
    def instance(self) -> Instance | None:
        """What it acts on."""
        return self.env.instances.get(self.key.instance)

    @property
    def ref(self) -> ComponentRef:
        """What the provider is told."""
        wanted = self.env.desired.components.get(self.key.component)
        type_ = self.instance.type if self.instance is not None else wanted.type if wanted is not None else ""
        return self.env.ref(self.key.component, self.key.incarnation, type_)

    @property
    def used(self) -> bool:
        """Whether others use it, by what is desired or by what was applied."""
        wanted = any(self.key.component in each.needs for each in self.env.desired.components.values())
        return wanted or any(self.key.instance in each.uses for each in self.env.instances.values())

    @property
    def deadline(self) -> datetime:
        """When the attempt is ended."""
        return self.running.deadline

    def known_secrets(self) -> tuple[str, ...]:
        """Every secret that a message of this attempt could leak."""
        known = {value for value in self.secrets.values() if len(value) >= 6 and value != UNKNOWN}
        return tuple(sorted(known, key=len, reverse=True))

    def inputs(self) -> dict[str, Any]:
        """The inputs that the verb works with, references resolved. Raises `Terminal` for one that has no value;
        a removal does without: what it referred to may be gone."""
        if self.key.verb in ("apply", "seed"):
            resolved: dict[str, Any] = resolve(self.running.inputs, self._value)
        else:
            present = self.instance.inputs if self.instance is not None else {}
            resolved = resolve(present, self._value_or_reference)
        return resolved

    def _value(self, reference: Reference) -> Any:
        found = self._look(reference)
        if found is None and reference.component in self.unsettled:
            return UNKNOWN
        if found is None:
            raise Terminal(
                f"{reference} has no value: {reference.component} gives no {reference.kind} of that name",
                field=f"components.{self.key.component}.inputs",
            )
        return found

    def _value_or_reference(self, reference: Reference) -> Any:
        found = self._look(reference)
        return str(reference) if found is None else found

    def _look(self, reference: Reference) -> Any:
        instance = self.env.current(reference.component or "")
        if instance is None:
            return None
        if reference.kind == "outputs":
            return instance.outputs.get(reference.name)
        return self.secrets.granted.get(instance.key, {}).get(reference.name)
