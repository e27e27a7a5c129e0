"""`token`: access for people and scripts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from urllib.parse import quote

import msgspec
import typer
from msgspec import Struct

from api.cli.arguments import pairs
from api.cli.output import clock
from api.cli.session import Output, Session
from twin.service.views import TokenView

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


@token.command("ls")
def ls(context: typer.Context, output: Output = None) -> None:
    """The tokens: who has which roles. Never the tokens themselves."""
    session = Session.of(context, output)
    found = list(session.api.pages("/v1/tokens"))
    if session.screen.json:
        session.show([msgspec.Raw(each) for each in found])
        return
    rows = [
        (
            each.name,
            ", ".join("=".join(pair) for pair in each.roles),
            clock(each.created_at),
            clock(each.expires_at) if each.expires_at else "never",
        )
        for each in (session.api.decode(body, TokenView) for body in found)
    ]
    session.screen.table(("TOKEN", "ROLES", "CREATED", "EXPIRES"), rows)


@token.command("revoke")
def revoke(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `twin token ls` shows it.")],
    output: Output = None,
) -> None:
    """End a token at once; its name is free again."""
    session = Session.of(context, output)
    session.api.send(f"/v1/tokens/{quote(name, safe='')}", method="DELETE")
    if session.screen.json:
        session.show({"name": name, "revoked": True})
    else:
        session.screen.text(f"{name} is revoked")
