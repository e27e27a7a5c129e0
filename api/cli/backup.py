"""`backup`: a copy of the twin's own state in a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, BinaryIO
from urllib.parse import urlsplit

import typer

from api.cli.exits import NoTwin, WrongUsage
from api.cli.session import Output, Session

_LOOPBACK = ("127.0.0.1", "localhost", "::1")

app = typer.Typer()


@app.command("backup", rich_help_panel="Service")
def backup(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; it must not be there yet.")],
    output: Output = None,
) -> None:
    """Copy all of the twin's state into a file, while it serves or while it is stopped.

    One moment of it, complete or not there at all. The vault's key is not in it: keep that in another place. With
    PostgreSQL this says which command to use instead.
    """
    session = Session.of(context, output)
    if file.exists():
        raise WrongUsage(f"{file} is there already", mend="Name another file.")
    part = file.with_name(f".{file.name}.part")
    try:
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            _fill(session, part, out)
            out.flush()
            os.fsync(out.fileno())
        part.rename(file)
        _keep(file.absolute().parent)
    except OSError as error:
        raise WrongUsage(f"{file} cannot be written: {error.strerror}", mend="Name another file.") from error
    finally:
        part.unlink(missing_ok=True)
    if session.screen.json:
        session.show({"file": str(file), "bytes": file.stat().st_size})
        return
    session.screen.note(f"{file}: {file.stat().st_size:,} bytes. The key that opens its secrets is not in it: keep")
    session.screen.note(f"a copy of {session.settings.vault_key_file} (or TWIN_VAULT_KEY) in another place.")


def _fill(session: Session, part: Path, out: BinaryIO) -> None:
    try:
        session.api.download("/v1/backups", out)
    except NoTwin:
        if out.tell() or urlsplit(session.settings.url).hostname not in _LOOPBACK:
            raise  # lost in the middle, or the service is not of this machine
        from api import bootstrap  # only here: it costs half a second

        if not bootstrap.copy_stopped(session.settings, part):
            raise
        session.screen.note("No service runs; copied from its file.")


def _keep(directory: Path) -> None:
    """A new name lasts once its directory is written."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
