"""Commands that run as another user than the twin, who has to be root for it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from providers.process import KIND
from providers.process.provider import ProcessProvider
from tests.providers.process_world import APP, apps, ask, open_provider, processes, step, supervisors
from twin.domain.errors import Blocked, Invalid, Terminal
from twin.domain.identity import ComponentRef
from twin.domain.targets import Target
from twin.testing.steps import make_ref

NOBODY = pwd.getpwnam("nobody")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
# found by env as nobody: the tests' own interpreter may lie where only root can go
INPUTS = {"command": ["/usr/bin/env", "python3", "-I", "-S", "app.py"], "stop_grace": 1}


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that others can go to; pytest's own are private."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def provider(place: Path) -> ProcessProvider:
    return open_provider(place / "target", user="nobody", local_sources=True)


@pytest.fixture
async def ref(provider: ProcessProvider) -> AsyncIterator[ComponentRef]:
    ref = make_ref("app", type="process.service")
    yield ref
    await provider.remove(ref, step({"stop_grace": 0}))
    assert processes(ref.name) == []


def make_repository(path: Path) -> Path:
    path.mkdir()
    (path / "app.py").write_text(APP)
    for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "one"]):
        settings = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
        subprocess.run(["git", "-C", str(path), *settings, *arguments], check=True)
    return path


def give(tree: Path, uid: int) -> None:
    for path in (tree, *tree.rglob("*")):
        os.chown(path, uid, -1)


def read(path: Path) -> list[str]:
    return path.read_text().splitlines()


def owners(tree: Path) -> set[int]:
    return {path.lstat().st_uid for path in (tree, *tree.rglob("*"))}


def groups(process: psutil.Process) -> set[str]:
    status = read(Path(f"/proc/{process.pid}/status"))
    return set(next(line for line in status if line.startswith("Groups:")).split()[1:])


def target(directory: Path, user: str) -> Target:
    return Target(name="test", provider="process", config={"directory": str(directory), "user": user})


def probe(place: Path) -> list[str]:
    """A build that tries what it should not be able to do, and writes what it could."""
    tries = {
        "read the key of the vault": f"cat {place}/vault.key",
        "list the target": f"ls {place}/target",
        "read the key of the target": f"cat {place}/target/key",
        "list the environments": f"ls {place}/target/environments",
        "read the logs": "ls ../../../logs",
        "read the records": "ls ../../../slots || cat ../../../service.json",
        "write beside its tree": "touch ../more",
        "write at home": 'touch "$HOME/more"',
        "write a temporary file": 'touch "$TMPDIR/more"',
    }
    lines = [f"if {{ {command}; }} >/dev/null 2>&1; then echo {name!r} >>can; fi" for name, command in tries.items()]
    return ["sh", "-c", "\n".join([*lines, "id -u >who", "id -G >>who"])]


@as_root
async def test_build_and_replica_are_the_users_and_the_rest_is_ours(
    provider: ProcessProvider, ref: ComponentRef, place: Path
) -> None:
    (place / "vault.key").touch(mode=0o600)
    inputs = {**INPUTS, "build": probe(place)}
    applied = await provider.apply(ref, step(inputs))
    tree = Path(ask(applied.outputs["url"])["cwd"])
    assert read(tree / "can") == ["write at home", "write a temporary file"]
    assert read(tree / "who") == [str(NOBODY.pw_uid), str(NOBODY.pw_gid)]
    assert owners(tree) == {NOBODY.pw_uid}
    (app,) = apps(ref.name)
    assert set(app.uids()) == {NOBODY.pw_uid}
    assert set(app.gids()) == {NOBODY.pw_gid}
    assert groups(app) <= {str(NOBODY.pw_gid)}
    assert [set(one.uids()) for one in supervisors(ref.name)] == [{0}]
    assert (await provider.apply(ref, step(inputs))).outputs == applied.outputs
    await provider.remove(ref, step(INPUTS))
    assert [resource async for resource in provider.owned(ref.environment)] == []


@as_root
async def test_git_fetches_as_the_user(provider: ProcessProvider, ref: ComponentRef, place: Path) -> None:
    repository = make_repository(place / "repository")
    give(repository, NOBODY.pw_uid)
    inputs = {**INPUTS, "source": {"git": str(repository)}}
    applied = await provider.apply(ref, step(inputs))
    assert owners(Path(ask(applied.outputs["url"])["cwd"])) == {NOBODY.pw_uid}
    give(repository, 0)
    repository.chmod(0o700)
    with pytest.raises(Terminal):
        await provider.apply(ref, step(inputs))


@as_root
async def test_a_service_moves_to_the_user_at_its_next_change(ref: ComponentRef, place: Path) -> None:
    await open_provider(place / "target").apply(ref, step(INPUTS))
    assert [app.uids().real for app in apps(ref.name)] == [0]
    await open_provider(place / "target", user="nobody").apply(ref, step(INPUTS))
    assert [app.uids().real for app in apps(ref.name)] == [NOBODY.pw_uid]


@as_root
def test_a_user_that_commands_cannot_run_as_is_refused(place: Path) -> None:
    KIND.check(target(place / "target", "nobody"), {})
    with pytest.raises(Invalid, match="no user 'no-such-user'"):
        KIND.check(target(place / "target", "no-such-user"), {})
    with pytest.raises(Invalid, match="root is the user"):
        KIND.check(target(place / "target", "root"), {})
    (place / "private").mkdir(mode=0o700)
    with pytest.raises(Invalid, match=f"cannot go through {place}/private"):
        KIND.check(target(place / "private" / "target", "nobody"), {})


async def test_who_is_not_root_can_become_nobody_else(
    provider: ProcessProvider, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Invalid, match="runs as root") as refused:
        KIND.check(target(place / "target", "nobody"), {})
    assert refused.value.field == "config.user"
    with pytest.raises(Blocked) as blocked:
        await provider.apply(make_ref("app", type="process.service"), step(INPUTS))
    assert blocked.value.key == "process/test/user"
