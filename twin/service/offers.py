"""What is on offer to a transaction: component types, targets and blueprints, as `decide` may look them up."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import msgspec

from twin.domain.blueprint import Blueprint
from twin.domain.blueprint_document import parse
from twin.domain.component_type import ComponentType
from twin.domain.environment import BlueprintRef
from twin.domain.library import Library
from twin.ports.store import Tx


def library(tx: Tx, types: Mapping[str, ComponentType]) -> Library:
    """The library as this transaction sees it."""

    def find(name: str, version: str | None) -> tuple[Blueprint, BlueprintRef] | None:
        stored = tx.blueprint(name, version)
        if stored is None:
            return None
        return _parsed(stored.document), BlueprintRef(stored.name, stored.version, stored.bundle)

    return Library(types=types, targets=tx.targets(), blueprints=find)


@lru_cache(maxsize=256)
def _parsed(document: bytes) -> Blueprint:
    """A published version never changes, so its bytes are its key."""
    return parse(msgspec.json.decode(document))
