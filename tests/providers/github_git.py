"""The git side of the loopback's GitHub: bare repositories below a directory, served by git's own HTTP backend."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.providers.git_server import backend_environment
from twin.testing.loopback import Answer, Call

_ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "ada",
    "GIT_AUTHOR_EMAIL": "ada@twin.example",
    "GIT_COMMITTER_NAME": "ada",
    "GIT_COMMITTER_EMAIL": "ada@twin.example",
}


class Repositories:
    """Whoever asks may fetch, without a credential; commits are made here."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def add(self, full_name: str, *, fork_of: str | None = None) -> None:
        """An empty repository, or a fork with all that another one has."""
        path = self._path(full_name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if fork_of is not None:
            shutil.copytree(self._path(fork_of), path)
            return
        subprocess.run(
            ["git", "init", "--quiet", "--bare", "--initial-branch=main", str(path)], env=_ENVIRONMENT, check=True
        )

    def commit(self, full_name: str, branch: str, files: Mapping[str, str], *, on: str = "main") -> str:
        """One more commit of a branch, which begins where `on` is; its id."""
        ref = f"refs/heads/{branch}"
        base = next((each for each in (ref, f"refs/heads/{on}") if self._has(full_name, each)), None)
        lines = [f"commit {ref}", "committer ada <ada@twin.example> now", "data 8", "A change"]
        lines += [f"from {base}^0"] if base is not None else []
        stream = "\n".join([*lines, ""]).encode()
        for name, text in files.items():
            data = text.encode()
            stream += f"M 644 inline {name}\ndata {len(data)}\n".encode() + data + b"\n"
        self._git(full_name, "fast-import", "--quiet", "--date-format=now", given=stream)
        return self._git(full_name, "rev-parse", ref)

    async def answer(self, call: Call) -> Answer:
        """What git's backend answers to `/owner/name.git/…`."""
        environment = backend_environment(self._directory, call.method, call.target, call.headers.get, len(call.body))
        backend = await asyncio.create_subprocess_exec(
            "git", "http-backend", env=environment, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        try:
            said, _ = await backend.communicate(call.body)
        finally:
            if backend.returncode is None:
                backend.kill()
                await backend.wait()
        head, _, body = said.partition(b"\r\n\r\n")
        pairs = (line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        headers = {name.lower(): value for name, value in pairs}
        status = int(headers.pop("status", "200 OK").split()[0])
        return Answer(status=status, headers=headers, body=body)

    def _path(self, full_name: str) -> Path:
        return self._directory / f"{full_name}.git"

    def _has(self, full_name: str, ref: str) -> bool:
        return self._run(full_name, "rev-parse", "--verify", "--quiet", ref).returncode == 0

    def _git(self, full_name: str, *words: str, given: bytes = b"") -> str:
        done = self._run(full_name, *words, given=given)
        assert done.returncode == 0, f"git {words}: {done.stderr.decode()}"
        return done.stdout.decode().strip()

    def _run(self, full_name: str, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["git", "--git-dir", str(self._path(full_name)), *words],
            env=_ENVIRONMENT,
            input=given,
            capture_output=True,
            check=False,
            timeout=60,
        )
