"""The secrets of an attempt: minted with the intent, opened for the call, kept with the result.

Those of a type that rotates are kept by the credential's version; of any other, by how often they have changed. The
personal ones of members are kept apart, under the instance's `access`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct, field

from twin.domain.component_type import ComponentType
from twin.domain.environment import Environment, Instance, Role
from twin.domain.errors import Unreadable
from twin.domain.members import SECRET, access_of, entitled
from twin.domain.references import references
from twin.domain.rotation import kept_version, newest, versions
from twin.domain.steps import Running
from twin.ports.provider import Member
from twin.ports.store import Tx
from twin.ports.vault import Vault

Values = dict[str, str]


class Opened(Struct, frozen=True, kw_only=True):
    """What an attempt may use. `own` are the newest of the component, `credentials` all that live by version, `retired`
    those of the one that ends; `granted` those of the instances that its inputs refer to, `members` those of people.
    `unreadable`: they do not open, and all are empty."""

    own: Values = field(default_factory=dict)
    credentials: Mapping[int, Values] = field(default_factory=dict)
    retired: Values = field(default_factory=dict)
    granted: Mapping[str, Values] = field(default_factory=dict)
    members: tuple[Member, ...] = ()
    unreadable: Unreadable | None = None

    def __repr__(self) -> str:
        """Without secrets: this may end up in a traceback or log."""
        return f"Opened({sorted(self.own)})"

    def values(self) -> Iterable[str]:
        """Every secret."""
        for values in (self.own, *self.credentials.values(), self.retired, *self.granted.values()):
            yield from values.values()
        for member in self.members:
            yield from member.secrets.values()


class Secrets:
    """Opens and keeps secrets within a transaction that has locked the environment."""

    def __init__(self, vault: Vault, types: Mapping[str, ComponentType]) -> None:
        self._vault = vault
        self._types = types

    def mint(self, tx: Tx, env: Environment, running: Running) -> None:
        """What the attempt will need and nobody has yet: committed before the call, so that no later attempt ever
        meets a password that it does not know."""
        key = running.key
        wanted = env.desired.components.get(key.component)
        if key.verb == "grant":
            for name in _people(env, running):
                self._mint(tx, env, access_of(key.instance), 1, f"{name}/{SECRET}")
        if wanted is None:
            return
        type_ = self._types.get(wanted.type)
        if key.verb not in ("apply", "issue") or type_ is None:
            return
        version = self._made(env, running) if wanted.traits.rotates else None
        for name in type_.minted:
            self._mint(tx, env, key.instance, version, name)

    def opened(self, tx: Tx, env: Environment, running: Running, inputs: Mapping[str, Any]) -> Opened:
        """All that the attempt may use, or why it does not open: that must stop no transaction, as other steps, and a
        removal of this very instance, can do without."""
        try:
            return self._opened(tx, env, running, inputs)
        except Unreadable as problem:
            return Opened(unreadable=problem)

    def newest(self, tx: Tx, env: Environment, instance: Instance) -> Values:
        """What consumers are to use: of a credential that is being issued nothing yet."""
        return self._of(tx, env, instance.key, kept_version(env, instance))

    def keep(self, tx: Tx, env: Environment, running: Running, secrets: Values) -> None:
        """What came back from a call that succeeded, in place of what was kept for it."""
        key, entity = running.key, env.id
        instance = env.instances.get(key.instance)
        match key.verb:
            case "apply" | "issue" if instance is not None:
                version = newest(instance) if instance.credentials else instance.credential_version
                tx.drop_secrets(entity, key.instance, version if instance.credentials else None)
                for name, value in secrets.items():
                    self._put(tx, entity, key.instance, version, name, value)
            case "retire":
                tx.drop_secrets(entity, key.instance, int(key.digest))
            case "grant":
                tx.drop_secrets(entity, access_of(key.instance))
                for name, value in secrets.items():
                    self._put(tx, entity, access_of(key.instance), 1, name, value)
            case "remove":
                tx.drop_secrets(entity, key.instance)
                tx.drop_secrets(entity, access_of(key.instance))

    def _opened(self, tx: Tx, env: Environment, running: Running, inputs: Mapping[str, Any]) -> Opened:
        key = running.key
        instance = env.instances.get(key.instance)
        wanted = env.desired.components.get(key.component)
        credentials: dict[int, Values] = {}
        retired: Values = {}
        if wanted is not None and wanted.traits.rotates:
            live = {*(versions(instance, None) if instance is not None and newest(instance) else ())}
            if key.verb in ("apply", "issue"):
                live |= {self._made(env, running)}
            credentials = {version: self._of(tx, env, key.instance, version) for version in sorted(live)}
            retired = credentials.pop(int(key.digest), {}) if key.verb == "retire" else {}
        own = credentials[max(credentials)] if credentials else self._of(tx, env, key.instance, None)
        return Opened(
            own=own,
            credentials=credentials,
            retired=retired,
            granted=self._granted(tx, env, inputs),
            members=self._members(tx, env, running) if key.verb == "grant" else (),
        )

    @staticmethod
    def _made(env: Environment, running: Running) -> int:
        """The credential that a step makes, or makes sure of."""
        if running.key.verb == "issue":
            return int(running.key.digest)
        instance = env.instances.get(running.key.instance)
        return newest(instance) if instance is not None and newest(instance) else running.credential

    def _granted(self, tx: Tx, env: Environment, inputs: Mapping[str, Any]) -> dict[str, Values]:
        found: dict[str, Values] = {}
        for reference in references(inputs):
            source = env.current(reference.component or "")
            if reference.kind == "secrets" and source is not None and source.key not in found:
                found[source.key] = self.newest(tx, env, source)
        return found

    def _members(self, tx: Tx, env: Environment, running: Running) -> tuple[Member, ...]:
        kept = self._of(tx, env, access_of(running.key.instance), 1)
        return tuple(
            Member(name=name, role=role, secrets={SECRET: kept[f"{name}/{SECRET}"]})
            for name, role in _people(env, running).items()
        )

    def _of(self, tx: Tx, env: Environment, component: str, version: int | None) -> Values:
        return {
            name: self._vault.unseal(env.id, component, at, name, sealed)
            for name, (at, sealed) in tx.secrets(env.id, component, version).items()
        }

    def _mint(self, tx: Tx, env: Environment, component: str, version: int | None, name: str) -> None:
        if name not in tx.secrets(env.id, component, version):
            self._put(tx, env.id, component, version or 1, name, self._vault.mint())

    def _put(self, tx: Tx, entity: str, component: str, version: int, name: str, value: str) -> None:
        tx.put_secret(entity, component, version, name, self._vault.seal(entity, component, version, name, value))


def _people(env: Environment, running: Running) -> Mapping[str, Role]:
    """Whom a grant is to admit; one that an older twin has begun names all members."""
    return entitled(env) if running.members is None else running.members
