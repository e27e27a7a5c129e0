"""The credentials that have ended: no state holds them any more, so they are found in the history."""

from __future__ import annotations

from datetime import datetime

from twin.domain.environment import Environment, Instance
from twin.domain.rotation import newest
from twin.ports.store import EventFilter, Store
from twin.service.views import CredentialView

MOST = 5
"""The newest of a component that are told; the history has all."""


async def retired_credentials(store: Store, env: Environment) -> list[CredentialView]:
    """The last that ended of each component as it stands now, by component and version."""
    found: list[CredentialView] = []
    for name, wanted in sorted(env.desired.components.items()):
        instance = env.current(name)
        if instance is not None and wanted.traits.rotates and newest(instance) > 1:
            found += await _of(store, env, instance)
    return found


async def _of(store: Store, env: Environment, instance: Instance) -> list[CredentialView]:
    issued: dict[int, datetime] = {}
    retired: dict[int, datetime] = {}
    cursor: str | None = None
    wanted = EventFilter(entity=env.id, component=instance.component, type="step_succeeded")
    while True:
        page = await store.events(wanted, limit=500, after=cursor)
        for each in page.items:
            key = each.event.key
            if key.instance != instance.key:
                continue
            if key.verb == "apply":
                issued.setdefault(each.event.credential_version, each.at)  # the first apply makes the first credential
            elif key.verb == "issue":
                issued[int(key.digest)] = each.at
            elif key.verb == "retire":
                retired[int(key.digest)] = each.at
        if not page.items or page.next is None:
            break
        cursor = page.next
    return [
        CredentialView(
            component=instance.component,
            version=version,
            state="retired",
            issued_at=issued.get(version),
            superseded_at=issued.get(version + 1),
            retired_at=retired[version],
        )
        for version in sorted(retired)[-MOST:]
    ]
