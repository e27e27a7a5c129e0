"""`blocks`: what waits for a human, and saying that it is mended."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer
from rich.text import Text

from api.cli.output import ago, clock
from api.cli.session import Output, Session
from twin.service.views import BlockView

app = typer.Typer()
blocks = typer.Typer(help="What waits for a human, and who can mend it.", invoke_without_command=True)
app.add_typer(blocks, name="blocks", rich_help_panel="Platform")


class Resolution(msgspec.Struct):
    """The API's answer: how many environments go on."""

    woken: int = 0


@blocks.callback()
def list_(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Also resolved ones.")] = False,
    output: Output = None,
) -> None:
    """What waits for a human, who can mend it, and how."""
    session = Session.of(context, output)
    if context.invoked_subcommand is not None:
        return
    found = list(session.api.pages("/v1/blocks", {"all": "true" if everything else None}))
    if session.screen.json:
        session.show([msgspec.Raw(each) for each in found])
        return
    if not found:
        session.screen.note("Nothing is blocked.", "green")
    for body in found:
        _show(session, session.api.decode(body, BlockView))


@blocks.command("resolve")
def resolve(
    context: typer.Context,
    key: Annotated[str, typer.Argument(metavar="KEY", help="For example postgres/local/createdb.")],
    output: Output = None,
) -> None:
    """Say that the cause is mended: all that it stops goes on where it stopped."""
    session = Session.of(context, output)
    answer = session.api.send("/v1/blocks/resolutions", {"key": key}).body
    if session.screen.json:
        session.screen.data(answer)
        return
    woken = session.api.decode(answer, Resolution).woken
    session.screen.text(f"{key} is resolved; {_environments(woken)} {'goes' if woken == 1 else 'go'} on")


def _show(session: Session, block: BlockView) -> None:
    screen = session.screen
    since = f"since {ago(block.raised_at)}" if block.resolved_at is None else f"resolved {clock(block.resolved_at)}"
    screen.text(Text.assemble((block.key, "bold yellow"), f"  {since}, stops {_environments(block.waiting)}"))
    screen.text(f"  {block.message}")
    screen.text(f"  Owner: {block.owner}")
    screen.text(f"  Mend:  {block.mend}")
    if block.resolved_at is None:
        screen.text(f"  Then:  twin blocks resolve {block.key}")
    if block.environments:
        more = f" and {block.waiting - len(block.environments)} more" if block.waiting > len(block.environments) else ""
        screen.text(f"  Stops: {', '.join(block.environments)}{more}")


def _environments(count: int) -> str:
    return "1 environment" if count == 1 else f"{count} environments"
