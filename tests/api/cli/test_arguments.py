"""What people type becomes what the API reads."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from api.cli.arguments import Named, environment_name, moment, pairs, secrets, value, values
from api.cli.exits import WrongUsage

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "read", "reason"),
    [
        ("3", 3, "a number"),
        ("-2.5", -2.5, "a number"),
        ("true", True, "a truth"),
        ("null", None, "null goes back to the default"),
        ('["a", "b"]', ["a", "b"], "a list"),
        ('{"a": 1}', {"a": 1}, "an object"),
        ('"3"', "3", "quotes make text of a number"),
        ("eu-west", "eu-west", "all else is text"),
        ("True", "True", "Python's words are not JSON's"),
        ("1.2.3", "1.2.3", "a version is text"),
        ("", "", "nothing is empty text"),
        ("007", "007", "JSON has no leading zeros, and neither should they be lost"),
    ],
)
def test_values(text: str, read: Any, reason: str) -> None:
    assert value(text) == read, reason
    assert type(value(text)) is type(read), reason


def test_pairs_keep_what_follows_the_first_equals_sign() -> None:
    assert pairs(["url=http://x/?a=b", "empty="], "--label") == {"url": "http://x/?a=b", "empty": ""}


def test_dotted_keys_nest() -> None:
    assert values(["tls.on=true", "tls.port=5433", "host=db"], "--config") == {
        "tls": {"on": True, "port": 5433},
        "host": "db",
    }


@pytest.mark.parametrize("texts", [["replicas"], ["=3"], [""], ["a=1", "a=2"], ["a=1", "a.b=2"]])
def test_wrong_pairs_are_refused_with_a_mend(texts: list[str]) -> None:
    with pytest.raises(WrongUsage) as refused:
        values(texts, "--input")
    assert refused.value.field == "--input"
    assert refused.value.mend


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("shop/dev", Named("shop", "dev")),
        ("dev", Named("default", "dev")),
        ("env_01JZX4T2M8Q3V5W7Y9A1B3C5D7", Named(id="env_01JZX4T2M8Q3V5W7Y9A1B3C5D7")),
    ],
)
def test_environments_are_named_by_project_and_name_or_by_id(text: str, named: Named) -> None:
    assert environment_name(text) == named


@pytest.mark.parametrize("text", ["", "/", "shop/", "/dev", "a/b/c", "shop dev"])
def test_what_names_no_environment_is_refused(text: str) -> None:
    with pytest.raises(WrongUsage, match="does not name an environment"):
        environment_name(text)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2h", "2026-03-01T10:00:00+00:00"),
        ("30m ago", "2026-03-01T11:30:00+00:00"),
        ("2026-02-01T00:00:00Z", "2026-02-01T00:00:00+00:00"),
        ("2026-02-01T01:00:00+01:00", "2026-02-01T00:00:00+00:00"),
    ],
)
def test_moments(text: str, read: str) -> None:
    assert moment(text, "--as-of", now=NOW) == read


def test_a_moment_that_is_none_is_refused() -> None:
    with pytest.raises(WrongUsage, match="yesterday"):
        moment("yesterday", "--since")


def test_secrets_come_from_files_and_never_from_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("hunter2\n")
    assert secrets([f"password=@{file}"], "--credential") == {"password": "hunter2"}
    with pytest.raises(WrongUsage) as refused:
        secrets(["password=hunter2"], "--credential")
    assert "hunter2" not in f"{refused.value.message}{refused.value.mend}", "a refusal must not repeat it"
    with pytest.raises(WrongUsage, match="No such file"):
        secrets(["password=@/nowhere"], "--credential")
