"""What carries an environment's mark or name, and how a person removes it: with psql, which asks for the password."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from msgspec import Struct

from providers.postgres.client import Session
from providers.postgres.spec import TargetConfig


class Found(Struct, frozen=True):
    """A database or role in the inventory. `remover`: the server's role by which it can be dropped."""

    kind: str
    name: str
    mark: str | None
    remover: str


async def owned(pg: Session, *, mark: str, prefixes: Sequence[str]) -> list[Found]:
    """Databases and roles with that mark, or, since a crash may come before the mark, with one of the prefixes.

    Who is no superuser may drop what it made, and not what somebody else did: for that there is the superuser that
    every server begins with.
    """
    rows = await pg.read(
        """
        WITH we AS (SELECT * FROM pg_catalog.pg_roles WHERE rolname = current_user),
        found (kind, name, comment, ours) AS (
            SELECT 'postgres.database', d.datname::text, shobj_description(d.oid, 'pg_database'),
                   pg_catalog.pg_has_role(d.datdba, 'MEMBER')
            FROM pg_catalog.pg_database AS d
            UNION ALL
            SELECT 'postgres.role', r.rolname::text, shobj_description(r.oid, 'pg_authid'),
                   pg_catalog.pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION')
                   OR (NOT r.rolsuper AND we.rolcreaterole AND %(version)s < 160000)
            FROM pg_catalog.pg_roles AS r, we
        )
        SELECT kind, name, comment, CASE
            WHEN ours OR (SELECT rolsuper FROM we) THEN current_user::text
            ELSE (SELECT rolname::text FROM pg_catalog.pg_roles WHERE oid = 10)
        END
        FROM found
        WHERE comment = %(mark)s OR starts_with(comment, %(mark)s || ' ')
           OR EXISTS (SELECT FROM unnest(%(prefixes)s::text[]) AS prefix WHERE starts_with(name, prefix))
        ORDER BY 1, 2
        """,
        mark=mark,
        prefixes=list(prefixes),
        version=pg.version,
    )
    return [Found(*row) for row in rows]


def by_hand(config: TargetConfig, found: Found) -> str:
    """The command. A role that owns something in a database of somebody else's stays, and DROP ROLE names that."""
    name = _identifier(found.name)
    if found.kind == "postgres.database":
        statements = [f"DROP DATABASE {name} WITH (FORCE)"]
    else:
        statements = [f"DROP OWNED BY {name}", f"DROP ROLE {name}"]
        if found.remover == config.user:  # who may be no superuser: DROP OWNED takes a member
            statements.insert(0, f"GRANT {name} TO CURRENT_USER")
    place = ["-h", config.host, "-p", str(config.port), "-U", found.remover, "-d", config.database]
    words = [word for each in statements for word in ("-c", each)]
    return shlex.join(["psql", *place, "-v", "ON_ERROR_STOP=1", *words])


def _identifier(name: str) -> str:
    """As SQL quotes it: whoever made the thing may have called it anything."""
    return '"' + name.replace('"', '""') + '"'
