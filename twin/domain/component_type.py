"""Component types: what a provider can provision, as data.

A type is described by a msgspec struct in the provider's `spec.py`; here it is its JSON Schema, so that the domain can
validate, materialise defaults and tell immutable from scalable inputs without knowing any provider.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

IMMUTABLE = {"x-immutable": True}
"""`Meta(extra_json_schema=IMMUTABLE)`: a change of this input replaces the component by a new incarnation."""

SCALABLE = {"x-scalable": True}
"""`Meta(extra_json_schema=SCALABLE)`: the `scale` signal may set this input."""

SHOWN = {"x-shown": True}
"""`Meta(extra_json_schema=SHOWN)`: everybody on the machine can see this input, so it may refer to no secret."""

HOST = {"x-host": True}
"""`Meta(extra_json_schema=HOST)`: this input is the name by which people reach the component; where none is given it
follows from the environment's (`twin.domain.hosts`)."""


class ComponentType(Struct, frozen=True, kw_only=True):
    """What one kind of component takes and gives.

    `secrets` and `outputs` are the names that references may use (`${db.secrets.url}`); `minted` the secrets that the
    twin makes itself and passes in before the call. `stateful`: removal loses data. `suspends`: the provider can
    suspend it. `bundled`: its inputs refer to files of the blueprint's bundle. `rotates`: it can have two credentials
    side by side (`rotates_if`: only if that input has that value). `copies`: the modes in which a clone can
    take over its data; in another it begins empty. `declares`: its inputs `outputs` and `secrets` name more of either,
    for what depends on a program that the twin does not know. `grants`: people can have access of their own to it.
    `previews`: the provider can tell what an apply would change, resource by resource. `asks_if`: if that input has
    that value, what stands before it asks the twin who may enter, and its output `url` is where. `sandbox`: what it
    runs is kept from all else, so that it may be a stranger's code. `deadline` bounds one attempt (`deadline_input`:
    the input of that name does, if it is given) and `settle` is how long an effect may still appear after it, both in
    seconds.
    """

    name: str
    provider: str
    schema: dict[str, Any]
    secrets: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    minted: tuple[str, ...] = ()
    stateful: bool = False
    suspends: bool = False
    bundled: bool = False
    rotates: bool = False
    rotates_if: tuple[str, str | bool] | None = None
    copies: frozenset[str] = frozenset()
    declares: bool = False
    grants: bool = False
    previews: bool = False
    asks_if: tuple[str, str | bool] | None = None
    sandbox: bool = False
    deadline: float = 120.0
    deadline_input: str | None = None
    settle: float = 5.0

    def rotates_with(self, inputs: Mapping[str, Any]) -> bool:
        """Whether a component with these inputs can have two credentials side by side."""
        return self.rotates and (self.rotates_if is None or inputs.get(self.rotates_if[0]) == self.rotates_if[1])

    def asks_with(self, inputs: Mapping[str, Any]) -> bool:
        """Whether a component with these inputs asks the twin about everybody who wants in."""
        return self.asks_if is not None and inputs.get(self.asks_if[0]) == self.asks_if[1]

    @property
    def properties(self) -> dict[str, dict[str, Any]]:
        """The schema of each input."""
        properties: dict[str, dict[str, Any]] = self.schema.get("properties", {})
        return properties

    def offered(self, kind: str, inputs: Mapping[str, Any]) -> tuple[str, ...]:
        """The names that references of this kind (`secrets` or `outputs`) to a component with these inputs may use."""
        names = self.secrets if kind == "secrets" else self.outputs
        declared = inputs.get(kind) if self.declares else None
        return (*names, *(str(each) for each in declared)) if isinstance(declared, list | tuple) else names

    @property
    def immutable(self) -> frozenset[str]:
        """Inputs whose change needs a new incarnation."""
        return frozenset(name for name, schema in self.properties.items() if schema.get("x-immutable"))

    @property
    def scalable(self) -> frozenset[str]:
        """Inputs that the `scale` signal may set."""
        return frozenset(name for name, schema in self.properties.items() if schema.get("x-scalable"))

    @property
    def shown(self) -> frozenset[str]:
        """Inputs that may refer to no secret."""
        return frozenset(name for name, schema in self.properties.items() if schema.get("x-shown"))

    @property
    def host(self) -> str | None:
        """The input that is the component's host."""
        return next((name for name, schema in self.properties.items() if schema.get("x-host")), None)


def inputs_schema(struct: type[Struct]) -> dict[str, Any]:
    """The self-contained JSON Schema of a provider's inputs struct (declare it with `forbid_unknown_fields=True`)."""
    _, definitions = msgspec.json.schema_components([struct], ref_template="#/$defs/{name}")
    body = dict(definitions.pop(struct.__name__))
    if definitions:
        body["$defs"] = definitions
    return body
