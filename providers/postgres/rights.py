"""What people may do inside a component's database: the rights of its readers and writers.

They hold for what stands there and, by default privileges, for what the owner makes later. A right is given only where
it lacks, as each GRANT writes to the catalogues that the application's own statements lock.
"""

from __future__ import annotations

from typing import LiteralString

from msgspec import Struct
from psycopg import sql
from psycopg.errors import InvalidSchemaName, UndefinedTable

from providers.postgres import names
from providers.postgres.client import Session
from providers.postgres.errors import working_on
from twin.domain.errors import Transient
from twin.domain.identity import ComponentRef

READING = {"DATABASE": ("CONNECT",), "SCHEMA": ("USAGE",), "TABLE": ("SELECT",), "SEQUENCE": ("SELECT",)}

WRITING = {
    "DATABASE": ("CONNECT", "TEMPORARY"),
    "SCHEMA": ("USAGE",),
    "TABLE": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "SEQUENCE": ("SELECT", "UPDATE", "USAGE"),
}
"""Not TRUNCATE, which passes row security and triggers by, and nothing that makes or alters a table."""

GONE = (UndefinedTable, InvalidSchemaName)

ROUNDS = 5
"""How often it is looked anew, as an application may drop a table in the moment in which a right on it is given."""


class Missing(Struct, frozen=True, kw_only=True):
    """Rights that lack. `path` names the object; with none, it is about those that the owner will make."""

    kind: str
    path: tuple[str, ...]
    grantee: str
    privileges: tuple[str, ...]

    @property
    def told(self) -> str:
        """For a person."""
        place = f'{self.kind.lower()} "{".".join(self.path)}"' if self.path else f"future {self.kind.lower()}s"
        return f"{', '.join(self.privileges)} on {place}"


_MISSING: LiteralString = """
    WITH wanted AS (
        SELECT * FROM unnest(%(grantees)s::text[], %(kinds)s::text[], %(privileges)s::text[])
        AS w (grantee, kind, privilege)
    ), lacking (place, kind, path, grantee, privilege) AS (
        SELECT 1, kind, ARRAY[current_database()::text], grantee, privilege FROM wanted
        WHERE kind = 'DATABASE' AND NOT has_database_privilege(grantee, current_database(), privilege)
        UNION ALL
        SELECT 2, kind, '{}', grantee, privilege FROM wanted
        WHERE kind <> 'DATABASE' AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_default_acl AS d, aclexplode(d.defaclacl) AS a
            WHERE d.defaclrole = %(owner)s::regrole AND d.defaclnamespace = 0
              AND d.defaclobjtype = CASE kind WHEN 'SCHEMA' THEN 'n' WHEN 'TABLE' THEN 'r' ELSE 'S' END
              AND a.grantee = wanted.grantee::regrole AND a.privilege_type = privilege)
        UNION ALL
        SELECT 3, kind, ARRAY[n.nspname::text], grantee, privilege FROM wanted, pg_catalog.pg_namespace AS n
        WHERE kind = 'SCHEMA' AND n.nspowner IN (%(owner)s::regrole, 'pg_database_owner'::regrole)
          AND NOT has_schema_privilege(grantee, n.oid, privilege)
        UNION ALL
        SELECT 4, kind, ARRAY[n.nspname::text, c.relname::text], grantee, privilege
        FROM wanted, pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relowner = %(owner)s::regrole AND c.relpersistence <> 't'
          AND NOT CASE WHEN kind = 'TABLE' AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
                       THEN has_table_privilege(grantee, c.oid, privilege)
                       WHEN kind = 'SEQUENCE' AND c.relkind = 'S'
                       THEN has_sequence_privilege(grantee, c.oid, privilege)
                       ELSE true END
    )
    SELECT kind, path, grantee, array_agg(privilege) FROM lacking
    GROUP BY place, kind, path, grantee ORDER BY place, path, grantee
"""


async def missing(inside: Session, ref: ComponentRef) -> list[Missing]:
    """`inside` the component's database, the rights that readers and writers, who both stand, should have and lack."""
    wanted = [
        (grantee, kind, privilege)
        for grantee, kinds in ((names.readers(ref), READING), (names.writers(ref), WRITING))
        for kind, privileges in kinds.items()
        for privilege in privileges
    ]
    grantees, kinds, privileges = map(list, zip(*wanted, strict=True))
    found = await inside.read(_MISSING, owner=ref.name, grantees=grantees, kinds=kinds, privileges=privileges)
    return [
        Missing(kind=kind, path=tuple(path), grantee=grantee, privileges=tuple(lacking))
        for kind, path, grantee, lacking in found
    ]


async def ensure(inside: Session, ref: ComponentRef) -> None:
    """`inside` the component's database, readers and writers have all the rights that they should have."""
    for _ in range(ROUNDS):
        lacking = await missing(inside, ref)
        if not lacking:
            return
        for each in lacking:
            await inside.do(working_on(ref.name), _statement(ref, each), unless=GONE)
    raise Transient(f'{inside.target}: tables of database "{ref.name}" come and go; not all rights are given yet')


def _statement(ref: ComponentRef, lacking: Missing) -> sql.Composed:
    kind, privileges = sql.SQL(lacking.kind), sql.SQL(", ").join(map(sql.SQL, lacking.privileges))
    owner, grantee = sql.Identifier(ref.name), sql.Identifier(lacking.grantee)
    if not lacking.path:
        statement = sql.SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {} GRANT {} ON {}S TO {}")
        return statement.format(owner, privileges, kind, grantee)
    return sql.SQL("GRANT {} ON {} {} TO {}").format(privileges, kind, sql.Identifier(*lacking.path), grantee)
