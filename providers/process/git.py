"""Fetching a source with the git program: no prompts, no configuration of the machine, no secret in an argv."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from providers.process.account import Account
from providers.process.client import run_guarded
from providers.process.errors import blocked_by_git, git_failure
from providers.process.spec import GitSource
from twin.children.environment import PATH, network
from twin.children.hiding import words_to_hide
from twin.children.running import Output
from twin.domain.errors import Terminal

_COMMIT = re.compile(r"^[0-9a-f]{40}([0-9a-f]{24})?$")
# What git fetches over the network: a URL, or its short form for ssh (git@host:path). All else is a file of this
# machine or runs a program (ext::, fd::).
_REMOTE = re.compile(r"(https?|ssh|git)://|(?!file:)(?!-)[^/:\s]+:(?!:|//)")
_HELPER = '!f() { echo "username=$TWIN_GIT_USER"; echo "password=$TWIN_GIT_PASSWORD"; }; f'


class Repository:
    """One remote repository, worked on through a scratch directory."""

    def __init__(
        self,
        source: GitSource,
        *,
        target: str,
        account: Account | None,
        local_sources: bool,
        marks: dict[str, str],
        deadline: datetime,
        beat: Callable[[], Awaitable[None]],
    ) -> None:
        protocols = "git:http:https:ssh"
        if local_sources:
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
        self.marks = marks
        self.deadline = deadline
        self.beat = beat
        self.url, user, password = _without_credentials(source.git)
        self.hidden = words_to_hide([source.git, password]) if password else []
        self.env = {
            "PATH": PATH,
            "LANG": "C.UTF-8",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "HOME": "/nonexistent",
            "GIT_ALLOW_PROTOCOL": protocols,
            "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
            "TWIN_GIT_USER": user,
            "TWIN_GIT_PASSWORD": password,
            **network("GIT_SSL_CAINFO"),
            **marks,
        }

    async def resolve(self, scratch: Path) -> str:
        """The commit that the ref names now. Raises Terminal if there is none."""
        if _COMMIT.match(self.ref):
            return self.ref
        # no git-dir: the scratch directory is the app's to write in, and may lie within some repository
        listed = await self._git(scratch, f"--git-dir={os.devnull}", "ls-remote", "--", self.url)
        known = {name: commit for commit, tab, name in (line.partition("\t") for line in listed.splitlines()) if tab}
        for name in (self.ref, f"refs/heads/{self.ref}", f"refs/tags/{self.ref}^{{}}", f"refs/tags/{self.ref}"):
            if commit := known.get(name):
                return commit
        raise Terminal(
            f"The repository has no branch, tag or full commit {self.ref!r}.",
            field="source.ref",
            mend="Name a branch or tag, or a commit by all of its 40 digits.",
        )

    async def fetch(self, commit: str, tree: Path) -> None:
        """The files of a commit in `tree`, an empty directory, without the repository's history."""
        await self._git(tree, "init", "--quiet")
        one = await self._run(tree, "fetch", "--quiet", "--depth=1", "--", self.url, commit)
        if one.code:  # a server need not give a commit that is not a branch's tip: then take all
            await self._git(tree, "fetch", "--quiet", "--tags", "--", self.url, "+refs/heads/*:refs/remotes/twin/*")
        checked_out = await self._run(tree, "checkout", "--quiet", "--force", "--detach", commit)
        if checked_out.code:
            raise Terminal(f"The repository has no commit {commit}.", field="source.ref")
        shutil.rmtree(tree / ".git")

    async def _git(self, cwd: Path, *arguments: str) -> str:
        output = await self._run(cwd, *arguments)
        if output.code:
            raise git_failure(self.target, output.text)
        return output.text

    async def _run(self, cwd: Path, *arguments: str) -> Output:
        program = shutil.which("git", path=PATH)
        if program is None:
            raise blocked_by_git(self.target)
        options = ["-c", "core.hooksPath=/dev/null", "-c", "credential.helper="]
        if self.env["TWIN_GIT_PASSWORD"]:
            options += ["-c", f"credential.helper={_HELPER}"]
        return await run_guarded(
            [program, *options, *arguments],
            target=self.target,
            account=self.account,
            cwd=cwd,
            env=self.env,
            marks=self.marks,
            deadline=self.deadline,
            beat=self.beat,
            secrets=self.hidden,
        )


def _without_credentials(url: str) -> tuple[str, str, str]:
    """The URL for an argv, and its user and password for git's credential helper."""
    if not re.match(r"https?://", url):
        return url, "", ""
    parts = urlsplit(url)
    if not (parts.username or parts.password):
        return url, "", ""
    # a token alone may stand in the place of the user
    host = parts.netloc.rpartition("@")[2]
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return urlunsplit(parts._replace(netloc=host)), user, password or user
