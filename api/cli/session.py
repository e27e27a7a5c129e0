"""What every command is given: the settings, the screen, and the API once it asks for it."""

from __future__ import annotations

import os
from contextlib import nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.cli.arguments import Named, environment_name
from api.cli.output import Format, Screen
from twin import settings as configuration
from twin.domain.errors import Invalid, Problem
from twin.service.views import EnvironmentView
from twin.settings import Settings

if TYPE_CHECKING:
    from api.cli.connection import Connection

PREVIEWING = 120.0
"""Seconds in which a dry run is answered: providers have 90 for what they preview."""

Output = Annotated[Format | None, typer.Option("--output", "-o", help="json is for scripts.")]
Env = Annotated[str, typer.Argument(metavar="ENV", help="PROJECT/NAME, NAME (project default) or an id.")]
Detach = Annotated[bool, typer.Option("--detach", help="Return as soon as the signal is accepted.")]
Preview = Annotated[
    bool,
    typer.Option("--preview/--no-preview", help="Ask providers what each step would change, where they can tell."),
]
ExpectPlan = Annotated[
    str | None, typer.Option("--expect-plan", metavar="DIGEST", help="Refuse if the plan would be another.")
]


class Session:
    """One run of the command line."""

    def __init__(self, output: Format = Format.TABLE) -> None:
        self.screen = Screen(output)
        self.dry_run = False
        self.preview = True

    @classmethod
    def of(cls, context: typer.Context, output: Format | None = None) -> Session:
        """The session of this run; the command's own --output wins over the one before the command."""
        session = context.find_root().obj
        if not isinstance(session, Session):
            raise TypeError("the root callback has not run")
        if output is not None:
            session.screen = Screen(output)
        return session

    @cached_property
    def settings(self) -> Settings:
        """Raises `Invalid` for a variable that cannot be read."""
        return configuration.read(os.environ)

    @cached_property
    def token(self) -> str | None:
        """TWIN_TOKEN, or else what the token file of the data folder holds."""
        if self.settings.token:
            return self.settings.token
        file = self.settings.token_file
        try:
            return file.read_text("utf-8").strip() or None
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise Invalid(f"{file}: {error}", field="TWIN_TOKEN", mend="Make it readable, or set TWIN_TOKEN.") from None

    @cached_property
    def api(self) -> Connection:
        """The service at TWIN_URL."""
        from api.cli.connection import Connection  # httpx costs a tenth of a second, which --help need not pay

        return Connection(self.settings.url, self.token, tell=lambda text: self.screen.note(text, "yellow"))

    def ask(self, path: str, body: Any) -> bytes:
        """What the body would do, without doing it: a PlanView. Providers that preview are given their time."""
        wanted = {"dry_run": "true", "preview": "true" if self.preview else None}
        with self.screen.err.status("What would it change?") if self.screen.live else nullcontext():
            return self.api.send(path, body, wanted, patience=PREVIEWING).body

    def close(self) -> None:
        """Leave the service, if it was asked at all."""
        if "api" in self.__dict__:
            self.api.close()

    def path_of(self, text: str) -> str:
        """Where the API shows this environment."""
        named = environment_name(text)
        return f"/v1/environments/{named.id}" if named.id else self.path_named(named)

    @staticmethod
    def path_named(named: Named) -> str:
        """Where the API shows the environment of that project and name."""
        return f"/v1/projects/{named.project}/environments/{named.name}"

    def environment(self, text: str) -> EnvironmentView:
        """The environment that a person named."""
        return self.api.decode(self.environment_body(text), EnvironmentView)

    def environment_body(self, text: str, params: dict[str, Any] | None = None) -> bytes:
        """The same as JSON."""
        try:
            return self.api.get(self.path_of(text), params)
        except Problem as problem:
            if problem.status == 404 and problem.mend is None:
                problem.mend = "twin ls shows what there is."
            raise

    def show(self, value: Any) -> None:
        """A value as JSON."""
        import msgspec

        self.screen.data(msgspec.json.encode(value))
