"""The operating system's user that a target's commands run as, if that is another than the twin's own."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from msgspec import Struct

from providers.process.spec import Config
from twin.children.running import User
from twin.domain.errors import Blocked, Invalid


class Account(Struct, frozen=True):
    """A user with its first group; it has no other while it runs a command of ours."""

    name: str
    uid: int
    gid: int

    @property
    def user(self) -> User:
        """Its numbers, as children are started with them."""
        return User(self.uid, self.gid)

    def admit(self, folder: Path) -> None:
        """Let it go through a directory of ours, without seeing what is in it."""
        found = folder.stat()
        if not found.st_mode & self._bit(found):
            folder.chmod(stat.S_IMODE(found.st_mode) | self._bit(found))

    def give(self, tree: Path) -> None:
        """Make a directory its own, with all in it; for those that it could not change meanwhile."""
        for folder, folders, files in os.walk(tree):
            for name in (*folders, *files):
                os.chown(Path(folder, name), self.uid, self.gid, follow_symlinks=False)
        os.chown(tree, self.uid, self.gid, follow_symlinks=False)

    def obstacle(self, directory: Path) -> Path | None:
        """The first directory above `directory` that it cannot go through."""
        for folder in reversed(directory.resolve().parents):
            if folder.exists():
                found = folder.stat()
                if not found.st_mode & self._bit(found):
                    return folder
        return None

    def _bit(self, folder: os.stat_result) -> int:
        """The bit of a directory's mode that says whether it may go through."""
        if folder.st_uid == self.uid:
            return stat.S_IXUSR
        return stat.S_IXGRP if folder.st_gid == self.gid else stat.S_IXOTH


def account(settings: Config) -> Account | None:
    """The account that the target's `user` names. Raises Invalid if nothing can run as it."""
    if settings.user is None:
        return None
    if os.geteuid() != 0:
        raise Invalid(
            "Only a twin that runs as root can run commands as another user.",
            field="config.user",
            mend=f"Run the worker as root, or as {settings.user} itself and leave `user` out.",
        )
    try:
        entry = pwd.getpwnam(settings.user)
    except KeyError:
        raise Invalid(
            f"This machine has no user {settings.user!r}.",
            field="config.user",
            mend=f"Make it (useradd --system {settings.user}), or name another.",
        ) from None
    if entry.pw_uid == 0:
        raise Invalid(
            "root is the user that commands are to be kept from.", field="config.user", mend="Name another user."
        )
    found = Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    if obstacle := found.obstacle(Path(settings.directory)):
        raise Invalid(
            f"The user {found.name} cannot go through {obstacle}, where the target's directory lies.",
            field="config.directory",
            mend=f"Name a directory elsewhere, such as /srv/twin-apps, or: chmod o+x {obstacle}",
        )
    return found


def account_here(target: str, settings: Config) -> Account | None:
    """The same for a worker, whose machine may be another than where the target was checked: Blocked if not."""
    try:
        return account(settings)
    except Invalid as invalid:
        raise Blocked(
            f"Process target {target!r} cannot run commands as {settings.user!r}: {invalid}",
            key=f"process/{target}/user",
            mend=f"{invalid.mend} Then: twin blocks resolve process/{target}/user",
        ) from None
