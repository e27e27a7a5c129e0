"""How credentials look: which live, who holds them, and what keeps an old one."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from twin.domain.environment import Credential, Environment, Instance
from twin.domain.planner import plan
from twin.domain.rotation import due_rotations, live, newest, retirement
from twin.service.views import CredentialView


def credential_views(env: Environment) -> Iterator[CredentialView]:
    """By component and version."""
    due = dict(due_rotations(env))
    for name, wanted in sorted(env.desired.components.items()):
        instance = env.current(name)
        if instance is None or not wanted.traits.rotates:
            continue
        for each in live(instance):
            current = each.version == newest(instance)
            view = _view(env, instance, each)
            yield replace(view, next_rotation=due.get(name)) if current else view
        for running in env.running.values():
            if running.key.verb == "issue" and running.key.instance == instance.key:
                yield CredentialView(component=name, version=int(running.key.digest), state="issuing")


def _view(env: Environment, instance: Instance, credential: Credential) -> CredentialView:
    wanted = env.desired.components[instance.component]
    old = credential.version != newest(instance)
    until, waits_for = retirement(env, instance, wanted) if old else (None, "")
    step = plan(env).step(f"{instance.key}:retire:{credential.version}") if old else None
    return CredentialView(
        component=instance.component,
        version=credential.version,
        state="retiring" if old else "current",
        issued_at=credential.issued_at,
        superseded_at=credential.superseded_at,
        retires_at=until,
        used_by=_users(env, instance, credential.version),
        waits_for=step.waits_for if step is not None else waits_for,
        acknowledged_by=credential.acknowledged_by,
    )


def _users(env: Environment, instance: Instance, version: int) -> tuple[str, ...]:
    applied = {each.component for each in env.instances.values() if each.opened_with.get(instance.key) == version}
    running = {each.key.component for each in env.running.values() if each.opened_with.get(instance.key) == version}
    return tuple(sorted(applied | running))
