"""The command line as a whole: help, documentation, errors, start-up."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from api.cli.exits import MEANING, Exit
from api.cli.main import app

Twin = Callable[..., Any]

ROOT = Path(__file__).parents[3]


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every command with its full name."""
    children = getattr(command, "commands", {})
    if not children or getattr(command, "invoke_without_command", False):
        yield name, command
    for child in children.values():
        yield from commands(child, f"{name} {child.name}")


ALL = dict(commands(typer.main.get_command(app), "twin"))


def test_every_command_and_exit_code_is_documented() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    assert [name for name in ALL if f"`{name}" not in page] == []
    assert [code for code, meaning in MEANING.items() if f"| {code.value} | {meaning}" not in page] == []


def test_every_command_says_what_it_does_and_can_give_json() -> None:
    plain = ("serve", "worker", "db upgrade", "run")
    for name, command in ALL.items():
        assert command.help, f"{name} has no help"
        options = {option for parameter in command.params for option in parameter.opts}
        assert "--output" in options or name.removeprefix("twin ") in plain, f"{name} has no --output"


def test_without_arguments_it_shows_how_to_begin(twin: Twin) -> None:
    shown = twin()
    assert shown.code == Exit.DONE
    assert "twin up examples/guestbook --name shop" in shown.out
    assert "Exit codes" in shown.out


def test_help_loads_no_service() -> None:
    """A command line that takes a second to say --help is not used."""
    heavy = ("httpx", "sqlalchemy", "litestar", "alembic", "psycopg", "tenacity", "ruamel.yaml")
    code = f"import sys, api.cli.main; print([each for each in {heavy} if each in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout.strip() == "[]"


def test_no_service(twin: Twin) -> None:
    missing = twin("ls")
    assert (missing.code, missing.out) == (Exit.NO_SERVICE, "")
    assert missing.err == "No twin at http://127.0.0.1:9: run `twin serve` or set TWIN_URL\n"
    assert '"code":"no_twin"' in twin("ls", "--output", "json").err


@pytest.mark.parametrize(
    "words", [["shwo", "shop"], ["show"], ["show", "a b"], ["scale", "shop", "app", "replicas"], ["plan", "x", "scael"]]
)
def test_wrong_usage(twin: Twin, words: list[str]) -> None:
    assert twin(*words).code == Exit.USAGE


def test_a_wrong_setting_is_an_error_in_words(twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWIN_URL", "ftp://x")
    wrong = twin("ls")
    assert wrong.code == Exit.REFUSED
    assert "TWIN_URL is 'ftp://x'" in wrong.err
    assert "Traceback" not in wrong.err


def test_a_reader_that_goes_away_is_no_error() -> None:
    """`twin --help | head -1`"""
    process = subprocess.Popen(
        [sys.executable, "-m", "api.cli.main", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    process.wait()
