"""An environment's credentials: which there are, and, always recorded, what they say."""

from __future__ import annotations

from typing import Any

from twin.domain.environment import Environment, Instance
from twin.domain.errors import Invalid, NotFound, Rejected
from twin.domain.platform import PLATFORM, PLATFORM_ID, Fact
from twin.domain.references import Reference, resolve
from twin.domain.rotation import kept_version
from twin.domain.twin import ENVIRONMENT
from twin.ports.store import EntityRow, Store, Tx
from twin.ports.vault import Vault
from twin.service.credential_views import credential_views
from twin.service.principals import Principal, Request
from twin.service.retired_credentials import retired_credentials
from twin.service.unknown import no_component
from twin.service.views import Credentials, CredentialView

MOST_REASON = 500
"""Characters."""


class Revealing:
    """Unseals secrets for a person. Nothing else in the service does."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault

    async def all(self, environment_id: str, by: Principal) -> tuple[CredentialView, ...]:
        """The credentials that live, those being issued, and the last that were retired, by component and version; no
        secret of theirs."""
        row = await self._row(environment_id, by)
        found = [*credential_views(row.state), *await retired_credentials(self._store, row.state)]
        return tuple(sorted(found, key=lambda each: (each.component, each.version)))

    async def environment(
        self, environment_id: str, request: Request, *, reason: str, component: str | None = None
    ) -> Credentials:
        """The variables that a component's `env` input gives its process, resolved. Without `component`: of the first
        component that has one, and beside it, for every other component, COMPONENT_SECRET. Needs developer; recorded
        with its reason on the platform's chain."""
        row = await self._row(environment_id, request.by)
        request.by.require("developer", row.project)
        if not reason.strip() or len(reason) > MOST_REASON:
            raise Invalid(
                f"reason must be 1 to {MOST_REASON} characters",
                field="reason",
                mend="Say what the secrets are needed for: it stands in the history.",
            )

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
                details={
                    "environment": env.id,
                    "project": env.project,
                    "name": env.name,
                    "names": sorted(variables),
                    "reason": reason.strip(),
                },
            )
            tx.transition(PLATFORM.kind, PLATFORM_ID, fact, request.cause)
            return Credentials(environment=env.id, component=name, variables=variables)

        return await self._store.transact(reveal)

    async def _row(self, environment_id: str, by: Principal) -> EntityRow:
        row = await self._store.entity(ENVIRONMENT.kind, environment_id)
        if row is None or not by.may("viewer", row.project):
            raise NotFound(f"there is no environment {environment_id!r}", field="environment")
        return row

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
            raise no_component(env, component)

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
