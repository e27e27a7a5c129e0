"""What was published and configured: blueprints, their bundles, targets."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, delete, select

from twin.domain.errors import Conflict
from twin.domain.identity import Actor
from twin.domain.targets import Target
from twin.ports.store import StoredBlueprint
from twin.store.moments import from_micros, to_micros
from twin.store.prepared import Prepared
from twin.store.tables import blueprints, bundles, targets
from twin.store.upsert import upsert

_publish = Prepared(
    upsert(blueprints).on_conflict_do_nothing(index_elements=["name", "version"]).returning(blueprints.c.id)
)
_keep_bundle = Prepared(upsert(bundles).on_conflict_do_nothing())
_all = select(blueprints).order_by(blueprints.c.id.desc())
_newest_first = Prepared(_all)
_named = _all.where(blueprints.c.name == bindparam("name"))
_of_name = Prepared(_named)
_of_version = Prepared(_named.where(blueprints.c.version == bindparam("version")))
_last = Prepared(_named.limit(1))
_bundle = Prepared(select(bundles.c.content).where(bundles.c.digest == bindparam("digest")))
_targets = Prepared(select(targets.c.document).order_by(targets.c.name))
_one_target = Prepared(select(targets.c.document).where(targets.c.name == bindparam("name")))
_row = upsert(targets)
_put_target = Prepared(_row.on_conflict_do_update(index_elements=["name"], set_={"document": _row.excluded.document}))
_drop_target = Prepared(delete(targets).where(targets.c.name == bindparam("of_name")))

_encode = msgspec.json.Encoder().encode
_target = msgspec.json.Decoder(Target)


def publish(connection: Connection, blueprint: StoredBlueprint, content: bytes) -> bool:
    """What `Tx.put_blueprint` promises."""
    row = {
        "name": blueprint.name,
        "version": blueprint.version,
        "document": blueprint.document,
        "bundle": blueprint.bundle,
        "published_at": to_micros(blueprint.published_at),
        "publisher_kind": blueprint.published_by.kind,
        "publisher_name": blueprint.published_by.name,
    }
    if _publish.run(connection, row).one_or_none() is not None:
        _keep_bundle.run(connection, {"digest": blueprint.bundle, "content": content})
        return True
    there = stored(connection, blueprint.name, blueprint.version)
    if there is None or there.bundle != blueprint.bundle:
        raise Conflict(
            f"Blueprint {blueprint.name} {blueprint.version} is published with other content.",
            field="metadata.version",
            mend="A published version never changes: publish under a new one.",
        )
    return False


def stored(connection: Connection, name: str, version: str | None) -> StoredBlueprint | None:
    """One version, or the one published last."""
    if version is None:
        row = _last.run(connection, {"name": name}).one_or_none()
    else:
        row = _of_version.run(connection, {"name": name, "version": version}).one_or_none()
    return None if row is None else _blueprint(row)


def published(connection: Connection, name: str | None) -> tuple[StoredBlueprint, ...]:
    """All versions, the newest first."""
    rows = _newest_first.run(connection) if name is None else _of_name.run(connection, {"name": name})
    return tuple(_blueprint(row) for row in rows)


def _blueprint(row: Any) -> StoredBlueprint:
    return StoredBlueprint(
        name=row.name,
        version=row.version,
        document=bytes(row.document),
        bundle=row.bundle,
        published_at=from_micros(row.published_at),
        published_by=Actor(row.publisher_kind, row.publisher_name),
    )


def bundle(connection: Connection, digest: str) -> bytes | None:
    """A bundle's bytes."""
    content = _bundle.run(connection, {"digest": digest}).scalar()
    return None if content is None else bytes(content)


def all_targets(connection: Connection) -> tuple[Target, ...]:
    """All targets, by name."""
    return tuple(_target.decode(row.document) for row in _targets.run(connection))


def one_target(connection: Connection, name: str) -> Target | None:
    """The target of that name."""
    document = _one_target.run(connection, {"name": name}).scalar()
    return None if document is None else _target.decode(document)


def put_target(connection: Connection, target: Target) -> None:
    """Add or replace a target."""
    _put_target.run(connection, {"name": target.name, "document": _encode(target)})


def drop_target(connection: Connection, name: str) -> bool:
    """Remove a target; False if there is none."""
    return _drop_target.run(connection, {"of_name": name}).rowcount > 0
