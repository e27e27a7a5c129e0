"""Repositories and servers that mean no good: nothing of theirs is run, asked, followed or kept, and all is bounded."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from providers.process.git import Repository
from providers.process.measuring import MOST_FILES, Inventory, on_disk
from providers.process.provider import ProcessProvider
from providers.process.spec import Config, GitSource
from tests.providers.git_server import GitServer, git_server
from tests.providers.process_world import open_provider, step
from twin.domain.errors import StepFailure, Terminal, Transient
from twin.testing.steps import make_ref

MIB = 1 << 20


def git(repository: Path, *arguments: str, **more: Any) -> str:
    settings = ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "init.defaultBranch=main"]
    return subprocess.check_output(["git", "-C", str(repository), *settings, *arguments], text=True, **more).strip()


class Repo:
    """A repository that the server serves."""

    def __init__(self, server: GitServer, name: str = "app") -> None:
        self.path = server.root / name
        self.path.mkdir(parents=True)
        git(self.path, "init", "--quiet")
        self.url = f"{server.url}/{name}/.git"

    def commit(self, **files: str | bytes) -> str:
        for name, content in files.items():
            path = self.path / name.replace("__", ".")
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        git(self.path, "add", "--all")
        git(self.path, "commit", "--quiet", "-m", "more")
        return self.head()

    def commit_tree(self, tree: str) -> str:
        """A commit of a tree that git would not make of files."""
        commit = git(self.path, "commit-tree", tree, "-m", "strange")
        git(self.path, "update-ref", "refs/heads/main", commit)
        return commit

    def tree(self, *entries: str) -> str:
        """`<mode> <type> <object>\t<name>`"""
        return git(self.path, "mktree", input="".join(f"{each}\n" for each in entries))

    def blob(self, content: str) -> str:
        return git(self.path, "hash-object", "-w", "--stdin", input=content)

    def head(self) -> str:
        return git(self.path, "rev-parse", "HEAD")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    with git_server(tmp_path / "served") as server:
        yield server


@pytest.fixture
def repo(server: GitServer) -> Repo:
    return Repo(server)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "tree"
    path.mkdir()
    return path


async def beat() -> None:
    """Nobody wants to know."""


def opened(url: str, ref: str = "main", *, seconds: float = 60, **config: Any) -> Repository:
    return Repository(
        GitSource(url, ref),
        target="test",
        account=None,
        settings=Config(directory="/nowhere", **config),
        marks={},
        deadline=datetime.now(UTC) + timedelta(seconds=seconds),
        beat=beat,
    )


async def fetched(url: str, tree: Path, ref: str = "main", **more: Any) -> list[str]:
    """The files that came, by their places."""
    repository = opened(url, ref, **more)
    await repository.fetch(await repository.resolve(tree), tree)
    return files(tree)


def files(tree: Path) -> list[str]:
    return sorted(str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_symlink() or path.is_file())


async def refused(url: str, tree: Path, ref: str = "main", **more: Any) -> StepFailure:
    with pytest.raises(StepFailure) as caught:
        await fetched(url, tree, ref, **more)
    return caught.value


# -- nothing is run


async def test_what_is_configured_on_the_machine_does_not_count(
    repo: Repo, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Filters, hooks and monitors are programs that somebody has to configure: whoever runs the twin may have."""
    owned = tmp_path / "owned"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\necho run >> {owned}\ncat\n")
    program.chmod(0o755)
    home = tmp_path / "home"
    hooks = home / "template" / "hooks"
    hooks.mkdir(parents=True)
    for hook in ("post-checkout", "reference-transaction", "post-index-change"):
        (hooks / hook).symlink_to(program)
    (home / "attributes").write_text("* filter=evil\n")
    (home / ".gitconfig").write_text(
        f'[filter "evil"]\n smudge = {program}\n process = {program}\n required = true\n'
        f'[filter "lfs"]\n smudge = {program}\n process = {program}\n required = true\n'
        f"[core]\n fsmonitor = {program}\n sshCommand = {program}\n hooksPath = {hooks}\n"
        f" attributesFile = {home}/attributes\n askPass = {program}\n"
        f'[credential]\n helper = "!{program}"\n[protocol]\n allow = always\n'
        f'[url "ext::{program} "]\n insteadOf = http://\n'
    )
    for name, value in {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"),
        "GIT_TEMPLATE_DIR": str(home / "template"),
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.fsmonitor",
        "GIT_CONFIG_VALUE_0": str(program),
        "GIT_ASKPASS": str(program),
        "GIT_EXTERNAL_DIFF": str(program),
        "GIT_SSH": str(program),
        "GIT_PROXY_COMMAND": str(program),
    }.items():
        monkeypatch.setenv(name, value)
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12345\n"
    with monkeypatch.context() as clean:
        for name in ("HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_COUNT", "GIT_TEMPLATE_DIR", "XDG_CONFIG_HOME"):
            clean.delenv(name)
        clean.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        attributes = "*.bin filter=lfs diff=lfs merge=lfs\n*.txt filter=evil\n"
        repo.commit(__gitattributes=attributes, large__bin=pointer, plain__txt="plain")
    assert await fetched(repo.url, tree) == [".gitattributes", "large.bin", "plain.txt"]
    assert (tree / "large.bin").read_text() == pointer
    assert (tree / "plain.txt").read_text() == "plain"
    assert not owned.exists()


async def test_a_tree_that_would_write_into_gits_own_folder_is_refused(repo: Repo, tree: Path, tmp_path: Path) -> None:
    owned = tmp_path / "owned"
    hook = repo.blob(f"#!/bin/sh\ntouch {owned}\n")
    config = repo.blob(f"[core]\n fsmonitor = touch {owned}\n")
    for name in (".git", ".GIT", "git~1", ".g\u200cit"):
        hooks = repo.tree(f"100755 blob {hook}\tpost-checkout")
        folder = repo.tree(f"040000 tree {hooks}\thooks", f"100644 blob {config}\tconfig")
        repo.commit_tree(repo.tree(f"040000 tree {folder}\t{name}"))
        assert isinstance(await refused(repo.url, tree), Terminal)
        assert not owned.exists()
        assert [path for path in files(tree) if not path.startswith(".git/")] == []
        shutil.rmtree(tree / ".git")


# -- nobody else is asked


async def test_submodules_stay_away(repo: Repo, server: GitServer, tree: Path, tmp_path: Path) -> None:
    with git_server(tmp_path / "other") as other:
        inner = Repo(other, "inner")
        at = inner.commit(secret__txt="x")
        modules = f'[submodule "inner"]\n path = inner\n url = {inner.url}\n update = !touch {tmp_path}/owned\n'
        file = repo.blob(modules)
        repo.commit_tree(repo.tree(f"160000 commit {at}\tinner", f"100644 blob {file}\t.gitmodules"))
        assert await fetched(repo.url, tree) == [".gitmodules"]
        assert other.asked == []
    assert not (tmp_path / "owned").exists()
    assert server.asked != []


@pytest.mark.parametrize("ref", ["main", "a" * 40])
async def test_redirects_are_not_followed(repo: Repo, server: GitServer, tree: Path, tmp_path: Path, ref: str) -> None:
    repo.commit(file="x")
    with git_server(tmp_path / "other") as other:
        server.elsewhere = other.url
        failure = await refused(repo.url.replace("://", "://user:hunter2-hunter2@"), tree, ref)
        assert isinstance(failure, Terminal)
        assert "no redirect is followed" in failure.message
        assert failure.field == "source.git"
        assert other.asked == []


# -- nothing leads out


@pytest.mark.parametrize(
    ("where", "to"),
    [
        ("link", "/etc/passwd"),
        ("link", "../outside"),
        ("folder/link", "../../outside"),
        ("link", "folder/../../outside"),
        ("folder/link", "up/../../outside"),
        ("link", ".."),
    ],
)
async def test_a_link_that_leads_out_is_refused(repo: Repo, tree: Path, where: str, to: str) -> None:
    (repo.path / "folder" / "deep").mkdir(parents=True)
    (repo.path / "folder" / "up").symlink_to("deep/..")
    (repo.path / where).symlink_to(to)
    repo.commit(file="x")
    failure = await refused(repo.url, tree)
    assert isinstance(failure, Terminal)
    assert where in failure.message


async def test_links_within_stay_links(repo: Repo, tree: Path) -> None:
    (repo.path / "folder").mkdir()
    for where, to in (("link", "file"), ("folder/up", "../file"), ("here", "folder"), ("dangling", "folder/nothing")):
        (repo.path / where).symlink_to(to)
    (repo.path / "loop").symlink_to("loop")
    repo.commit(file="x")
    assert await fetched(repo.url, tree) == ["dangling", "file", "folder/up", "here", "link", "loop"]
    assert (tree / "folder" / "up").read_text() == "x"


# -- all is bounded


async def test_a_large_history_ends_while_it_comes(repo: Repo, server: GitServer, tree: Path) -> None:
    noise = random.Random(6).randbytes(24 * MIB)
    repo.commit(noise=noise)
    failure = await refused(repo.url, tree, max_source_bytes=MIB)
    assert isinstance(failure, Terminal)
    assert "too large" in failure.message
    assert "max_source_bytes" in (failure.mend or "")
    assert server.sent < 16 * MIB, "it was not taken to its end"
    assert on_disk(tree) <= 2 * MIB


async def test_what_is_packed_to_nothing_is_not_unpacked(repo: Repo, tree: Path) -> None:
    repo.commit(zeros=bytes(64 * MIB))
    failure = await refused(repo.url, tree, max_source_bytes=MIB)
    assert isinstance(failure, Terminal)
    assert "too large" in failure.message
    assert not (tree / "zeros").exists()


async def test_many_small_files_count_together(repo: Repo, tree: Path) -> None:
    repo.commit(**{f"file-{number}": bytes(100_000) for number in range(20)})
    assert "too large" in (await refused(repo.url, tree, max_source_bytes=MIB)).message
    assert not (tree / "file-0").exists()


async def test_what_an_encoding_makes_large_counts_too(repo: Repo, tree: Path) -> None:
    attributes = repo.blob("*.txt working-tree-encoding=UTF-32LE\n")
    large = repo.blob("x" * (MIB // 2))
    repo.commit_tree(repo.tree(f"100644 blob {attributes}\t.gitattributes", f"100644 blob {large}\tlarge.txt"))
    assert "too large" in (await refused(repo.url, tree, max_source_bytes=MIB)).message


async def test_some_kilobytes_are_not_millions_of_files(repo: Repo, tree: Path) -> None:
    """https://kate.io/blog/git-bomb: each tree holds the one before ten times over."""
    entry = f"100644 blob {repo.blob('x')}"
    for _ in range(8):
        ten = [f"{entry}\tn{number}" for number in range(10)]
        entry = f"040000 tree {repo.tree(*ten)}"
    repo.commit_tree(entry.split()[-1])
    failure = await refused(repo.url, tree)
    assert isinstance(failure, Terminal)
    assert str(MOST_FILES) in failure.message
    assert files(tree) == [path for path in files(tree) if path.startswith(".git/")]


async def test_a_server_that_does_not_answer_is_given_up(repo: Repo, server: GitServer, tree: Path) -> None:
    repo.commit(file="x")
    server.silent = True
    failure = await refused(repo.url, tree, fetch_timeout=1.0)
    assert isinstance(failure, Terminal)
    assert "within 1 s" in failure.message
    assert "fetch_timeout" in (failure.mend or "")
    with pytest.raises(TimeoutError):  # the step's own time: another attempt follows
        await fetched(repo.url, tree, seconds=1.0)


async def test_a_server_that_is_not_there_is_tried_again(tree: Path) -> None:
    assert isinstance(await refused("http://127.0.0.1:1/app.git", tree), Transient)


async def test_what_is_refused_leaves_nothing_on_the_disk(repo: Repo, tmp_path: Path) -> None:
    repo.commit(noise=random.Random(6).randbytes(8 * MIB))
    directory = tmp_path / "target"
    provider: ProcessProvider = open_provider(directory, max_source_bytes=MIB)
    ref = make_ref("app", type="process.service")
    with pytest.raises(Terminal, match="too large") as refused_:
        await provider.apply(ref, step({"source": {"git": repo.url, "ref": "main"}}))
    assert refused_.value.field == "source.git"
    assert on_disk(directory) < MIB
    await provider.remove(ref, step({"stop_grace": 0}))


def test_lines_of_a_listing_are_counted_whatever_paths_hold() -> None:
    found = Inventory()
    for line in (
        "100644 blob aaa      12\tfile",
        "160000 commit bbb       -\tinner",
        '100644 blob ccc  3\t"a\\tb"',
        "rest",
    ):
        found.line(line)
    assert (found.files, found.bytes) == (3, 15)
