"""Where a service's files come from, and what is built of them."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from providers.process.git import Repository
from providers.process.provider import ProcessProvider
from providers.process.spec import Config, GitSource
from tests.providers.process_world import APP, ask, bundle, open_provider, processes, step
from twin.children.bundle import unpack
from twin.domain.errors import Blocked, StepFailure, Terminal, Transient
from twin.domain.identity import ComponentRef
from twin.testing.steps import make_ref


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "target"


@pytest.fixture
def provider(directory: Path) -> ProcessProvider:
    return open_provider(directory, local_sources=True)


@pytest.fixture
async def ref(provider: ProcessProvider) -> AsyncIterator[ComponentRef]:
    ref = make_ref("app", type="process.service")
    yield ref
    await provider.remove(ref, step({"stop_grace": 0}))


def git(repository: Path, *arguments: str) -> str:
    settings = ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "init.defaultBranch=main"]
    return subprocess.check_output(["git", "-C", str(repository), *settings, *arguments], text=True).strip()


def read(folder: str, name: str) -> str:
    return Path(folder, name).read_text()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "repository"
    path.mkdir()
    git(path, "init", "--quiet")
    (path / "app.py").write_text(APP)
    (path / "version").write_text("1")
    git(path, "add", ".")
    git(path, "commit", "--quiet", "-m", "one")
    git(path, "tag", "-a", "v1", "-m", "first")
    (path / "version").write_text("2")
    git(path, "commit", "--quiet", "-am", "two")
    return path


async def test_each_kind_of_ref_gives_its_commit(
    provider: ProcessProvider, ref: ComponentRef, repository: Path
) -> None:
    first, second = git(repository, "rev-parse", "HEAD~1"), git(repository, "rev-parse", "HEAD")
    for name, url, commit, version in (
        ("main", str(repository), second, "2"),
        ("v1", f"file://{repository}", first, "1"),
        (first, f"file://{repository}", first, "1"),
        ("HEAD", str(repository), second, "2"),
    ):
        applied = await provider.apply(ref, step({"source": {"git": url, "ref": name}, "stop_grace": 1}))
        assert applied.outputs["commit"] == commit
        work = Path(ask(applied.outputs["url"])["cwd"])
        assert (work / "version").read_text() == version
        assert not (work / ".git").exists()
    assert len(list(work.parent.parent.iterdir())) == 1, "sources that nothing runs from are gone"


async def test_what_git_refuses_says_what_happens_next(
    provider: ProcessProvider, ref: ComponentRef, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failure(source: dict[str, str]) -> StepFailure:
        with pytest.raises(StepFailure) as caught:
            await provider.apply(ref, step({"source": source}))
        return caught.value

    absent = await failure({"git": str(tmp_path / "nowhere")})
    assert isinstance(absent, Terminal)
    assert absent.field == "source.git"
    missing = await failure({"git": str(repository), "ref": "no-such-branch"})
    assert isinstance(missing, Terminal)
    assert missing.field == "source.ref"
    no_commit = await failure({"git": str(repository), "ref": "0" * 40})
    assert isinstance(no_commit, Terminal)
    away = await failure({"git": "http://someone:hunter2-long@127.0.0.1:1/repository.git"})
    assert isinstance(away, Transient)
    assert "hunter2" not in away.message
    trick = await failure({"git": "ext::sh -c 'touch owned'"})
    assert isinstance(trick, Terminal)
    monkeypatch.setattr("providers.process.git.PATH", str(tmp_path))
    no_git = await failure({"git": str(repository)})
    assert isinstance(no_git, Blocked)
    assert no_git.key == "process/test/git"


@pytest.mark.parametrize(
    "url",
    ["{path}", "../repository", "file://{path}", "file:{path}", "FILE://{path}", "ext::cat {path}/version", "fd::0"],
)
@pytest.mark.parametrize("ref_name", ["main", None])
async def test_what_the_twins_user_can_read_is_no_source_unless_the_target_says_so(
    directory: Path, ref: ComponentRef, repository: Path, url: str, ref_name: str | None
) -> None:
    source = {"git": url.format(path=repository), "ref": ref_name or git(repository, "rev-parse", "HEAD")}
    with pytest.raises(Terminal, match="no repositories from the machine") as refused:
        await open_provider(directory).apply(ref, step({"source": source}))
    assert refused.value.field == "source.git"
    assert "local_sources" in (refused.value.mend or "")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/r", "git://127.0.0.1:1/r", "ssh://127.0.0.1:1/r", "git@localhost.invalid:r"]
)
async def test_remote_repositories_are_tried(directory: Path, ref: ComponentRef, repository: Path, url: str) -> None:
    with pytest.raises(StepFailure) as failure:
        await open_provider(directory).apply(ref, step({"source": {"git": url}}))
    assert "machine of the twin" not in failure.value.message


async def test_what_the_app_leaves_in_its_scratch_directory_says_nothing_to_git(
    provider: ProcessProvider, ref: ComponentRef, repository: Path
) -> None:
    inputs = {"source": {"git": str(repository)}, "stop_grace": 0}
    applied = await provider.apply(ref, step(inputs))
    scratch = Path(ask(applied.outputs["url"])["env"]["TMPDIR"])
    git(scratch, "init", "--quiet")
    git(scratch, "config", "url./nowhere.insteadOf", str(repository))
    assert (await provider.apply(ref, step(inputs))).outputs == applied.outputs


async def test_no_protocol_of_a_file_reaches_git_either(tmp_path: Path, repository: Path) -> None:
    """What is taken for a remote address and leads to a file all the same, such as by a rewritten URL."""

    async def beat() -> None:
        return

    remote = Repository(
        GitSource("https://localhost/r"),
        target="test",
        account=None,
        settings=Config(directory="/nowhere"),
        marks={},
        deadline=datetime.now(UTC) + timedelta(seconds=30),
        beat=beat,
    )
    remote.url = str(repository)
    with pytest.raises(Terminal, match="transport 'file' not allowed"):
        await remote.resolve(tmp_path)


async def test_the_build_runs_once_per_source(provider: ProcessProvider, ref: ComponentRef, tmp_path: Path) -> None:
    count = tmp_path / "count"
    inputs = {"build": ["sh", "-c", f"echo built >> {count}; env > seen"], "env": {"TOKEN": "s3cr3t-planted"}}
    applied = await provider.apply(ref, step(inputs))
    seen = read(ask(applied.outputs["url"])["cwd"], "seen")
    assert "s3cr3t-planted" not in seen, "a build sees no secret"
    await provider.apply(ref, step({**inputs, "replicas": 2, "env": {"TOKEN": "another"}}))
    assert count.read_text() == "built\n"
    await provider.apply(ref, step(inputs, content=bundle({"more": "x"}), digest="b2"))
    assert count.read_text() == "built\nbuilt\n"


async def test_what_a_build_makes_unwritable_can_be_removed(provider: ProcessProvider, ref: ComponentRef) -> None:
    build = ["sh", "-c", "mkdir -p a/b && touch a/b/c && chmod 500 a/b a"]
    await provider.apply(ref, step({"build": build}))
    await provider.remove(ref, step({}))
    assert [resource async for resource in provider.owned(ref.environment)] == []


async def test_a_failing_build_names_its_last_lines(provider: ProcessProvider, ref: ComponentRef) -> None:
    with pytest.raises(Terminal, match=r"exit code 7.*\nno compiler") as failure:
        await provider.apply(ref, step({"build": ["sh", "-c", "echo no compiler; exit 7"]}))
    assert failure.value.field == "build"
    with pytest.raises(Terminal, match="exit code 127"):
        await provider.apply(ref, step({"build": ["no-such-compiler"]}))


async def test_a_build_dies_with_its_worker(
    provider: ProcessProvider, ref: ComponentRef, directory: Path, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    inputs = {"build": ["sh", "-c", f"sleep 1000 & echo $! > {pipe}; wait"]}
    arguments = [str(directory), ref.environment, "100", json.dumps(inputs)]
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.providers.process_driver", *arguments, stdout=subprocess.DEVNULL
    )
    builder = psutil.Process(int(await asyncio.to_thread(pipe.read_text)))
    worker.send_signal(signal.SIGKILL)
    await worker.wait()
    builder.wait(5)
    # the guard itself may still be on its way out
    for left in processes(ref.name):
        left.wait(5)
    assert processes(ref.name) == []


async def test_cancelling_ends_a_build(provider: ProcessProvider, ref: ComponentRef, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    inputs = {"build": ["sh", "-c", f"echo $$ > {pipe}; sleep 1000"]}
    applying = asyncio.create_task(provider.apply(ref, step(inputs)))
    await asyncio.to_thread(pipe.read_text)
    applying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await applying
    assert processes(ref.name) == []


def member(name: str, kind: bytes = tarfile.REGTYPE, **more: Any) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type = kind
    for attribute, value in more.items():
        setattr(made, attribute, value)
    return made


def packed(*members: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        for each in members:
            archive.addfile(each, io.BytesIO(b"x" * each.size))
    return out.getvalue()


@pytest.mark.parametrize(
    "members",
    [
        [member("../outside")],
        [member("a/../../outside")],
        [member("a/..", tarfile.DIRTYPE)],
        [member("/tmp/outside-of-a-bundle")],
        [member("..\\outside")],
        [member("a", pax_headers={"path": "a\0b"})],
        [member("inside", tarfile.SYMTYPE, linkname="/etc/passwd")],
        [member("inside", tarfile.SYMTYPE, linkname="also-inside")],
        [member("inside", tarfile.LNKTYPE, linkname="/etc/passwd")],
        [member("inside", tarfile.CHRTYPE)],
        [member("inside", tarfile.FIFOTYPE)],
        [member("inside", tarfile.GNUTYPE_SPARSE)],
        [member("x" * 300)],
    ],
    ids=lambda members: f"{members[0].name[:20]!r} of type {members[0].type!r}",
)
def test_a_bundle_cannot_reach_out_of_its_tree(tmp_path: Path, members: list[tarfile.TarInfo]) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    with pytest.raises(Terminal, match="unsafe"):
        unpack(packed(*members), tree)
    assert [path for path in tree.rglob("*") if path.is_file() or path.is_symlink()] == []
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]
    assert not Path("/tmp/outside-of-a-bundle").exists()


def test_a_bundle_writes_through_nothing_that_is_there(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "folder").symlink_to(outside)
    (tree / "file").symlink_to(outside / "file")
    (tree / "dangling").symlink_to(outside / "new")
    for name in ("folder/file", "folder/deep/file", "file", "dangling"):
        with pytest.raises(Terminal, match="unsafe"):
            unpack(packed(member(name, size=1)), tree)
    for twice in (["a", "a"], ["b", "b/c"]):
        with pytest.raises(Terminal, match="unsafe"):
            unpack(packed(*(member(name) for name in twice)), tree)
    assert [(path.name, path.read_text()) for path in outside.iterdir()] == [("file", "mine")]


def test_a_bundle_gives_plain_files_whatever_their_modes(tmp_path: Path) -> None:
    long = "/".join(["long" * 20] * 4)
    unpack(
        packed(
            member(".", tarfile.DIRTYPE),
            member("./bin", tarfile.DIRTYPE, mode=0o000),
            member("./bin/run", mode=0o4711, size=3),
            member("data", mode=0o666, size=2 * 1024**2),
            member(f"{long}/ä", mode=0o000),
        ),
        tmp_path,
    )
    files = {str(path.relative_to(tmp_path)): path for path in tmp_path.rglob("*") if path.is_file()}
    assert {name: (path.stat().st_mode & 0o7777, path.stat().st_size) for name, path in files.items()} == {
        "bin/run": (0o755, 3),
        "data": (0o644, 2 * 1024**2),
        f"{long}/ä": (0o644, 0),
    }


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
@pytest.mark.parametrize("size", [-512, -(2**40), 2**32])
def test_sizes_that_no_bundle_has_end_it(tmp_path: Path, kind: bytes, size: int) -> None:
    # CVE-2025-8194: tarfile goes back by a negative size and reads the same header for ever
    header = member("x", kind, size=size).tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(Terminal):
        unpack(gzip.compress(member("first").tobuf() + header + bytes(10240)), tmp_path)


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"not a tar", bundle()[:-20]):
        with pytest.raises(Terminal, match="cannot be unpacked"):
            unpack(content, tmp_path)
