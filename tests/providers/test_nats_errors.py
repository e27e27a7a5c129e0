"""The NATS provider without a server: its table of errors, what it accepts, its file."""

from __future__ import annotations

import asyncio
import json
from asyncio import sleep
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from nats import errors as nats
from nats.js import errors as js

from providers.nats import KIND
from providers.nats.accounts import Account, AccountsFile
from providers.nats.errors import ACCOUNT_REFUSED, failure, file_failure, translated
from providers.nats.spec import read_inputs, takes
from providers.nats.users import with_hash
from twin.domain.errors import Blocked, Invalid, Terminal, Transient
from twin.domain.targets import Target
from twin.ports.provider import ProviderKind

TARGET = Target(name="nats/local", provider="nats")


@asynccontextmanager
async def no_grace(accounts: Mapping[str, Account]) -> AsyncIterator[Mapping[str, Account]]:
    """Nobody is logging in."""
    yield {}


def api(code: int, err_code: int | None, text: str = "") -> js.APIError:
    """An answer of JetStream, of the class that nats-py makes of its code."""
    kinds = {400: js.BadRequestError, 404: js.NotFoundError, 500: js.ServerError, 503: js.ServiceUnavailableError}
    return kinds.get(code, js.APIError)(code=code, err_code=err_code, description=text)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (nats.TimeoutError(), "the server is slow"),
        (nats.NoServersError(), "it is away"),
        (nats.NoRespondersError(), "JetStream is starting"),
        (nats.ConnectionClosedError(), "it was stopped in the middle"),
        (nats.UnexpectedEOF(), "the same, seen by the reader"),
        (ConnectionResetError(104, "reset"), "the network"),
        (TimeoutError(), "the connection does not come about"),
        (EOFError(), "the server hung up"),
        (js.ServiceUnavailableError(), "no JetStream answers"),
        (api(503, 10008, "JetStream system temporarily unavailable"), "a 503 passes unless the table says otherwise"),
        (api(500, 10049, "could not write"), "trouble inside of the server is not the requester's fault"),
        (nats.Error("nats: maximum connections exceeded"), "others will leave"),
        (nats.Error("nats: 'Authentication Timeout'"), "the server is busy"),
    ],
)
def test_transient(error: Exception, why: str) -> None:
    assert isinstance(failure(error, TARGET), Transient), why


@pytest.mark.parametrize(
    ("error", "key"),
    [
        (nats.Error("nats: 'Authorization Violation'"), "nats/local/credentials"),
        (nats.AuthorizationError(), "nats/local/credentials"),
        (nats.SecureConnWantedError(), "nats/local/tls"),
        (api(503, 10023, "insufficient resources"), "nats/local/storage"),
        (api(500, 10047, "insufficient storage resources available"), "nats/local/storage"),
        (api(500, 10028, "insufficient memory resources available"), "nats/local/storage"),
        (api(500, 10049, "write /data: no space left on device"), "nats/local/storage"),
        (api(503, 10076, "JetStream not enabled"), "nats/local/jetstream"),
        (api(503, 10039, "JetStream not enabled for account"), "nats/local/jetstream"),
        (nats.MaxPayloadError(), "nats/local/max-payload"),
    ],
)
def test_blocked_says_who_and_how(error: Exception, key: str) -> None:
    found = failure(error, TARGET)
    assert isinstance(found, Blocked)
    assert (found.key, found.owner) == (key, "platform")
    assert found.mend.endswith(f"twin blocks resolve {key}")
    assert found.message.startswith("nats/local ")


@pytest.mark.parametrize(
    ("error", "field"),
    [
        (api(400, 10065, "subjects overlap with an existing stream"), "subjects"),
        (api(500, 10052, "invalid subject"), "subjects"),
        (api(500, 10052, 'subject "z.1" overlaps with "z.>"'), "subjects"),
        (api(500, 10052, "stream configuration update can not change storage type"), "storage"),
        (api(500, 10052, "stream configuration update can not change retention policy to/from workqueue"), "retention"),
        (api(500, 10052, "max age needs to be >= 100ms"), "max_age"),
        (api(500, 10052, "something new"), None),
        (api(400, 10027, "maximum number of streams reached"), None),
        (nats.BadSubjectError(), None),
    ],
)
def test_terminal_names_the_input(error: Exception, field: str | None) -> None:
    found = failure(error, TARGET)
    assert isinstance(found, Terminal)
    assert found.field == field
    assert found.mend


def test_a_refused_login_means_what_its_user_is() -> None:
    found = failure(nats.AuthorizationError(), TARGET, ACCOUNT_REFUSED)
    assert isinstance(found, Blocked)
    assert found.key == "nats/local/accounts-file", "the server does not read our file"


def test_an_unwritable_file_is_blocked() -> None:
    found = file_failure(PermissionError(13, "Permission denied"), TARGET, "/etc/nats/accounts.conf")
    assert found.key == "nats/local/accounts-file"
    assert "/etc/nats/accounts.conf" in found.mend


def test_errors_of_our_own_pass_the_edge_unchanged() -> None:
    with pytest.raises(KeyError), translated(TARGET):
        raise KeyError("a program error")
    blocked = Blocked("no", key="nats/local/x", mend="-")
    with pytest.raises(Blocked) as caught, translated(TARGET):
        raise blocked
    assert caught.value is blocked


@pytest.mark.parametrize("subject", ["a", "a.b", "a.*.c", "*", "*.x", "jobs.>", "a-b_c.D.9"])
def test_subjects(subject: str) -> None:
    assert read_inputs({"subjects": [subject]}).subjects == [subject]


@pytest.mark.parametrize("subject", ["", ".", "a.", ".a", "a..b", "a b", ">", "a.>.b", "$JS.API.x", "a>", "a*"])
def test_subjects_that_nats_would_refuse_or_that_are_the_servers(subject: str) -> None:
    with pytest.raises(Terminal) as caught:
        read_inputs({"subjects": [subject]})
    assert caught.value.field == "subjects"


def test_the_schema_says_what_scales_what_replaces_and_in_which_unit() -> None:
    (stream,) = KIND.types
    assert stream.scalable == {"max_bytes", "max_messages", "max_age"}
    assert stream.immutable == {"storage", "retention"}
    assert stream.properties["max_bytes"]["x-unit"] == "bytes"
    assert stream.schema["required"] == ["subjects"]
    assert stream.schema["additionalProperties"] is False
    assert json.loads(json.dumps(stream.schema)) == stream.schema


def test_a_hash_stays_while_it_fits() -> None:
    first = with_hash("a", "one password", None)
    assert with_hash("a", "one password", first) == first, "an unchanged file is not rewritten"
    assert with_hash("a", "another", first).password != first.password
    with pytest.raises(Terminal):
        with_hash("a", "x" * 73, None)


async def test_writers_of_the_accounts_file_lose_nothing_of_each_other(tmp_path: Path) -> None:
    path = tmp_path / "accounts.conf"
    path.touch()
    files = [AccountsFile(str(path), TARGET) for _ in range(20)]

    async def add(n: int, file: AccountsFile) -> None:
        await file.change(
            lambda accounts: accounts.update({f"tw_{n}": Account((), mark=f"mark {n}")}), lambda: sleep(0), no_grace
        )

    await asyncio.gather(*(add(n, file) for n, file in enumerate(files)))
    marks = {name: account.mark for name, account in files[0].read().items()}
    assert marks == {f"tw_{n}": f"mark {n}" for n in range(20)}


async def test_those_who_share_the_lock_do_not_keep_a_writer_out(tmp_path: Path) -> None:
    path, changed = tmp_path / "accounts.conf", asyncio.Event()
    path.touch()

    async def copy() -> int:
        file, batches = AccountsFile(str(path), TARGET), 0
        while not changed.is_set():
            async with file.steady():
                await sleep(0.002)
                batches += 1
        return batches

    async def write() -> None:
        async with asyncio.timeout(10):
            await AccountsFile(str(path), TARGET).change(lambda accounts: None, lambda: sleep(0), no_grace)
        changed.set()

    async with asyncio.TaskGroup() as group:
        copies = [group.create_task(copy()) for _ in range(3)]
        group.create_task(write())
    assert all(each.result() for each in copies)


async def test_a_reload_happens_for_a_difference_and_until_it_has_succeeded(tmp_path: Path) -> None:
    path, reloads = tmp_path / "accounts.conf", []
    path.touch()
    file = AccountsFile(str(path), TARGET)

    async def reload() -> None:
        reloads.append(path.read_text())

    async def dies() -> None:
        raise Transient("the server restarts")

    def add(accounts: dict[str, Account]) -> None:
        accounts["tw_1"] = Account((), mark="mark")

    await file.change(lambda accounts: None, reload, no_grace)
    assert reloads == [], "reloads disturb JetStream's API for a moment: none without a reason"
    with pytest.raises(Transient):
        await file.change(add, dies, no_grace)
    await file.change(add, reload, no_grace)
    assert len(reloads) == 1, "what was written and not taken is taken by the next attempt, though nothing changed"
    await file.change(add, reload, no_grace)
    assert len(reloads) == 1


@pytest.mark.parametrize(
    ("config", "credentials", "field"),
    [
        ({"port": 0}, {}, "config.port"),
        ({"accounts_file": "relative.conf"}, {}, "config.accounts_file"),
        ({"hots": "x"}, {}, "config"),
        ({}, {"admin_password": "hunter2"}, "credentials.admin_password"),
        ({}, {"system_password": ""}, "credentials.system_password"),
    ],
)
def test_check_names_the_field_and_no_secret(config: dict[str, Any], credentials: dict[str, str], field: str) -> None:
    kind: ProviderKind = KIND
    right = {"host": "localhost", "port": 4222, "accounts_file": "/etc/nats/accounts.conf"}
    secrets = {"system_user": "sys", "system_password": "x" * 20, "admin_password": "y" * 20}
    kind.check(Target(name="nats/local", provider="nats", config=right), secrets)
    with pytest.raises(Invalid) as caught:
        kind.check(Target(name="nats/local", provider="nats", config=right | config), secrets | credentials)
    assert caught.value.field == field
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "subject", "taken"),
    [
        ("work.a", "work.a", True),
        ("work.a", "work.b", False),
        ("work.a", "work.a.b", False),
        ("work.*", "work.a", True),
        ("work.*", "work", False),
        ("work.*", "work.a.b", False),
        ("*.b", "work.b", True),
        ("work.>", "work.a", True),
        ("work.>", "work.a.b", True),
        ("work.>", "work", False),
        ("*.b.>", "work.b.c", True),
        ("*.b.>", "work.c.b", False),
    ],
)
def test_what_a_subject_takes(pattern: str, subject: str, taken: bool) -> None:
    assert takes(["else", pattern], subject) is taken
