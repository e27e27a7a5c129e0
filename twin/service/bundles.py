"""Bundles: a blueprint's folder as one deterministic, content-addressed tar.gz.

The digest covers every file's path, mode and content, and not how they were packed. `pack` runs where the folder is
(the command line), `open_bundle` where the bundle arrives: it trusts nothing, reads the blueprint itself, computes the
digest itself, and packs anew, so that what is stored holds plain files and nothing else.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import pathspec
from msgspec import Struct

from twin.domain.blueprint import Blueprint
from twin.domain.digest import canonical
from twin.domain.errors import Invalid
from twin.service.blueprint_files import BLUEPRINT_FILE, read_blueprint

IGNORE_FILE = ".twinignore"
IGNORED = (".git/", "__pycache__/", ".venv/")
MOST_BYTES = 10 * 1024 * 1024
MOST_FILES = 5_000
_LONGEST_PATH = 512
_TAR_OVERHEAD = 4 * 512
"""Headers and padding of one file in a tar, at most."""


class BundleFile(Struct, frozen=True):
    """One file of a bundle. `mode` is 0o755 for what its owner may execute, else 0o644; `sha256` is of the content."""

    path: str
    mode: int
    size: int
    sha256: str


class Bundle(Struct, frozen=True, kw_only=True):
    """A packed folder. `digest` is 64 hex digits; `content` the tar.gz."""

    digest: str
    content: bytes
    files: tuple[BundleFile, ...]
    blueprint: Blueprint


class _File(Struct, frozen=True):
    mode: int
    content: bytes


def pack(folder: Path, *, most: int = MOST_BYTES) -> Bundle:
    """The folder as a bundle: without what `.twinignore` (gitignore syntax), .git, __pycache__ or .venv name.

    Raises `Invalid` for a missing or wrong blueprint.yaml, for links that leave the folder, for what is no file, and
    when the files have more than `most` bytes together (it names the biggest).
    """
    root = folder.resolve()
    if not root.is_dir():
        raise Invalid(f"{folder} is not a folder", field="folder", mend=f"Name the folder that holds {BLUEPRINT_FILE}.")
    found = dict(_walk(root, root, _ignored(root)))
    if BLUEPRINT_FILE not in found:
        mend = f"Write {folder / BLUEPRINT_FILE}, and do not ignore it."
        raise Invalid(f"{folder} has no {BLUEPRINT_FILE}", field=BLUEPRINT_FILE, mend=mend)
    _check_sizes({path: file.stat().st_size for path, file in found.items()}, most)
    files = {path: _File(_mode(file.stat().st_mode), file.read_bytes()) for path, file in found.items()}
    return _bundle(files, most, str(folder / BLUEPRINT_FILE))


def open_bundle(content: bytes, *, most: int = MOST_BYTES) -> Bundle:
    """A bundle that came from elsewhere, checked, with the digest of what it really holds.

    Raises `Invalid` for what is not a tar.gz of plain files within `most` bytes, and for a wrong blueprint.yaml.
    """
    try:
        files = _unpack(_decompress(content, most + MOST_FILES * _TAR_OVERHEAD), most)
    except (tarfile.TarError, zlib.error, EOFError, ValueError, OverflowError, OSError) as error:
        mend = "Publish the folder with: twin blueprints publish FOLDER"
        raise Invalid(f"the bundle is not a tar.gz: {error}", field="bundle", mend=mend) from None
    if BLUEPRINT_FILE not in files:
        raise Invalid(f"the bundle has no {BLUEPRINT_FILE}", field=BLUEPRINT_FILE, mend="Put it at the top.")
    return _bundle(files, most, BLUEPRINT_FILE)


def _bundle(files: Mapping[str, _File], most: int, shown: str) -> Bundle:
    _check_sizes({path: len(file.content) for path, file in files.items()}, most)
    blueprint = read_blueprint(files[BLUEPRINT_FILE].content, shown)
    listing = tuple(
        BundleFile(path, files[path].mode, len(files[path].content), hashlib.sha256(files[path].content).hexdigest())
        for path in sorted(files)
    )
    told = [[each.path, each.mode, each.sha256] for each in listing]
    digest = hashlib.sha256(canonical(told)).hexdigest()
    return Bundle(digest=digest, content=_packed(files), files=listing, blueprint=blueprint)


def _packed(files: Mapping[str, _File]) -> bytes:
    raw = io.BytesIO()
    with (
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in sorted(files):
            member = tarfile.TarInfo(path)  # time, owner and group are 0 and empty
            member.size, member.mode = len(files[path].content), files[path].mode
            tar.addfile(member, io.BytesIO(files[path].content))
    return raw.getvalue()


def _ignored(root: Path) -> pathspec.GitIgnoreSpec:
    file = root / IGNORE_FILE
    try:
        lines = file.read_text("utf-8").splitlines() if file.is_file() and not file.is_symlink() else []
        return pathspec.GitIgnoreSpec.from_lines([*IGNORED, *lines])
    except ValueError as error:
        raise Invalid(f"{file}: {error}", field=IGNORE_FILE, mend="Write it like a .gitignore, as UTF-8.") from None


def _walk(root: Path, folder: Path, ignored: pathspec.GitIgnoreSpec) -> Iterator[tuple[str, Path]]:
    with os.scandir(folder) as entries:
        children = sorted(entries, key=lambda each: each.name)
    for entry in children:
        file = Path(entry.path)
        path = file.relative_to(root).as_posix()
        is_folder = entry.is_dir(follow_symlinks=False)
        if ignored.match_file(f"{path}/" if is_folder else path):
            continue
        if is_folder:
            yield from _walk(root, file, ignored)
            continue
        _check_path(path)
        target = file.resolve()
        if entry.is_symlink() and not target.is_relative_to(root):
            raise Invalid(f"{path} is a link that leaves the folder", field=path, mend="Copy the file into the folder.")
        if not target.is_file():
            what = "a link to no file" if entry.is_symlink() else "not a plain file"
            raise Invalid(f"{path} is {what}", field=path, mend=f"Remove it, or name it in {IGNORE_FILE}.")
        yield path, target


def _check_path(path: str) -> None:
    parts = PurePosixPath(path).parts
    sound = path == "/".join(parts) and parts and ".." not in parts and "." not in parts and not path.startswith("/")
    try:
        sound = sound and len(path.encode()) <= _LONGEST_PATH and path.isprintable()
    except UnicodeEncodeError:
        sound = False
    if not sound:
        mend = f"Use a plain relative path of at most {_LONGEST_PATH} bytes."
        raise Invalid(f"the path {path!r} cannot be in a bundle", field="bundle", mend=mend)


def _check_sizes(sizes: Mapping[str, int], most: int) -> None:
    total = sum(sizes.values())
    biggest = sorted(sizes, key=lambda path: (-sizes[path], path))[:5]
    mend = f"Name what the blueprint does not need in {IGNORE_FILE}, or raise TWIN_MAX_BUNDLE_BYTES on the server."
    if total > most:
        named = ", ".join(f"{path} ({_size(sizes[path])})" for path in biggest)
        message = f"the bundle has {_size(total)}; the maximum is {_size(most)}. Biggest: {named}"
        raise Invalid(message, field="bundle", mend=mend, details={"bytes": total, "bound": most})
    if len(sizes) > MOST_FILES:
        message = f"the bundle has {len(sizes)} files; the maximum is {MOST_FILES}"
        raise Invalid(message, field="bundle", mend=f"Name what the blueprint does not need in {IGNORE_FILE}.")


def _size(count: int) -> str:
    return (
        f"{count} bytes"
        if count < 10_240
        else f"{count / 1024:.0f} KiB"
        if count < 10_485_760
        else f"{count / 1048576:.1f} MiB"
    )


def _mode(mode: int) -> int:
    return 0o755 if mode & stat.S_IXUSR else 0o644


def _decompress(content: bytes, most: int) -> bytes:
    """Bounded: a few bytes may claim to be gigabytes."""
    unzip = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    plain = unzip.decompress(content, most + 1)
    if len(plain) > most:
        raise ValueError(f"it unpacks to more than {_size(most)}")
    if not unzip.eof or unzip.unused_data:
        raise ValueError("it is cut short" if not unzip.eof else "something follows its end")
    return plain


def _unpack(plain: bytes, most: int) -> dict[str, _File]:
    files: dict[str, _File] = {}
    total = 0
    with tarfile.open(fileobj=io.BytesIO(plain), mode="r:") as tar:
        for count, member in enumerate(tar):
            if count >= 2 * MOST_FILES:
                raise ValueError(f"it has more than {2 * MOST_FILES} entries")
            if member.size < 0:
                raise ValueError(f"{member.name!r} has a negative size")
            if member.isdir():
                continue
            # A sparse file claims any size and has none; links and devices have no place in a bundle.
            if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
                raise ValueError(f"{member.name!r} is not a plain file")
            _check_path(member.name)
            if member.name in files:
                raise ValueError(f"{member.name!r} is there twice")
            total += member.size
            if total > most:
                raise ValueError(f"its files have more than {_size(most)}")
            extracted = tar.extractfile(member)
            body = extracted.read() if extracted is not None else b""
            if len(body) != member.size:
                raise ValueError(f"{member.name!r} is cut short")
            files[member.name] = _File(_mode(member.mode), body)
    for path in files:
        for above in PurePosixPath(path).parents:
            if str(above) in files:
                raise ValueError(f"{str(above)!r} is a file and a folder")
    return files
