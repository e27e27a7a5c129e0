"""Reading what a component wrote."""

from __future__ import annotations

from collections.abc import AsyncIterator

from twin.domain.environment import Environment
from twin.domain.errors import Invalid, NotFound, StepFailure, Unavailable
from twin.domain.twin import ENVIRONMENT
from twin.ports.provider import LogLine, ReadsLogs
from twin.ports.store import Store
from twin.ports.targets import OpenTargets
from twin.service.principals import Principal
from twin.service.unknown import no_component


class ComponentLogs:
    """Asks the component's provider for its lines."""

    def __init__(self, store: Store, targets: OpenTargets) -> None:
        self._store = store
        self._targets = targets

    async def read(
        self, environment_id: str, component: str | None, by: Principal, *, lines: int = 100, follow: bool = False
    ) -> AsyncIterator[LogLine]:
        """The last `lines` lines of a component (None: the first that has logs) and, with `follow`, each new one."""
        row = await self._store.entity(ENVIRONMENT.kind, environment_id)
        if row is None or not by.may("viewer", row.project):
            raise NotFound(f"there is no environment {environment_id!r}", field="environment")
        env: Environment = row.state
        if component is not None and component not in env.desired.components:
            raise no_component(env, component)
        for name in [component] if component is not None else env.desired.components:
            instance = env.current(name)
            if instance is None:
                continue
            try:
                provider = await self._targets.provider(instance.placement.target)
                if isinstance(provider, ReadsLogs):
                    ref = env.ref(name, instance.incarnation, instance.type)
                    return provider.logs(ref, lines=lines, follow=follow)
            except StepFailure as failure:
                raise Unavailable(failure.message) from None
        raise Invalid(
            f"{component or 'no component of this environment'} keeps {'no' if component else 'any'} logs",
            field="component",
            mend="Logs are kept for process components that stand.",
        )
