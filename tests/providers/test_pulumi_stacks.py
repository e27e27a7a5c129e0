"""pulumi.stack on the real CLI: crashes in the middle, questions to a human, secrets, other backends and languages."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from providers.local import LocalServers
from providers.pulumi.provider import PulumiProvider
from tests.providers.pulumi_world import PASSPHRASE, Shelf, cut_off, open_provider, packed, step
from twin.domain.errors import Blocked, Terminal
from twin.domain.identity import ComponentRef
from twin.testing.steps import make_ref


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "shelf")


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[PulumiProvider]:
    opened = open_provider(tmp_path / "target")
    yield opened
    await opened.close()


@pytest.fixture
def ref() -> ComponentRef:
    return make_ref("books", type="pulumi.stack")


def standing(path: str) -> bool:
    """Whether a book is on the shelf."""
    return os.path.exists(path)


@pytest.mark.parametrize("kind", ["runner", "CLI"])
async def test_a_killed_attempt_makes_nothing_twice(
    provider: PulumiProvider, ref: ComponentRef, shelf: Shelf, kind: str
) -> None:
    await cut_off(provider, ref, shelf, shelf.inputs(delay=4, count=3), kind)
    applied = await provider.apply(ref, step(shelf.inputs(delay=0, count=3)))
    done = Counter(line for line in shelf.log() if line.startswith("created"))
    assert done == {f"created {ref.name}-book-{n}": 1 for n in range(3)}, "what was there was found, and not made again"
    assert len(shelf.books(ref.name)) == 3
    observed = await provider.observe(ref, shelf.inputs(delay=0, count=3))
    assert observed is not None
    assert observed.drift == {}
    assert applied.outputs == {"text": "once upon a time"}
    await provider.remove(ref, step(shelf.inputs()))
    assert shelf.books(ref.name) == {}


async def test_what_nobody_can_tell_is_asked_of_a_human_and_not_guessed(
    provider: PulumiProvider, ref: ComponentRef, shelf: Shelf, tmp_path: Path
) -> None:
    inputs = shelf.inputs("silent", delay=4, count=1)
    await cut_off(provider, ref, shelf, inputs, "CLI")
    for _ in range(2):
        with pytest.raises(Blocked) as asked:
            await provider.apply(ref, step(shelf.inputs("silent", delay=0, count=1)))
        assert "does book-0" in asked.value.message
        assert "exist?" in asked.value.message
        assert f"answers/{ref.name}.json" in asked.value.mend
    assert len(shelf.books(ref.name)) == 1, "nothing was made meanwhile"
    (book,) = shelf.directory.glob(f"{ref.name}-book-0*")
    (tmp_path / "target" / "answers" / f"{ref.name}.json").write_text(json.dumps({"book-0": str(book)}))
    await provider.apply(ref, step(shelf.inputs("silent", delay=0, count=1)))
    assert len(shelf.books(ref.name)) == 1
    await provider.remove(ref, step(shelf.inputs("silent")))
    assert shelf.books(ref.name) == {}


async def test_a_hook_of_the_bundle_answers_instead(provider: PulumiProvider, ref: ComponentRef, shelf: Shelf) -> None:
    await cut_off(provider, ref, shelf, shelf.inputs("silent", delay=4, count=1), "CLI")
    hooked = {**shelf.inputs("silent", delay=0, count=1), "lookup": "shelf.program:looked_up"}
    await provider.apply(ref, step(hooked))
    assert Counter(line.split()[0] for line in shelf.log())["created"] == 1


async def test_a_removal_after_a_killed_apply_leaves_nothing(
    provider: PulumiProvider, ref: ComponentRef, shelf: Shelf
) -> None:
    await cut_off(provider, ref, shelf, shelf.inputs(delay=4, count=2), "runner")
    await provider.remove(ref, step(shelf.inputs()))
    assert shelf.books(ref.name) == {}
    assert [each async for each in provider.owned(ref.environment)] == []


async def test_two_credentials_side_by_side_and_the_old_one_proven_dead(
    provider: PulumiProvider, ref: ComponentRef, shelf: Shelf
) -> None:
    inputs = {
        "program": "shelf.program:rotating",
        "config": {"directory": str(shelf.directory)},
        "secrets": ["key"],
        "rotates": True,
        "check": "shelf.program:opens",
    }

    def live(*versions: int) -> dict[int, dict[str, str]]:
        return {version: {} for version in versions}

    first = await provider.apply(ref, step(inputs, credentials=live(1)))
    second = await provider.issue(ref, step(inputs, credentials=live(1, 2)))
    assert standing(first.secrets["key"])
    assert standing(second.secrets["key"])
    assert first.secrets["key"] != second.secrets["key"]
    await provider.retire(ref, step(inputs, credentials=live(2)), 1, first.secrets)
    assert not standing(first.secrets["key"])
    assert standing(second.secrets["key"])


async def test_a_program_that_fails_says_so_in_its_own_words_without_its_secrets(
    provider: PulumiProvider, ref: ComponentRef, shelf: Shelf
) -> None:
    password = "a-password-that-nobody-may-see"
    with pytest.raises(Terminal) as failed:
        await provider.apply(ref, step(shelf.inputs("leaking", password=password), granted=[password]))
    assert "the password is [secret]" in failed.value.message
    assert password not in failed.value.message
    assert failed.value.field == "program"
    with pytest.raises(Terminal, match="no copies today") as refused:
        await provider.apply(ref, step(shelf.inputs(refuse="no copies today", password=password), granted=[password]))
    assert "book-0" in refused.value.message, "the resource that failed is named"


async def test_a_preview_tells_each_resource_and_no_secret(
    provider: PulumiProvider, ref: ComponentRef, shelf: Shelf, tmp_path: Path
) -> None:
    password = "a-password-that-nobody-may-see"
    made = await provider.preview(ref, step(shelf.inputs(password=password), granted=[password]))
    assert {(each.resource.split()[0], each.kind) for each in made} == {("book-0", "create"), ("book-1", "create")}
    assert shelf.books(ref.name) == {}, "nothing was made"
    await provider.apply(ref, step(shelf.inputs(password=password), granted=[password]))
    changed = await provider.preview(
        ref, step(shelf.inputs(text="another edition", password=password), granted=[password])
    )
    assert {each.kind for each in changed} == {"update"}
    assert all("another edition" in each.fields["text"] for each in changed)
    fewer = await provider.preview(ref, step(shelf.inputs(count=1, password=password), granted=[password]))
    assert [each.kind for each in fewer] == ["delete"]
    assert password not in repr((made, changed, fewer))
    kept = [path for path in (tmp_path / "target").rglob("*") if path.is_file()]
    assert any(".pulumi/stacks" in str(path) for path in kept)
    found = [path for path in kept if password.encode() in path.read_bytes()]
    assert not found, "what it was given is sealed in the state, its history and its backups"


async def test_a_wrong_passphrase_waits_for_a_human(
    provider: PulumiProvider, ref: ComponentRef, shelf: Shelf, tmp_path: Path
) -> None:
    await provider.apply(ref, step(shelf.inputs()))
    other = open_provider(tmp_path / "target", {"passphrase": "another-one-that-is-as-long"})
    with pytest.raises(Blocked) as wrong:
        await other.apply(ref, step(shelf.inputs(text="more")))
    assert wrong.value.key == "pulumi/test/passphrase"
    await other.close()


@pytest.fixture
def database(local_servers: LocalServers) -> Iterator[tuple[str, str]]:
    """An empty database for states: its URL without the password, and that."""
    local_servers.start("postgres")
    target, credentials = next(each for each in local_servers.targets() if each[0].provider == "postgres")
    config, name = target.config, f"pulumi_{uuid.uuid4().hex[:8]}"
    admin = psycopg.connect(
        host=config["host"],
        port=config["port"],
        user=config["user"],
        dbname=config["database"],
        password=credentials["password"],
        autocommit=True,
    )
    admin.execute(f'CREATE DATABASE "{name}"'.encode())
    yield (
        f"postgres://{config['user']}@{config['host']}:{config['port']}/{name}?sslmode=disable",
        credentials["password"],
    )
    admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
    admin.close()


async def test_the_state_may_be_in_postgresql_for_workers_that_share_no_disk(
    ref: ComponentRef, shelf: Shelf, tmp_path: Path, database: tuple[str, str]
) -> None:
    backend, password = database
    here, there = (open_provider(tmp_path / name, {"password": password}, backend=backend) for name in ("a", "b"))
    placement = await here.identify()
    assert placement == await there.identify(), "one backend, whoever asks"
    assert password not in repr(placement)
    await here.apply(ref, step(shelf.inputs()))
    observed = await there.observe(ref, shelf.inputs())
    assert observed is not None
    assert observed.drift == {}
    await there.apply(ref, step(shelf.inputs(text="by the other worker")))
    assert set(shelf.books(ref.name).values()) == {"by the other worker"}
    await here.remove(ref, step(shelf.inputs()))
    assert shelf.books(ref.name) == {}
    assert [each async for each in there.owned(ref.environment)] == []
    for opened in (here, there):
        await opened.close()


async def test_a_project_in_another_language_runs_as_it_is(
    provider: PulumiProvider, ref: ComponentRef, tmp_path: Path
) -> None:

    folder = tmp_path / "bundle" / "infra"
    folder.mkdir(parents=True)
    (folder / "Pulumi.yaml").write_text(
        "name: anything\nruntime: yaml\n"
        "config: {who: {type: string}}\n"
        'outputs:\n  greeting: "hello ${who}"\n  token: {fn::secret: "secret of ${who}"}\n'
    )
    inputs = {"source": "infra", "config": {"who": "world"}, "outputs": ["greeting"], "secrets": ["token"]}
    content = packed(tmp_path / "bundle")
    applied = await provider.apply(ref, step(inputs, content=content, digest="b2"))
    assert applied.outputs == {"greeting": "hello world"}
    assert applied.secrets == {"token": "secret of world"}
    await provider.remove(ref, step(inputs, content=content, digest="b2"))
    assert [each async for each in provider.owned(ref.environment)] == []


async def test_nothing_secret_stands_in_an_argv_and_nothing_of_the_worker_s_in_a_child_s_environment(
    ref: ComponentRef, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWIN_VAULT_KEY", "the-key-of-the-vault")
    password, api_key = "a-password-that-nobody-may-see", "a-credential-of-the-target"
    provider = open_provider(tmp_path / "target", {"CLOUD_KEY": api_key})
    with watching() as seen:
        inputs = shelf.inputs(password=password, count=1)
        await provider.apply(ref, step(inputs, granted=[password]))
        await provider.remove(ref, step(inputs, granted=[password]))
    for command in ("stack export", " up ", " destroy ", "stack import", "pulumi.dynamic"):
        assert any(command in argv for argv in seen), f"{command} was not seen: {seen.keys()}"
    hidden = (PASSPHRASE, password, api_key, "once upon a time")
    assert not [argv for argv in seen if any(secret in argv for secret in hidden)]
    assert not [argv for argv, given in seen.items() if "the-key-of-the-vault" in given]
    assert any(api_key in given for given in seen.values()), "environments were seen: programs have the target's"
    await provider.close()


@contextlib.contextmanager
def watching() -> Iterator[dict[str, str]]:
    """The argv of every process that this one starts meanwhile, directly or not, and its environment. The machine's
    whole list is looked through again and again, for some of them live no longer than a tenth of a second."""
    seen: dict[str, str] = {}
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            for each in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error, OSError):
                    seen[" ".join(each.cmdline())] = Path(f"/proc/{each.pid}/environ").read_text(errors="replace")

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()
