"""A small guestbook to test with: its component types, targets and published versions, all without a provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct, field

from twin.domain.blueprint import Blueprint
from twin.domain.blueprint_document import parse
from twin.domain.component_type import IMMUTABLE, SCALABLE, ComponentType, inputs_schema
from twin.domain.digest import digest
from twin.domain.environment import BlueprintRef
from twin.domain.library import Library
from twin.domain.targets import Target


class DatabaseInputs(Struct, frozen=True, forbid_unknown_fields=True):
    """Inputs of `test.database`; another engine is another database."""

    engine: Annotated[str, Meta(extra_json_schema=IMMUTABLE)] = "16"
    connections: Annotated[int, Meta(ge=1, le=100, extra_json_schema=SCALABLE)] = 10


class CacheInputs(Struct, frozen=True, forbid_unknown_fields=True):
    """Inputs of `test.cache`; another zone is another cache."""

    megabytes: Annotated[int, Meta(ge=1, le=1024, extra_json_schema=SCALABLE)] = 16
    zone: Annotated[str, Meta(extra_json_schema=IMMUTABLE)] = "a"


class QueueInputs(Struct, frozen=True, forbid_unknown_fields=True):
    """Inputs of `test.queue`."""

    subjects: list[str] = field(default_factory=lambda: ["jobs.>"])


class ServiceInputs(Struct, frozen=True, forbid_unknown_fields=True):
    """Inputs of `test.service`; in another region it is another service."""

    replicas: Annotated[int, Meta(ge=0, le=50, extra_json_schema=SCALABLE)] = 1
    env: dict[str, str | int] = field(default_factory=dict)
    region: Annotated[str, Meta(extra_json_schema=IMMUTABLE)] = "north"
    source: dict[str, str] = field(default_factory=dict)


TYPES: Mapping[str, ComponentType] = {
    each.name: each
    for each in (
        ComponentType(
            name="test.database",
            provider="data",
            schema=inputs_schema(DatabaseInputs),
            secrets=("url",),
            outputs=("host",),
            minted=("password",),
            stateful=True,
            rotates=True,
            copies=frozenset({"schema", "full", "masked"}),
            grants=True,
            previews=True,
        ),
        ComponentType(
            name="test.cache", provider="data", schema=inputs_schema(CacheInputs), secrets=("url",), outputs=("host",)
        ),
        ComponentType(name="test.queue", provider="data", schema=inputs_schema(QueueInputs), secrets=("url",)),
        ComponentType(
            name="test.service",
            provider="run",
            schema=inputs_schema(ServiceInputs),
            outputs=("url",),
            suspends=True,
            bundled=True,
            previews=True,
            deadline=300.0,
            settle=10.0,
        ),
    )
}

TARGETS = (Target(name="data-1", provider="data"), Target(name="run-1", provider="run"))


def guestbook(version: str = "1.0.0", **changes: Any) -> Blueprint:
    """db, cache and jobs, and app, which uses all three. `changes` replace top-level parts of the document."""
    return parse({**_document(version), **changes})


def _document(version: str) -> dict[str, Any]:
    return {
        "apiVersion": "twin/v1",
        "kind": "Blueprint",
        "metadata": {"name": "guestbook", "version": version},
        "inputs": {
            "properties": {
                "replicas": {"type": "integer", "minimum": 1, "maximum": 5, "default": 1},
                "greeting": {"type": "string", "default": "hello"},
                "engine": {"type": "string", "default": "16"},
                "zone": {"type": "string", "default": "a"},
                "region": {"type": "string", "default": "north"},
            }
        },
        "components": guestbook_components(),
        "tiers": {
            "preview": {"ttl": "24h"},
            "prod": {"protected": True, "destroy_delay": "10m"},
            "staging": {"destroy_delay": "10m"},
        },
    }


def guestbook_components() -> dict[str, Any]:
    """The components of the guestbook as a document has them, to be changed at will."""
    return {
        "db": {"type": "test.database", "inputs": {"engine": "${inputs.engine}"}},
        "cache": {"type": "test.cache", "inputs": {"zone": "${inputs.zone}"}},
        "jobs": {"type": "test.queue"},
        "app": {
            "type": "test.service",
            "needs": ["jobs"],
            "inputs": {
                "replicas": "${inputs.replicas}",
                "region": "${inputs.region}",
                "env": {
                    "DATABASE_URL": "${db.secrets.url}",
                    "CACHE_HOST": "${cache.outputs.host}",
                    "GREETING": "${inputs.greeting}",
                },
            },
        },
    }


def make_library(*published: Blueprint, types: Mapping[str, ComponentType] = TYPES) -> Library:
    """What is on offer: these versions, the last being the latest, or else the guestbook alone."""
    versions = {(each.name, each.version): each for each in published or (guestbook(),)}
    latest = {each.name: each.version for each in versions.values()}

    def find(name: str, version: str | None) -> tuple[Blueprint, BlueprintRef] | None:
        blueprint = versions.get((name, version or latest.get(name, "")))
        if blueprint is None:
            return None
        return blueprint, BlueprintRef(name, blueprint.version, bundle=digest([name, blueprint.version]))

    return Library(types=types, targets=TARGETS, blueprints=find)
