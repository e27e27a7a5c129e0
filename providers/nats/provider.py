"""`nats.stream`: an account, a user and a JetStream stream of its own for each component.

Nothing is shared between components, not even subjects. The account and its users are lines of the server's
configuration (accounts.py), the stream is data. Order matters: what holds data is created last and removed first, so
that a stream never stands in an account that the server has forgotten.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

from providers.nats.accounts import (
    ADOPTING,
    APPLICATION,
    LIMITS,
    Account,
    AccountsFile,
    JetStreamLimits,
    admin,
    with_hash,
)
from providers.nats.client import MARK, NatsClient, stream_config
from providers.nats.spec import TYPES, Config, Credentials, StreamInputs, read, read_inputs
from twin.domain.identity import ComponentRef, EnvironmentId, Placement, ownership_mark
from twin.domain.targets import Target
from twin.ports.provider import Applied, Observed, Resource, StepContext

NANOSECONDS = 1_000_000_000


class NatsProvider:
    """A NATS server whose accounts file this machine can write."""

    def __init__(self, target: Target, config: Config, credentials: Credentials) -> None:
        self._target = target
        self._config = config
        self._accounts = AccountsFile(config.accounts_file, target)
        self._client = NatsClient(target, config, credentials, self._accounts.steady)

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
        elif account.user(ref.name) is None:
            drift["user"] = "is suspended: applications cannot log in"
        if (stream := streams.get(ref.component)) is None:
            drift["stream"] = f"{ref.component} does not exist"
        else:
            drift |= _drift(stream, read_inputs(inputs), ref.mark)
        return Observed(external_id=ref.name, outputs=self._outputs(ref), drift=drift)

    async def apply(self, ref: ComponentRef, step: StepContext) -> Applied:
        """Account and user, a reload, the stream; then prove that an application can log in."""
        inputs = read_inputs(step.inputs)
        password = step.secrets["password"]
        await self._ensure_account(ref, password)
        await step.heartbeat("account is there")
        await self._client.ensure_stream(ref.name, stream_config(ref.component, ref.mark, inputs))
        await self._client.check_login(ref.name, password)
        return Applied(
            external_id=ref.name,
            outputs=self._outputs(ref),
            secrets={
                "url": f"nats://{ref.name}:{quote(password, safe='')}@{self._client.endpoint}",
                "password": password,
            },
        )

    async def suspend(self, ref: ComponentRef, step: StepContext) -> None:
        """Take the application's user away, which closes its connections; the stream keeps what it holds."""
        if ref.name in self._accounts.read():
            await self._ensure_account(ref, None)

    async def remove(self, ref: ComponentRef, step: StepContext) -> None:
        """First the user, so that nobody writes any more, then the streams, then the account.

        Also when the file has no such account: putting it back is the only way to learn whether the server's disk
        holds streams of it. And again if an attempt that should be dead made a stream meanwhile.
        """
        while True:
            await self._ensure_account(ref, None)
            await step.heartbeat("applications are locked out")
            await self._client.delete_streams(ref.name)
            await self.reconfigure(lambda accounts: accounts.pop(ref.name, None))
            if not await self._client.streams(ref.name):
                return

    async def owned(self, environment: EnvironmentId) -> AsyncIterator[Resource]:
        """Accounts by the mark in the file that the server reads, streams by the mark that the server reports."""
        mark = ownership_mark(environment)
        for name, account in self._accounts.read().items():
            if account.mark == mark:
                yield Resource(kind="nats.account", external_id=name)
        for account_name, stream in await self._client.streams():
            if stream.get("metadata", {}).get(MARK) == mark:
                yield Resource(kind="nats.stream", external_id=f"{account_name}/{stream['name']}")

    async def close(self) -> None:
        """Nothing is held between calls."""

    async def reconfigure(self, change: Callable[[dict[str, Account]], object]) -> None:
        """Change the accounts; live when this returns."""
        await self._accounts.change(change, self._client.reload)

    async def _ensure_account(self, ref: ComponentRef, password: str | None) -> None:
        """The account with the twin's user and, given a password, the application's; live when this returns.

        Streams that outlived their account (somebody dropped it from the file) hear no message when it comes back,
        until JetStream has been taken from the account and given again. `ADOPTING` in the file remembers that.
        """
        account = self._accounts.read().get(ref.name)
        outlived = account is None and await self._client.streams(ref.name)
        half_adopted = account is not None and account.jetstream != LIMITS
        for jetstream in (ADOPTING, None, LIMITS) if outlived or half_adopted else (LIMITS,):
            await self.reconfigure(partial(self._put_account, ref, password, jetstream))

    def _put_account(
        self, ref: ComponentRef, password: str | None, jetstream: JetStreamLimits | None, accounts: dict[str, Account]
    ) -> None:
        before = accounts.get(ref.name, Account(()))
        own = admin(ref.name)
        users = [with_hash(own, self._client.admin_password(ref.name), before.user(own))]
        if password is not None:
            users.append(with_hash(ref.name, password, before.user(ref.name), APPLICATION))
        accounts[ref.name] = Account(tuple(users), jetstream, ref.mark)

    def _outputs(self, ref: ComponentRef) -> dict[str, Any]:
        return {
            "host": self._config.host,
            "port": self._config.port,
            "user": ref.name,
            "account": ref.name,
            "stream": ref.component,
        }


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
