"""One attempt as the engine holds it: what was committed with the intent, and the inputs with references resolved."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from twin.domain.environment import Environment, Instance
from twin.domain.errors import Terminal, Unreadable
from twin.domain.identity import ComponentRef, Placement
from twin.domain.references import Reference, references, resolve
from twin.domain.steps import Running, StepKey, instance_key
from twin.ports.store import Claimed, Tx
from twin.ports.vault import Vault

Values = dict[str, str]


class Attempt(Struct, frozen=True, kw_only=True):
    """An attempt whose intent is committed. `unknown`: the attempt before it died, so what it did is not known.

    `secrets` are the component's own; `granted` those of the instances that its inputs refer to. `unreadable`: they do
    not open, and both are empty.
    """

    task: Claimed
    key: StepKey
    running: Running
    env: Environment
    unknown: bool
    placement: Placement | None
    configured: Placement
    secrets: Values
    granted: Mapping[str, Values]
    bundle: str | None
    unreadable: Unreadable | None = None

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
    def deadline(self) -> datetime:
        """When the attempt is ended."""
        return self.running.deadline

    def known_secrets(self) -> tuple[str, ...]:
        """Every secret that a message of this attempt could leak."""
        values = {*self.secrets.values(), *(value for granted in self.granted.values() for value in granted.values())}
        return tuple(sorted((value for value in values if len(value) >= 6), key=len, reverse=True))

    def inputs(self) -> dict[str, Any]:
        """The inputs that the verb works with, references resolved. Raises `Terminal` for one that has no value;
        a removal does without: what it referred to may be gone."""
        if self.key.verb == "apply":
            resolved: dict[str, Any] = resolve(self.running.inputs, self._value)
        else:
            present = self.instance.inputs if self.instance is not None else {}
            resolved = resolve(present, self._value_or_reference)
        return resolved

    def _value(self, reference: Reference) -> Any:
        found = self._look(reference)
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
        return self.granted.get(instance.key, {}).get(reference.name)


def opened(
    tx: Tx, vault: Vault, env: Environment, instance: str, inputs: Mapping[str, Any]
) -> tuple[Values, dict[str, Values], Unreadable | None]:
    """An instance's own secrets and those granted to it, or why they do not open: that must stop no transaction, as
    other steps, and a removal of this very instance, can do without."""
    try:
        return open_secrets(tx, vault, env, instance), granted_secrets(tx, vault, env, inputs), None
    except Unreadable as problem:
        return {}, {}, problem


def open_secrets(tx: Tx, vault: Vault, env: Environment, instance: str) -> Values:
    """The newest secrets of an instance."""
    return {
        name: vault.unseal(env.id, instance, version, name, sealed)
        for name, (version, sealed) in tx.secrets(env.id, instance).items()
    }


def granted_secrets(tx: Tx, vault: Vault, env: Environment, inputs: Mapping[str, Any]) -> dict[str, Values]:
    """The secrets of the instances that the inputs refer to."""
    sources = {each.component for each in references(inputs) if each.kind == "secrets" and each.component}
    found: dict[str, Values] = {}
    for source in sources:
        if (wanted := env.desired.components.get(source)) is not None:
            key = instance_key(source, wanted.incarnation)
            found[key] = open_secrets(tx, vault, env, key)
    return found
