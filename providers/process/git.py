"""Fetching a source with the git program, from servers and repositories that nobody vouches for.

No prompts, no configuration of the machine, no secret in an argv. Nothing that a repository holds makes git run a
program or ask another server: no hooks, no filters (these are configured, and nothing is), no submodules, no redirects.
Size and time are bounded while it is fetched.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

from providers.process.access import ANYBODY, Credential, address_of, fitting
from providers.process.account import Account
from providers.process.client import run_guarded
from providers.process.errors import blocked_by_git, git_failure, source_too_large, source_too_slow
from providers.process.measuring import MOST_FILES, Inventory, on_disk, stray_link
from providers.process.spec import Config, GitSource
from twin.children.environment import PATH, network
from twin.children.hiding import words_to_hide
from twin.children.running import Output
from twin.domain.errors import Terminal

_COMMIT = re.compile(r"^[0-9a-f]{40}([0-9a-f]{24})?$")
# What git fetches over the network: a URL, or its short form for ssh (git@host:path). All else is a file of this
# machine or runs a program (ext::, fd::).
_REMOTE = re.compile(r"(https?|ssh|git)://|(?!file:)(?!-)[^/:\s]+:(?!:|//)")
_HELPER = '!f() { echo "username=$TWIN_GIT_USER"; echo "password=$TWIN_GIT_PASSWORD"; }; f'

SETTINGS: Mapping[str, str] = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.attributesFile": "/dev/null",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "core.bigFileThreshold": "16m",  # above it blobs are streamed and never held in memory
    "credential.helper": "",
    "fetch.recurseSubmodules": "false",
    "fetch.unpackLimit": "1",  # all in one file, whose size the system bounds
    "gc.auto": "0",
    "http.followRedirects": "false",  # credentials would follow, and so would we, to hosts that nobody named
    "http.lowSpeedLimit": "1000",  # bytes a second
    "http.lowSpeedTime": "60",
    "maintenance.auto": "false",
    "submodule.recurse": "false",
    "transfer.bundleURI": "false",
}
"""What git is told about every repository, whatever its defaults are."""

_MEMORY = 2 << 30
"""Bytes that git may hold: objects other than blobs are held whole, and may be packed to nearly nothing."""

_TOO_LARGE = re.compile(r"signal 25\b|file too large|out of memory", re.IGNORECASE)
_KILLED_BY_SIZE = 128 + 25  # SIGXFSZ


class Repository:
    """One remote repository, worked on through a scratch directory. Its time begins when it is made."""

    def __init__(
        self,
        source: GitSource,
        *,
        target: str,
        account: Account | None,
        settings: Config,
        credentials: tuple[Credential, ...] = (),
        marks: dict[str, str],
        deadline: datetime,
        beat: Callable[[], Awaitable[None]],
    ) -> None:
        protocols = "git:http:https:ssh"
        if settings.local_sources:
            protocols += ":file"
        elif not _REMOTE.match(source.git):
            raise Terminal(
                f"Process target {target!r} takes no repositories from the machine of the twin.",
                field="source.git",
                mend="Use a URL by https, http, ssh or git, or have the target's config say `local_sources: true`.",
            )
        self.ref = source.ref
        self.target = target
        self.account = account
        self.settings = settings
        self.marks = marks
        self.deadline = deadline
        self.until = min(deadline, datetime.now(UTC) + timedelta(seconds=settings.fetch_timeout))
        self.beat = beat
        self.url, self.origin = source.git, ""
        self.credential: Credential | None = None
        user = password = ""
        if re.match(r"https?://", source.git, re.IGNORECASE):
            user, password = self._login(source.git, credentials)
        self.hidden = words_to_hide([source.git, password, f"{user}:{password}"]) if password else []
        self.env = {
            "PATH": PATH,
            "LANG": "C.UTF-8",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TEMPLATE_DIR": "",
            "HOME": "/nonexistent",
            "GIT_ALLOW_PROTOCOL": protocols,
            "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
            "TWIN_GIT_USER": user,
            "TWIN_GIT_PASSWORD": password,
            **network("GIT_SSL_CAINFO"),
            **marks,
        }

    def _login(self, url: str, credentials: tuple[Credential, ...]) -> tuple[str, str]:
        """User and password for the server: those in the URL, which stay out of argv, or what the target has for it."""
        address = address_of(url)
        if address is None:
            raise Terminal(
                "source.git is no plain address.",
                field="source.git",
                mend="Give https://HOST/PATH, with no spaces, backslashes, queries or fragments.",
            )
        self.origin = address.origin
        if address.login is not None:
            self.url = url.replace(f"{address.login}@", "", 1)
            user, _, password = address.login.partition(":")
            # a token alone may stand in the place of the user
            return (unquote(user), unquote(password)) if password else (ANYBODY, unquote(user))
        self.credential = fitting(credentials, address)
        return (self.credential.user, self.credential.password) if self.credential is not None else ("", "")

    async def resolve(self, scratch: Path) -> str:
        """The commit that the ref names now. Raises Terminal if there is none."""
        if _COMMIT.match(self.ref):
            return self.ref
        names = (self.ref, f"refs/heads/{self.ref}", f"refs/tags/{self.ref}^{{}}", f"refs/tags/{self.ref}")
        # no git-dir: the scratch directory is the app's to write in, and may lie within some repository
        listed = await self._git(scratch, f"--git-dir={os.devnull}", "ls-remote", "--", self.url, *names)
        known = {name: commit for commit, tab, name in (line.partition("\t") for line in listed.splitlines()) if tab}
        for name in names:
            if commit := known.get(name):
                return commit
        raise Terminal(
            f"The repository has no branch, tag or full commit {self.ref!r}.",
            field="source.ref",
            mend="Name a branch or tag, or a commit by all of its 40 digits.",
        )

    async def fetch(self, commit: str, tree: Path) -> None:
        """The files of a commit in `tree`, an empty directory, without the repository's history. Raises Terminal for
        what is too large, takes too long, or leads out of the tree."""
        await self._git(tree, "init", "--quiet", "--template=")
        history, most = tree / ".git", self.settings.max_source_bytes

        async def judge() -> None:
            if await asyncio.to_thread(on_disk, history) > most:
                raise source_too_large(self.target, "a history", most)

        one = await self._run(tree, "fetch", "--quiet", "--no-tags", "--depth=1", "--", self.url, commit, judge=judge)
        if one.code:  # a server need not give a commit that is not a branch's tip: then take all
            every = "+refs/heads/*:refs/remotes/twin/*"
            all_ = await self._run(tree, "fetch", "--quiet", "--tags", "--", self.url, every, judge=judge)
            if all_.code:
                raise git_failure(self.target, all_.text, self.credential)
        await self._measure(tree, commit)
        checked_out = await self._run(tree, "checkout", "--quiet", "--force", "--detach", commit)
        if checked_out.code:
            raise git_failure(self.target, checked_out.text)
        await asyncio.to_thread(shutil.rmtree, history)
        # once more, as they are: attributes may have them written in an encoding that takes more
        if await asyncio.to_thread(on_disk, tree) > most:
            raise source_too_large(self.target, "files", most)
        if stray := await asyncio.to_thread(stray_link, tree):
            raise Terminal(
                f"The commit's link {stray!r} leads out of the source.",
                field="source.git",
                mend="Have it lead to a file of the repository, by a relative path.",
            )

    async def _measure(self, tree: Path, commit: str) -> None:
        """Whether the commit's files may be written, before any is."""
        found = Inventory()

        async def judge() -> None:
            if found.files > MOST_FILES:
                raise Terminal(
                    f"The commit has more than {MOST_FILES} files.", field="source.git", mend="Have it hold fewer."
                )
            if found.bytes > self.settings.max_source_bytes:
                raise source_too_large(self.target, "files", self.settings.max_source_bytes)

        listed = await self._run(tree, "ls-tree", "-r", "-l", "--full-tree", commit, on_line=found.line, judge=judge)
        await judge()
        if listed.code:
            raise Terminal(f"The repository has no commit {commit}.", field="source.ref")

    async def _git(self, cwd: Path, *arguments: str) -> str:
        output = await self._run(cwd, *arguments)
        if output.code:
            raise git_failure(self.target, output.text, self.credential)
        return output.text

    async def _run(
        self,
        cwd: Path,
        *arguments: str,
        on_line: Callable[[str], None] | None = None,
        judge: Callable[[], Awaitable[None]] | None = None,
    ) -> Output:
        """Raises Terminal if it takes too much room or time, TimeoutError if the step has no more, and what `judge`,
        asked each second, raises."""
        program = shutil.which("git", path=PATH)
        if program is None:
            raise blocked_by_git(self.target)
        options = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        if self.env["TWIN_GIT_PASSWORD"]:
            # for this server alone: git itself asks no helper for another one
            options += ["-c", f"credential.{self.origin}.helper={_HELPER}"]
        most = self.settings.max_source_bytes

        async def watch() -> None:
            await self.beat()
            if judge is not None:
                await judge()

        try:
            output = await run_guarded(
                [program, *options, *arguments],
                target=self.target,
                account=self.account,
                cwd=cwd,
                env=self.env,
                marks=self.marks,
                deadline=self.until,
                beat=watch,
                secrets=self.hidden,
                on_line=on_line,
                limits={"FSIZE": most, "DATA": _MEMORY, "CORE": 0},
            )
        except TimeoutError:
            if self.until < self.deadline:
                raise source_too_slow(self.target, self.settings.fetch_timeout) from None
            raise
        if output.code == _KILLED_BY_SIZE or (output.code and _TOO_LARGE.search(output.text)):
            raise source_too_large(self.target, "a history", most)
        return output
