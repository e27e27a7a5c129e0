"""Unpacking a bundle into a directory, whoever packed it.

Not by `tarfile`'s own extraction: its filters came with Python 3.11.4, and a bundle (as twin.service.bundles packs it)
holds only plain files, so that little has to be done and all the rest can be refused.
"""

from __future__ import annotations

import errno
import gzip
import io
import os
import stat
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from twin.domain.errors import Terminal

LARGEST_TREE = 2 * 1024**3  # bytes unpacked
MOST_FILES = 200_000
_BLOCK = 1024**2
_IN_THE_WAY = {errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR}


def unpack(bundle: bytes, tree: Path) -> None:
    """Unpack a tar.gz into `tree`, an empty directory; blocks.

    Raises Terminal for members that would land outside of `tree`, for all but plain files and directories, for bombs,
    and for what is no whole tar.gz. OSError is the disk's.
    """
    try:
        with _Forward(fileobj=io.BytesIO(bundle)) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            size = 0
            for count, member in enumerate(archive):
                if member.size < 0:
                    raise tarfile.ReadError(f"{member.name!r} has a negative size")
                size += member.size
                if size > LARGEST_TREE or count >= MOST_FILES:
                    raise Terminal(f"The bundle unpacks to more than {LARGEST_TREE} bytes or {MOST_FILES} files.")
                _place(archive, member, tree)
            while stream.tell() < LARGEST_TREE and stream.read(_BLOCK):
                pass  # to the end, where the checksum is: a bundle that was cut short is none
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError, RecursionError) as error:
        raise Terminal(f"The bundle cannot be unpacked: {error}") from None


class _Forward(gzip.GzipFile):
    """What tarfile reads from: never backwards, never much at once, whatever sizes the headers claim.

    A negative size would otherwise have it read one header for ever (CVE-2025-8194), a large one of a header's own
    extension fill the memory.
    """

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET and offset < self.tell():  # which is seek(0, SEEK_CUR)
            raise tarfile.ReadError("a header leads backwards")
        return super().seek(offset, whence)

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= _BLOCK:
            raise tarfile.ReadError(f"a header claims {size} bytes for itself")
        return super().read(size)


def _place(archive: tarfile.TarFile, member: tarfile.TarInfo, tree: Path) -> None:
    if not (member.isdir() or member.isreg()) or member.issparse():
        raise _unsafe(member, "neither a plain file nor a directory")
    if not member.name or member.name.startswith("/") or "\\" in member.name or "\0" in member.name:
        raise _unsafe(member, "no relative path")
    path = PurePosixPath(member.name)
    if ".." in path.parts:
        raise _unsafe(member, "outside of the bundle")
    try:
        if member.isdir():
            _make(tree, path)
            return
        _make(tree, path.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(tree / path, flags, 0o600)
    except OSError as error:
        if error.errno in _IN_THE_WAY:
            raise _unsafe(member, error.strerror or "in the way") from None
        raise
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o755 if member.mode & stat.S_IXUSR else 0o644)  # whatever the worker's umask
        content = archive.extractfile(member)
        assert content is not None, "a plain file has content"
        while block := content.read(_BLOCK):
            file.write(block)


def _make(tree: Path, path: PurePosixPath) -> None:
    """The directory and those above it; one that is there must be one itself and no link to one."""
    folder = tree
    for part in path.parts:
        folder = folder / part
        try:
            folder.mkdir(mode=0o755)
        except FileExistsError:
            if not stat.S_ISDIR(folder.lstat().st_mode):
                raise


def _unsafe(member: tarfile.TarInfo, why: str) -> Terminal:
    return Terminal(
        f"The bundle holds an unsafe member: {member.name!r}: {why}",
        mend="Publish a folder without absolute paths, links out of it, or devices.",
    )
