"""Secrets at rest: ciphertext by entity, component, version and name. What it says, only the vault knows."""

from __future__ import annotations

from sqlalchemy import Connection, LargeBinary, bindparam, delete, func, select, tuple_, update

from twin.ports.store import StoredSecret
from twin.store.prepared import Prepared
from twin.store.tables import secrets
from twin.store.upsert import upsert

_row = upsert(secrets)
_put = Prepared(
    _row.on_conflict_do_update(
        index_elements=["entity", "component", "version", "name"], set_={"sealed": _row.excluded.sealed}
    )
)
# By version: the newest of each name comes last.
_newest_last = (
    select(secrets.c.name, secrets.c.version, secrets.c.sealed)
    .where((secrets.c.entity == bindparam("of_entity")) & (secrets.c.component == bindparam("of_component")))
    .order_by(secrets.c.version)
)
_of_component = Prepared(_newest_last)
_of_version = Prepared(_newest_last.where(secrets.c.version == bindparam("of_version")))
_place = tuple_(secrets.c.entity, secrets.c.component, secrets.c.version, secrets.c.name)
_strange = (
    select(secrets)
    .where(func.substr(secrets.c.sealed, 1, bindparam("length"), type_=LargeBinary()) != bindparam("prefix"))
    .order_by(*_place.clauses)
    .limit(bindparam("most"))
)
_otherwise = Prepared(_strange)
_otherwise_after = Prepared(
    _strange.where(
        _place > tuple_(*(bindparam(f"after_{column.name}", type_=column.type) for column in secrets.primary_key))
    )
)
# Only over what was read: a credential rotated, or dropped for good, meanwhile stays so.
_reseal = Prepared(
    update(secrets)
    .where(
        (secrets.c.entity == bindparam("of_entity"))
        & (secrets.c.component == bindparam("of_component"))
        & (secrets.c.version == bindparam("of_version"))
        & (secrets.c.name == bindparam("of_name"))
        & (secrets.c.sealed == bindparam("was"))
    )
    .values(sealed=bindparam("now_sealed"))
)
_of_entity = delete(secrets).where(secrets.c.entity == bindparam("of_entity"))
_drop_all = Prepared(_of_entity)
_of_one = _of_entity.where(secrets.c.component == bindparam("of_component"))
_drop = Prepared(_of_one)
_drop_version = Prepared(_of_one.where(secrets.c.version == bindparam("of_version")))


def put(connection: Connection, entity: str, component: str, version: int, name: str, sealed: bytes) -> None:
    """Keep or replace one."""
    row = {"entity": entity, "component": component, "version": version, "name": name, "sealed": sealed}
    _put.run(connection, row)


def of_component(
    connection: Connection, entity: str, component: str, version: int | None
) -> dict[str, tuple[int, bytes]]:
    """Those of one version, or the newest of each name."""
    place = {"of_entity": entity, "of_component": component}
    if version is None:
        rows = _of_component.run(connection, place)
    else:
        rows = _of_version.run(connection, {**place, "of_version": version})
    return {row.name: (row.version, bytes(row.sealed)) for row in rows}


def sealed_otherwise(
    connection: Connection, prefix: bytes, limit: int, after: StoredSecret | None
) -> tuple[StoredSecret, ...]:
    """Those that begin otherwise, in the order of their places."""
    wanted = {"prefix": prefix, "length": len(prefix), "most": limit}
    if after is None:
        rows = _otherwise.run(connection, wanted)
    else:
        place = {
            "after_entity": after.entity,
            "after_component": after.component,
            "after_version": after.version,
            "after_name": after.name,
        }
        rows = _otherwise_after.run(connection, wanted | place)
    return tuple(
        StoredSecret(
            entity=row.entity, component=row.component, version=row.version, name=row.name, sealed=bytes(row.sealed)
        )
        for row in rows
    )


def reseal(connection: Connection, was: StoredSecret, sealed: bytes) -> bool:
    """Replace one if it is still what it was."""
    row = {
        "of_entity": was.entity,
        "of_component": was.component,
        "of_version": was.version,
        "of_name": was.name,
        "was": was.sealed,
        "now_sealed": sealed,
    }
    return _reseal.run(connection, row).rowcount > 0


def drop(connection: Connection, entity: str, component: str | None, version: int | None) -> None:
    """Forget those of an entity, of one of its components, or of one version of these."""
    if component is None:
        _drop_all.run(connection, {"of_entity": entity})
    elif version is None:
        _drop.run(connection, {"of_entity": entity, "of_component": component})
    else:
        _drop_version.run(connection, {"of_entity": entity, "of_component": component, "of_version": version})
