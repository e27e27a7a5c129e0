"""`serve`, `worker` and `db upgrade`: the service itself. Not clients; they call the composition root."""

from __future__ import annotations

from typing import Annotated

import typer
from msgspec.structs import replace

from api.cli.session import Session

PANEL = "Service"

app = typer.Typer()
database = typer.Typer(help="The database.", no_args_is_help=True)
app.add_typer(database, name="db", rich_help_panel=PANEL)


@app.command("serve", rich_help_panel=PANEL)
def serve(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Where to listen; TWIN_HOST if not given.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="The same; TWIN_PORT. 0 takes a free one.")
    ] = None,
    no_worker: Annotated[
        bool, typer.Option("--no-worker", help="Only the API; work is done by `twin worker`.")
    ] = False,
) -> None:
    """Run the twin: the API, and the work in the same process."""
    settings = Session.of(context).settings
    settings = replace(
        settings,
        host=host if host is not None else settings.host,
        port=port if port is not None else settings.port,
    )
    from api import bootstrap

    bootstrap.serve(settings, worker=not no_worker)


@app.command("worker", rich_help_panel=PANEL)
def worker(context: typer.Context) -> None:
    """Run one more worker (with TWIN_DATABASE_URL of a PostgreSQL)."""
    settings = Session.of(context).settings
    from api import bootstrap

    bootstrap.worker(settings)


@database.command("upgrade")
def upgrade(context: typer.Context) -> None:
    """Bring the database's schema to this version's."""
    session = Session.of(context)
    from api import bootstrap

    bootstrap.upgrade(session.settings)
    session.screen.note("The database is up to date.")
