"""Bringing a project's members to its environments: one transaction each, so that no two of them ever wait for another.

What is done twice, or by two workers at once, or broken off and begun again, does no harm: each environment takes what
the project says at that moment.
"""

from __future__ import annotations

from msgspec import Struct

from twin.domain.decider import Cause
from twin.domain.identity import TWIN
from twin.domain.members import SyncMembers
from twin.domain.project import PROJECT, EnvironmentsHaveIt, Project
from twin.domain.twin import ENVIRONMENT
from twin.ports.changes import Changes
from twin.ports.store import EntityRow, Store, Tx

_PAGE = 100


class Telling(Struct, frozen=True):
    """Runs the task `tell` of a project."""

    store: Store
    changes: Changes

    async def tell(self, project: str) -> None:
        """Go through the living environments of a project, then say so. Whatever is created meanwhile takes the members
        over by itself, since the change was committed before we look."""
        row = await self.store.entity(PROJECT.kind, project)
        if row is None:
            return
        begun: Project = row.state
        after: str | None = None
        while True:
            page = await self.store.entities(ENVIRONMENT.kind, project=begun.name, limit=_PAGE, after=after)
            for environment in page.items:
                await self._tell(project, environment)
            if (after := page.next) is None:
                break
        known = EnvironmentsHaveIt(begun.generation)
        await self.store.transact(lambda tx: tx.transition(PROJECT.kind, project, known, Cause(TWIN)))
        self.changes.notify(project)

    async def _tell(self, project: str, environment: EntityRow) -> None:
        def tell(tx: Tx) -> bool:
            tx.state(ENVIRONMENT.kind, environment.entity)  # what is to change is locked before what is only read
            now: Project = tx.shared(PROJECT.kind, project)
            cause = Cause(now.changed_by, now.request_id)
            done = tx.transition(ENVIRONMENT.kind, environment.entity, SyncMembers(now.members), cause)
            return bool(done.events)

        if await self.store.transact(tell):
            self.changes.notify(environment.entity)
