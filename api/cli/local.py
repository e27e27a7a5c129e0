"""`local`: the PostgreSQL, Redis, NATS and Caddy of this machine. No REST: they are there without a service."""

from __future__ import annotations

from typing import Annotated

import typer

from api.cli.exits import Exit
from api.cli.session import Output, Session

app = typer.Typer()
local = typer.Typer(help="The PostgreSQL, Redis, NATS and Caddy of this machine.", no_args_is_help=True)
app.add_typer(local, name="local", rich_help_panel="Service")

Kinds = Annotated[list[str] | None, typer.Argument(metavar="KIND", help="postgres, redis, nats, caddy; without: all.")]


@local.command("status")
def status(context: typer.Context, output: Output = None) -> None:
    """How they are, and where their data and logs are."""
    session = Session.of(context, output)
    if _show(session):
        raise typer.Exit(Exit.FAILED)


@local.command("start")
def start(context: typer.Context, kinds: Kinds = None, output: Output = None) -> None:
    """Start them; those that run are left alone. `twin serve` does so by itself."""
    session = Session.of(context, output)
    from providers.local import LocalServers

    LocalServers(session.settings.local_dir).start(*kinds or ())
    _show(session)


@local.command("stop")
def stop(context: typer.Context, kinds: Kinds = None, output: Output = None) -> None:
    """Stop them and keep their data. Environments on them wait and go on when they are back."""
    session = Session.of(context, output)
    from providers.local import LocalServers

    LocalServers(session.settings.local_dir).stop(*kinds or ())
    _show(session)


def _show(session: Session) -> bool:
    """Write how they are; True if one has failed."""
    from providers.local import LocalServers

    found = LocalServers(session.settings.local_dir).status()
    if session.screen.json:
        session.show(
            [
                {
                    "kind": each.kind,
                    "state": each.state,
                    "version": each.version,
                    "port": each.port,
                    "pid": each.pid,
                    "directory": str(each.directory),
                    "log": str(each.log),
                }
                for each in found
            ]
        )
    else:
        rows = [(each.kind, each.state, each.version, each.port or "", each.pid or "", each.log) for each in found]
        session.screen.table(("SERVER", "STATE", "VERSION", "PORT", "PID", "LOG"), rows)
    return any(each.state == "failed" for each in found)
