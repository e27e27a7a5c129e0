"""Publishing blueprints: a folder becomes an immutable version."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from twin.domain.blueprint import ComponentSpec
from twin.domain.blueprint_document import document, parse
from twin.domain.component_inputs import validate_inputs
from twin.domain.component_type import ComponentType
from twin.domain.errors import NotFound
from twin.domain.near import near_misses
from twin.domain.platform import PLATFORM, PLATFORM_ID, Fact
from twin.domain.references import references
from twin.ports.clock import Clock
from twin.ports.store import Store, StoredBlueprint, Tx
from twin.service.principals import Principal, Request
from twin.service.views import BlueprintView


class Published(Struct, frozen=True, kw_only=True):
    """What a publication came to. `fresh` False: this very version was there already."""

    blueprint: BlueprintView
    fresh: bool


class Blueprints:
    """The use cases of blueprints."""

    def __init__(self, store: Store, types: Mapping[str, ComponentType], clock: Clock, *, max_bytes: int) -> None:
        self._store = store
        self._types = types
        self._clock = clock
        self._max_bytes = max_bytes

    async def publish(self, bundle: bytes, request: Request) -> Published:
        """Publish a packed folder. Needs operator. Raises `Invalid` for what is wrong in it, with file and line."""
        request.by.require("operator", "*")
        from twin.service.bundles import open_bundle  # reads YAML and archives, which no start needs

        # Unpacking, hashing and parsing cost CPU: not on the event loop.
        opened = await asyncio.to_thread(open_bundle, bundle, most=self._max_bytes)
        blueprint = opened.blueprint
        for name, spec in blueprint.components.items():
            _check_masking(name, spec, frozenset(each.path for each in opened.files))
            if spec.type not in self._types:
                field = f"components.{name}.type"
                near = near_misses(spec.type, self._types)
                raise NotFound(f"{field}: no provider offers the type {spec.type!r}", field=field, near=near)
            if not any(each.kind == "inputs" for each in references(spec.inputs)):
                validate_inputs(name, self._types[spec.type], spec.inputs)
        stored = StoredBlueprint(
            name=blueprint.name,
            version=blueprint.version,
            document=msgspec.json.encode(document(blueprint)),
            bundle=opened.digest,
            published_at=self._clock.now(),
            published_by=request.by.actor,
        )
        fact = Fact(
            what="blueprint_published",
            details={"name": stored.name, "version": stored.version, "bundle": stored.bundle},
        )

        def keep(tx: Tx) -> bool:
            if fresh := tx.put_blueprint(stored, opened.content):
                tx.transition(PLATFORM.kind, PLATFORM_ID, fact, request.cause)
            return fresh

        return Published(fresh=await self._store.transact(keep), blueprint=_view(stored))

    async def all(self, by: Principal, name: str | None = None) -> tuple[BlueprintView, ...]:
        """All published versions, newest first. Needs viewer of some project."""
        by.require_some("viewer")
        return tuple(_view(each) for each in await self._store.blueprints(name))

    async def get(self, name: str, version: str | None, by: Principal) -> BlueprintView:
        """One version, or the newest; raises `NotFound`. Needs viewer of some project."""
        by.require_some("viewer")
        found = await self._store.transact(lambda tx: tx.blueprint(name, version))
        if found is None:
            known = {each.name for each in await self._store.blueprints()}
            wanted = name if version is None else f"{name}@{version}"
            raise NotFound(f"blueprint {wanted!r} is not published", field="name", near=near_misses(name, known))
        return _view(found)

    def types(self, by: Principal) -> tuple[ComponentType, ...]:
        """The component types that blueprints may use, by name. Needs viewer of some project."""
        by.require_some("viewer")
        return tuple(sorted(self._types.values(), key=lambda each: each.name))


def _check_masking(name: str, spec: ComponentSpec, files: frozenset[str]) -> None:
    for script in spec.masking:
        if script not in files:
            field = f"components.{name}.masking"
            raise NotFound(f"{field}: {script} is not in the folder", field=field, near=near_misses(script, files))


def _view(stored: StoredBlueprint) -> BlueprintView:
    plain = msgspec.json.decode(stored.document)
    blueprint = parse(plain)
    return BlueprintView(
        name=stored.name,
        version=stored.version,
        description=blueprint.description,
        bundle=stored.bundle,
        published_at=stored.published_at,
        published_by=stored.published_by,
        inputs=blueprint.inputs_schema,
        components={name: spec.type for name, spec in blueprint.components.items()},
        document=plain,
    )
