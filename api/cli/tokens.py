"""`token`: access for people and scripts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer
from msgspec import Struct

from api.cli.arguments import pairs
from api.cli.output import clock
from api.cli.session import Output, Session

app = typer.Typer()
token = typer.Typer(help="Tokens for people and scripts.", no_args_is_help=True)
app.add_typer(token, name="token", rich_help_panel="Platform")


class Created(Struct):
    """The API's answer."""

    token: str
    expires_at: datetime | None = None


@token.command("create")
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who will use it; the history names them so.")],
    role: Annotated[list[str], typer.Option(metavar="PROJECT=ROLE", help="Repeatable; '*=viewer' is all projects.")],
    ttl: Annotated[str | None, typer.Option(help="How long it is good, for example 30d; else for ever.")] = None,
    output: Output = None,
) -> None:
    """Make a token. It is shown this once.

    Roles: viewer, developer, operator, auditor, admin.
    """
    session = Session.of(context, output)
    body = {"name": name, "roles": list(pairs(role, "--role").items()), "ttl": ttl}
    answer = session.api.send("/v1/tokens", body).body
    if session.screen.json:
        session.screen.data(answer)
        return
    made = session.api.decode(answer, Created)
    session.screen.note(f"For {name}, good {f'until {clock(made.expires_at)}' if made.expires_at else 'for ever'}:")
    session.screen.text(made.token)
