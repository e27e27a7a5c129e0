"""The quotas of projects: set by an admin of the platform, seen by whoever may see the project."""

from __future__ import annotations

from msgspec import Struct, field

from twin.domain.naming import check_name
from twin.domain.project import PROJECT, Project, SetQuotas, project_id
from twin.domain.quotas import Quotas, quota_block
from twin.domain.twin import ENVIRONMENT
from twin.ports.changes import Changes
from twin.ports.store import Store, Tx
from twin.service.principals import Principal, Request


class QuotasView(Struct, frozen=True, kw_only=True):
    """A project's quotas, None or no entry for what is unlimited, and `living`: how many environments it has, by
    tier."""

    project: str
    max_environments: int | None = None
    tiers: dict[str, int] = field(default_factory=dict)
    living: dict[str, int] = field(default_factory=dict)


class ProjectQuotas:
    """What edges call about quotas."""

    def __init__(self, store: Store, changes: Changes) -> None:
        self._store = store
        self._changes = changes

    async def get(self, project: str, by: Principal) -> QuotasView:
        """Quotas and what there is. Needs viewer."""
        by.require("viewer", project)
        check_name(project, "project")
        return await self._store.transact(lambda tx: _view(tx, project, tx.shared(PROJECT.kind, project_id(project))))

    async def set(self, project: str, quotas: Quotas, request: Request) -> QuotasView:
        """Replace them; what waits for room tries again. Needs admin of the platform. Raises `Invalid`."""
        request.by.require("admin", "*")
        entity = project_id(project)

        def give(tx: Tx) -> QuotasView:
            given = SetQuotas(project=project, quotas=quotas)
            after: Project | None = tx.transition(PROJECT.kind, entity, given, request.cause).after
            tx.resolve_block(quota_block(project), request.cause.actor)
            return _view(tx, project, after)

        view = await self._store.transact(give)
        self._changes.notify(entity)
        return view


def _view(tx: Tx, project: str, state: Project | None) -> QuotasView:
    quotas = state.quotas if state is not None else Quotas()
    return QuotasView(
        project=project,
        max_environments=quotas.max_environments,
        tiers=quotas.tiers,
        living=dict(tx.living(ENVIRONMENT.kind, project)),
    )
