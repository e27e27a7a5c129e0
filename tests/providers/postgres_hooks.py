"""What the conformance suites need to know of `postgres.database`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from providers.postgres import KIND
from providers.postgres.provider import PostgresProvider
from providers.postgres.spec import DATABASE
from tests.providers.postgres_by_hand import Opened, changed, query
from twin.ports.provider import Applied
from twin.testing.conformance.provider_hooks import ProviderHooks


class PostgresHooks(ProviderHooks):
    """A database with one table, `kept`, of one value."""

    component_type = DATABASE
    opened: Opened

    def inputs(self, n: int) -> Mapping[str, Any]:
        return {"connections": 10 + 10 * n, "extensions": ["vector"]}

    async def use(self, applied: Applied, inputs: Mapping[str, Any]) -> None:
        await query(applied.secrets["url"], "CREATE TABLE IF NOT EXISTS proof (v vector(2))")
        await query(applied.secrets["url"], "INSERT INTO proof VALUES ('[1,2]')")

    async def put(self, applied: Applied, value: str) -> None:
        await query(applied.secrets["url"], "CREATE TABLE IF NOT EXISTS kept (value text); TRUNCATE kept")
        await query(applied.secrets["url"], f"INSERT INTO kept VALUES ('{value}')")

    async def get(self, applied: Applied) -> str | None:
        if (await query(applied.secrets["url"], "SELECT to_regclass('kept')"))[0][0] is None:
            return None
        return str((await query(applied.secrets["url"], "SELECT value FROM kept"))[0][0])

    def unreachable(self) -> PostgresProvider:
        return KIND.open(changed(self.opened[0], port=1), self.opened[1])

    def refused(self) -> PostgresProvider:
        return KIND.open(self.opened[0], {"password": "wrong"})
