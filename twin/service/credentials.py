"""Revealing an environment's credentials: for `twin run`, and always recorded."""

from __future__ import annotations

from typing import Any

from twin.domain.environment import Environment, Instance
from twin.domain.errors import NotFound, Rejected
from twin.domain.platform import PLATFORM, PLATFORM_ID, Fact
from twin.domain.references import Reference, resolve
from twin.domain.rotation import kept_version
from twin.domain.twin import ENVIRONMENT
from twin.ports.store import Store, Tx
from twin.ports.vault import Vault
from twin.service.principals import Request
from twin.service.views import Credentials


class Revealing:
    """Unseals secrets for a person. Nothing else in the service does."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault

    async def environment(self, environment_id: str, request: Request, *, component: str | None = None) -> Credentials:
        """The variables that a component's `env` input gives its process, resolved. Without `component`: of the first
        component that has one, and beside it, for every other component, COMPONENT_SECRET. Needs developer; recorded
        on the platform's chain."""
        row = await self._store.entity(ENVIRONMENT.kind, environment_id)
        if row is None or not request.by.may("viewer", row.project):
            raise NotFound(f"there is no environment {environment_id!r}", field="environment")
        request.by.require("developer", row.project)

        def reveal(tx: Tx) -> Credentials:
            env: Environment = tx.state(ENVIRONMENT.kind, environment_id)
            if env.certificate is not None:
                raise Rejected(f"{env.project}/{env.name} is destroyed: its secrets are gone", code="destroyed")
            name = component or next((n for n, c in env.desired.components.items() if "env" in c.inputs), "")
            variables = self._own(tx, env)
            if name:
                variables |= self._of(tx, env, name)
            fact = Fact(
                what="credentials_revealed",
                details={"environment": env.id, "project": env.project, "name": env.name, "names": sorted(variables)},
            )
            tx.transition(PLATFORM.kind, PLATFORM_ID, fact, request.cause)
            return Credentials(environment=env.id, component=name, variables=variables)

        return await self._store.transact(reveal)

    def _own(self, tx: Tx, env: Environment) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in env.desired.components:
            instance = env.current(name)
            for secret, value in self._secrets(tx, env, instance).items() if instance is not None else ():
                found[f"{name}_{secret}".upper().replace("-", "_")] = value
        return found

    def _of(self, tx: Tx, env: Environment, component: str) -> dict[str, str]:
        wanted = env.desired.components.get(component)
        if wanted is None:
            raise NotFound(f"{env.project}/{env.name} has no component {component!r}", field="component")

        def look(reference: Reference) -> Any:
            instance = env.current(reference.component or "")
            if instance is None or instance.digest is None:
                raise Rejected(
                    f"{reference} is not there yet: {reference.component} is not applied",
                    mend=f"Wait until {env.project}/{env.name} is ready.",
                )
            if reference.kind == "outputs":
                return instance.outputs.get(reference.name)
            return self._secrets(tx, env, instance)[reference.name]

        given: dict[str, Any] = resolve(wanted.inputs.get("env", {}), look)
        return {name: str(value) for name, value in given.items()}

    def _secrets(self, tx: Tx, env: Environment, instance: Instance) -> dict[str, str]:
        kept = tx.secrets(env.id, instance.key, kept_version(env, instance))
        return {
            name: self._vault.unseal(env.id, instance.key, version, name, sealed)
            for name, (version, sealed) in kept.items()
        }
