"""Secrets at rest: ciphertext by entity, component, version and name. What it says, only the vault knows."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, select

from twin.store.tables import secrets
from twin.store.upsert import upsert

_put = upsert(secrets)
_put = _put.on_conflict_do_update(
    index_elements=["entity", "component", "version", "name"], set_={"sealed": _put.excluded.sealed}
)
# By version: the newest of each name comes last.
_of_component = (
    select(secrets.c.name, secrets.c.version, secrets.c.sealed)
    .where((secrets.c.entity == bindparam("of_entity")) & (secrets.c.component == bindparam("of_component")))
    .order_by(secrets.c.version)
)
_of_version = _of_component.where(secrets.c.version == bindparam("of_version"))
_drop_all = delete(secrets).where(secrets.c.entity == bindparam("of_entity"))
_drop = _drop_all.where(secrets.c.component == bindparam("of_component"))


def put(connection: Connection, entity: str, component: str, version: int, name: str, sealed: bytes) -> None:
    """Keep or replace one."""
    row = {"entity": entity, "component": component, "version": version, "name": name, "sealed": sealed}
    connection.execute(_put, row)


def of_component(
    connection: Connection, entity: str, component: str, version: int | None
) -> dict[str, tuple[int, bytes]]:
    """Those of one version, or the newest of each name."""
    place = {"of_entity": entity, "of_component": component}
    if version is None:
        rows = connection.execute(_of_component, place)
    else:
        rows = connection.execute(_of_version, {**place, "of_version": version})
    return {row.name: (row.version, bytes(row.sealed)) for row in rows}


def drop(connection: Connection, entity: str, component: str | None) -> None:
    """Forget those of an entity or of one of its components."""
    if component is None:
        connection.execute(_drop_all, {"of_entity": entity})
    else:
        connection.execute(_drop, {"of_entity": entity, "of_component": component})
