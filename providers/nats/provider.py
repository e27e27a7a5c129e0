"""`nats.stream`: an account, users and a JetStream stream of its own for each component.

Nothing is shared between components, not even subjects. The account and its users are lines of the server's
configuration (accounts.py), the stream is data. Order matters: what holds data is created last and removed first, so
that a stream never stands in an account that the server has forgotten.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

from providers.nats import copying, removal, users
from providers.nats.accounts import ADOPTING, LIMITS, Account, AccountsFile, JetStreamLimits, User
from providers.nats.client import MARK, NatsClient, stream_config
from providers.nats.spec import TYPES, Config, Credentials, StreamInputs, read, read_inputs
from twin.domain.errors import Terminal, Transient
from twin.domain.identity import ComponentRef, EnvironmentId, Placement, ownership_mark
from twin.domain.targets import Target
from twin.ports.provider import Applied, Member, Observed, Resource, Seeded, Source, StepContext

NANOSECONDS = 1_000_000_000

Users = Callable[[Account], Iterable[User]]
"""Everybody in an account but the twin, given the account as it is."""


class NatsProvider:
    """A NATS server whose accounts file this machine can write."""

    def __init__(self, target: Target, config: Config, credentials: Credentials) -> None:
        self._target = target
        self._config = config
        self._accounts = AccountsFile(config.accounts_file, target)
        self._client = NatsClient(target, config, credentials, self._accounts.steady, self._accounts.alone)

    async def identify(self) -> Placement:
        """The server's configured name is its identity."""
        return Placement(self._target.name, self._client.endpoint, await self._client.name())

    async def observe(self, ref: ComponentRef, inputs: Mapping[str, Any]) -> Observed | None:
        """An account without its stream is drift, as is the reverse: both are found and mended by `apply`."""
        account = self._accounts.read().get(ref.name)
        streams = {config["name"]: config for _, config in await self._client.streams(ref.name)}
        if account is None and not streams:
            return None
        drift: dict[str, str] = {}
        if account is None:
            drift["account"] = "is missing from the accounts file"
        elif not users.applications(ref.name, account.users):
            drift["user"] = "is suspended: applications cannot log in"
        if (stream := streams.get(ref.component)) is None:
            drift["stream"] = f"{ref.component} does not exist"
        else:
            drift |= _drift(stream, read_inputs(inputs), ref.mark)
        newest = max(users.applications(ref.name, account.users if account else ()), default=None)
        return Observed(external_id=ref.name, outputs=self._outputs(ref, newest), drift=drift)

    async def apply(self, ref: ComponentRef, step: StepContext) -> Applied:
        """Account and users, a reload, the stream; then prove that an application can log in."""
        inputs = read_inputs(step.inputs)
        await self._ensure_credentials(ref, step)
        await step.heartbeat("account is there")
        await self._client.ensure_stream(ref.name, stream_config(ref.component, ref.mark, inputs))
        return await self._applied(ref, step)

    async def issue(self, ref: ComponentRef, step: StepContext) -> Applied:
        """A second user beside the first; the reload leaves the first one's connections alone."""
        await self._ensure_credentials(ref, step)
        return await self._applied(ref, step)

    async def retire(self, ref: ComponentRef, step: StepContext, version: int, secrets: Mapping[str, str]) -> None:
        """Take the version's user away, which closes its connections, and see its login refused."""
        if ref.name in self._accounts.read():
            await self._ensure_account(ref, partial(users.without_credential, ref.name, version=version))
        await self._client.check_refused(users.application(ref.name, version), secrets["password"])

    async def grant(
        self, ref: ComponentRef, step: StepContext, members: tuple[Member, ...]
    ) -> Mapping[str, Mapping[str, str]]:
        """A user per member; others lose theirs, and with it their connections. Prove that the members can log in."""
        if members or ref.name in self._accounts.read():
            await self._ensure_account(ref, partial(users.with_members, ref.name, granted=members))
        account = self._accounts.read().get(ref.name, Account(()))
        given: dict[str, Mapping[str, str]] = {}
        for member in members:
            user, password = users.personal(ref.name, member.name), member.secrets["password"]
            await step.heartbeat(f"{len(given) + 1} of {len(members)} members")
            if users.applications(ref.name, account.users):  # else suspended: the login works once it is resumed
                await self._client.check_login(user, password)
            given[member.name] = self._secrets(user, password)
        return given

    async def seed(self, ref: ComponentRef, step: StepContext, source: Source) -> Seeded:
        """The source's messages, in a stream of an account that no application can enter yet. A copy without its mark
        is dropped and begun anew."""
        if source.mode != "full":
            raise Terminal(f"a stream has no {source.mode} copies", mend="Clone with data: full, or none.")
        if not isinstance(source.provider, NatsProvider):
            raise Terminal(f"{source.ref.component} of the source is no stream of NATS")
        here = partial(self._client.inside, ref.name)
        if ref.name in self._accounts.read() and (done := await copying.finished(here, ref.component)) is not None:
            return done
        if source.ref.name not in source.provider._accounts.read():
            raise Terminal(
                f"{source.ref.component} of {source.ref.environment_name} is gone, so it cannot be copied",
                mend="Destroy this clone; clone what there is, or create an environment that begins empty.",
            )
        await self._ensure_account(ref, partial(_unopened, ref.name))
        config = stream_config(ref.component, ref.mark, read_inputs(step.inputs))
        copy = copying.Copy(
            there=partial(source.provider._client.inside, source.ref.name),
            source=source.ref.component,
            here=here,
            config=config,
            unopened=lambda: _unopened(ref.name, self._accounts.read().get(ref.name, Account(()))),
            heartbeat=step.heartbeat,
        )
        return await copy.run()

    async def suspend(self, ref: ComponentRef, step: StepContext) -> None:
        """Take the application's users away and lock members out, which closes their connections; the stream keeps
        what it holds."""
        if ref.name in self._accounts.read():
            await self._ensure_account(ref, partial(users.suspended, ref.name))

    async def remove(self, ref: ComponentRef, step: StepContext) -> None:
        """First the users, so that nobody writes any more, then the streams, then the account.

        Also when the file has no such account: putting it back is the only way to learn whether the server's disk
        holds streams of it. And again if an attempt that should be dead made a stream meanwhile.
        """
        while True:
            await self._ensure_account(ref, lambda before: ())
            await step.heartbeat("applications are locked out")
            await self._client.delete_streams(ref.name)
            await self.reconfigure(lambda accounts: accounts.pop(ref.name, None))
            if not await self._client.streams(ref.name):
                return

    async def owned(self, environment: EnvironmentId) -> AsyncIterator[Resource]:
        """Accounts by the mark in the file that the server reads, streams by the mark that the server reports."""
        mark = ownership_mark(environment)
        accounts = self._accounts.read()
        # Streams first: the way to remove one leads through its account.
        for name, stream in await self._client.streams():
            if stream.get("metadata", {}).get(MARK) == mark:
                way = removal.of_stream(self._client.endpoint, name, stream["name"], accounts.get(name))
                yield Resource(kind="nats.stream", external_id=f"{name}/{stream['name']}", removal=way)
        for name, account in accounts.items():
            if account.mark == mark:
                way = removal.of_account(self._config, name)
                yield Resource(kind="nats.account", external_id=name, removal=way)

    async def close(self) -> None:
        """Nothing is held between calls."""

    async def reconfigure(self, change: Callable[[dict[str, Account]], object]) -> None:
        """Change the accounts; live when this returns."""
        await self._accounts.change(change, self._client.reload, self._client.around_reload)

    async def _ensure_credentials(self, ref: ComponentRef, step: StepContext) -> None:
        passwords = {version: secrets["password"] for version, secrets in step.live.items()}
        await self._ensure_account(ref, partial(users.with_credentials, ref.name, passwords=passwords))

    async def _applied(self, ref: ComponentRef, step: StepContext) -> Applied:
        """What the newest credential gives, once the server has taken it."""
        user, password = users.application(ref.name, step.version), step.live[step.version]["password"]
        account = self._accounts.read().get(ref.name)
        if account is not None and account.user(user) is None:
            raise Transient(f"Credential {step.version} of {ref.name} has been retired meanwhile.")
        await self._client.check_login(user, password)
        return Applied(
            external_id=ref.name,
            outputs=self._outputs(ref, step.version),
            secrets=self._secrets(user, password),
        )

    async def _ensure_account(self, ref: ComponentRef, who: Users) -> None:
        """The account with the twin's user and those that `who` names; live when this returns.

        Streams that outlived their account (somebody dropped it from the file) hear no message when it comes back,
        until JetStream has been taken from the account and given again. `ADOPTING` in the file remembers that.
        """
        account = self._accounts.read().get(ref.name)
        outlived = account is None and await self._client.streams(ref.name)
        half_adopted = account is not None and account.jetstream != LIMITS
        for jetstream in (ADOPTING, None, LIMITS) if outlived or half_adopted else (LIMITS,):
            await self.reconfigure(partial(self._put_account, ref, who, jetstream))

    def _put_account(
        self, ref: ComponentRef, who: Users, jetstream: JetStreamLimits | None, accounts: dict[str, Account]
    ) -> None:
        before = accounts.get(ref.name, Account(()))
        own = users.admin(ref.name)
        twin = users.with_hash(own, self._client.admin_password(ref.name), before.user(own))
        accounts[ref.name] = Account((twin, *who(before)), jetstream, ref.mark)

    def _outputs(self, ref: ComponentRef, version: int | None) -> dict[str, Any]:
        """What an application may know; without its user while it has none."""
        user = {} if version is None else {"user": users.application(ref.name, version)}
        return {
            "host": self._config.host,
            "port": self._config.port,
            **user,
            "account": ref.name,
            "stream": ref.component,
        }

    def _secrets(self, user: str, password: str) -> dict[str, str]:
        url = f"nats://{user}:{quote(password, safe='')}@{self._client.endpoint}"
        return {"url": url, "password": password}


class NatsKind:
    """The provider before it has a target."""

    name = "nats"
    types = TYPES

    def check(self, target: Target, credentials: Mapping[str, str]) -> None:
        """Raise `Invalid`, naming the field, if config or credentials cannot be right."""
        read(Config, target.config, "config")
        read(Credentials, credentials, "credentials")

    def open(self, target: Target, credentials: Mapping[str, str]) -> NatsProvider:
        """A provider for this target. Raises `Invalid` as `check` does."""
        return NatsProvider(
            target, read(Config, target.config, "config"), read(Credentials, credentials, "credentials")
        )


def _unopened(name: str, account: Account) -> tuple[User, ...]:
    """Nobody: the users beside the twin in an account that is to be copied into. An attempt that comes too late, when
    it is in use, harms nobody."""
    if any(user.user != users.admin(name) for user in account.users):
        raise Transient(f"{name} is in use already.")
    return ()


def _drift(stream: Mapping[str, Any], inputs: StreamInputs, mark: str) -> dict[str, str]:
    """How a stream, as the server lists it, differs from what was asked for."""
    pairs = {
        "subjects": (sorted(inputs.subjects), sorted(stream.get("subjects", ()))),
        "max_bytes": (inputs.max_bytes, stream["max_bytes"]),
        "max_messages": (inputs.max_messages, stream["max_msgs"]),
        "max_age": (inputs.max_age, stream["max_age"] / NANOSECONDS),
        "discard": (inputs.discard, stream["discard"]),
        "storage": (inputs.storage, stream["storage"]),
        "retention": (inputs.retention, stream["retention"]),
        "mark": (mark, stream.get("metadata", {}).get(MARK)),
    }
    return {name: f"is {found}, not {wanted}" for name, (wanted, found) in pairs.items() if wanted != found}
