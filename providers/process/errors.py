"""From what the operating system and git say to the classes of failure: one table, one edge."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from providers.process.access import Credential
from twin.children.hiding import password_of, words_to_hide
from twin.domain.errors import Blocked, StepFailure, Terminal, Transient

_DISK = {errno.ENOSPC, errno.EDQUOT}
_PERMISSION = {errno.EACCES, errno.EPERM, errno.EROFS}
_CAPACITY = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}

_GIT_NETWORK = re.compile(
    r"could not resolve host|connection (refused|timed out|reset)|failed to connect|early eof|rpc failed"
    r"|hung up unexpectedly|network is unreachable|operation (timed out|too slow)|returned error: (5\d\d|429)|tls|ssl",
    re.IGNORECASE,
)
_GIT_ACCESS = re.compile(
    r"authentication failed|could not read (username|password)|permission denied|prompts disabled"
    r"|returned error: 40[13]|host key verification failed|dubious ownership",
    re.IGNORECASE,
)
_GIT_LOGIN = re.compile(r"authentication failed|could not read (username|password)|returned error: 401", re.IGNORECASE)
_GIT_MOVED = re.compile(r"returned error: 30\d", re.IGNORECASE)
_GIT_ABSENT = re.compile(
    r"not found|does not exist|not appear to be a git repository|couldn't find remote ref|not our ref"
    r"|returned error: 404",
    re.IGNORECASE,
)


def blocked_by_disk(target: str, what: str) -> Blocked:
    """The file system of the target's directory is full."""
    return Blocked(
        f"No space is left for process target {target!r}: {what}.",
        key=f"process/{target}/disk",
        mend=f"Free space there, then: twin blocks resolve process/{target}/disk",
    )


def blocked_by_interpreter(target: str, said: str) -> Blocked:
    """The twin's own Python does not start without the variables of whoever started the twin."""
    return Blocked(
        f"Python cannot start in a clean environment on the machine of process target {target!r}: {said}",
        key=f"process/{target}/interpreter",
        mend="Have the twin run on a Python that starts with `env -i` (with LD_LIBRARY_PATH at most), "
        f"then: twin blocks resolve process/{target}/interpreter",
    )


def blocked_by_git(target: str) -> Blocked:
    """No git program."""
    return Blocked(
        f"The machine of process target {target!r} has no git program; components with source.git need it.",
        key=f"process/{target}/git",
        mend=f"Install git there, then: twin blocks resolve process/{target}/git",
    )


def source_too_large(target: str, what: str, most: int) -> Terminal:
    """A repository is more than the target takes."""
    return Terminal(
        f"The repository is too large for process target {target!r}: {what} of more than {most} bytes.",
        field="source.git",
        mend="Keep large files out of the commit and of its repository, or have an admin raise the target's "
        "max_source_bytes.",
    )


def source_too_slow(target: str, seconds: float) -> Terminal:
    """A repository was not fetched in the time that the target gives."""
    return Terminal(
        f"The repository was not fetched within {seconds:g} s, which is all that process target {target!r} gives.",
        field="source.git",
        mend="Retry if its server was slow; else make the repository smaller, or have an admin raise the target's "
        "fetch_timeout.",
    )


@contextmanager
def translated(target: str) -> Iterator[None]:
    """Turn the operating system's errors on our own files and processes into failures that say what happens next."""
    try:
        yield
    except StepFailure:
        raise
    except OSError as error:
        what = f"{error.strerror or type(error).__name__} ({error.filename or 'no file'})"
        if error.errno in _DISK:
            raise blocked_by_disk(target, what) from error
        if error.errno in _PERMISSION:
            raise Blocked(
                f"The twin's user may not use the directory of process target {target!r}: {what}.",
                key=f"process/{target}/permission",
                mend=f"Give the user the directory, then: twin blocks resolve process/{target}/permission",
            ) from error
        if error.errno in _CAPACITY:
            raise Blocked(
                f"The machine of process target {target!r} is out of processes, memory or open files: {what}.",
                key=f"process/{target}/capacity",
                mend=f"Raise the limit or move load away, then: twin blocks resolve process/{target}/capacity",
            ) from error
        raise Transient(f"The machine of process target {target!r} reports: {what}.") from error


def git_failure(target: str, said: str, credential: Credential | None = None) -> StepFailure:
    """What git's last words mean; `said` is already free of secrets. `credential`: that of the target, if one was
    given to the server."""
    last = " ".join(said.split())[-600:]
    if re.search("no space left|disk quota", said, re.IGNORECASE):
        return blocked_by_disk(target, "git could not write")
    if _GIT_MOVED.search(said):
        return Terminal(
            f"The repository is not at this address any more, and no redirect is followed: {last}",
            field="source.git",
            mend="Use the address that it redirects to (https, the present name), if that is to be trusted.",
        )
    if credential is not None and _GIT_LOGIN.search(said):
        key = f"{target}/git/{credential.place.host}"
        return Blocked(
            f"{credential.place.origin} does not take the credential {credential.name!r} of process target {target!r}.",
            key=key,
            mend=f"Give a valid one by adding the target again (--credential {credential.name}=@FILE), "
            f"then: twin blocks resolve {key}",
        )
    if _GIT_ACCESS.search(said):
        return Terminal(
            f"The repository refuses access: {last}",
            field="source.git",
            mend=f"Have an admin give target {target!r} a credential for that server (--credential HOST=@FILE), "
            "or use a URL with a token as a secret reference.",
        )
    if _GIT_ABSENT.search(said):
        return Terminal(f"The repository or the ref does not exist: {last}", field="source.git")
    if _GIT_NETWORK.search(said):
        return Transient(f"The repository cannot be reached: {last}")
    return Terminal(f"git failed: {last}", field="source.git")


def words_to_hide_in_logs(env: Mapping[str, str]) -> list[str]:
    """Like `words_to_hide`, but it leaves ordinary short settings readable (LOG_LEVEL=warning): long values, passwords
    of URLs, and the values of variables whose names say that they are secret."""
    telling = re.compile(r"SECRET|TOKEN|PASS|PWD|KEY|CREDENTIAL|AUTH|DSN|SALT|PRIVATE", re.IGNORECASE)
    plain = [value for value in env.values() if len(value) >= 12]
    named = [value for name, value in env.items() if telling.search(name)]
    passwords = [password for value in env.values() if (password := password_of(value))]
    return sorted({*words_to_hide(plain, 12), *words_to_hide([*named, *passwords])}, key=len, reverse=True)
