"""Reading what people type: names of environments, `key=value`, times."""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from api.cli.exits import WrongUsage
from twin.domain.durations import parse_duration
from twin.domain.errors import Invalid

DEFAULT_PROJECT = "default"
_ID = re.compile(r"env_[0-9A-Za-z]{26}")
_AGO = re.compile(r"(.+?)(?: +ago)?")


class Named(Struct, frozen=True):
    """An environment as a person names it: by project and name, or by id."""

    project: str = ""
    name: str = ""
    id: str = ""

    def __str__(self) -> str:
        return self.id or f"{self.project}/{self.name}"


def environment_name(text: str) -> Named:
    """`shop/dev`, `dev` (project default) or `env_…`. Raises `WrongUsage`."""
    if _ID.fullmatch(text):
        return Named(id=text)
    project, slash, name = text.rpartition("/")
    if not name or (slash and not project) or "/" in project or any(each.isspace() for each in text):
        raise WrongUsage(
            f"{text!r} does not name an environment",
            field="ENV",
            mend="Write PROJECT/NAME, NAME (project default), or an id (env_…).",
        )
    return Named(project or DEFAULT_PROJECT, name)


def value(text: str) -> Any:
    """JSON where it is JSON (3, true, null, [1, 2], {"a": 1}, "3"), else the text itself."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def pairs(texts: Iterable[str], what: str) -> dict[str, str]:
    """`key=value` each; raises `WrongUsage` naming `what`."""
    found: dict[str, str] = {}
    for text in texts:
        key, equals, given = text.partition("=")
        if not equals or not key:
            example = "replicas=3" if what == "NAME=NUMBER" else f"{what} key=value"
            raise WrongUsage(f"{text!r} is not KEY=VALUE", field=what, mend=f"For example: {example}")
        if key in found:
            raise WrongUsage(f"{what} {key!r} is given twice", field=what, mend="Give it once.")
        found[key] = given
    return found


def values(texts: Iterable[str], what: str) -> dict[str, Any]:
    """`key=value` each, values as by `value`. A dotted key nests: `a.b=1` is {"a": {"b": 1}}."""
    found: dict[str, Any] = {}
    for key, given in pairs(texts, what).items():
        place = found
        *folders, last = key.split(".")
        for folder in folders:
            place = place.setdefault(folder, {})
            if not isinstance(place, dict):
                raise WrongUsage(
                    f"{what} {key!r} is under a key that has a value", field=what, mend="Give one of them."
                )
        place[last] = value(given)
    return found


def secrets(texts: Iterable[str], what: str) -> dict[str, str]:
    """`key=@FILE` reads a file, `key=prompt` asks without echo. Others are refused: an argument is seen by all users
    of the machine, and stays in the shell's history."""
    found: dict[str, str] = {}
    for key, given in pairs(texts, what).items():
        if given.startswith("@"):
            try:
                found[key] = Path(given[1:]).expanduser().read_text("utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                raise WrongUsage(f"{what} {key}: {error}", field=what, mend="Name a readable text file.") from None
        elif given == "prompt":
            found[key] = getpass.getpass(f"{key}: ")
        else:
            raise WrongUsage(
                f"{what} {key} stands in clear on the command line, where others can read it",
                field=what,
                mend=f"Write {what} {key}=@FILE, or {what} {key}=prompt to type it in.",
            )
    return found


def moment(text: str, what: str, *, now: datetime | None = None) -> str:
    """An ISO 8601 time, or how long ago (`2h`, `30m ago`), as the API reads it. Without an offset it is local time."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        match = _AGO.fullmatch(text.strip())
        try:
            ago = timedelta(seconds=parse_duration(match[1] if match else text, what))
        except Invalid:
            raise WrongUsage(
                f"{what} is {text!r}, which is not a time",
                field=what,
                mend="Write it like 2026-03-01T12:00, 2026-03-01T12:00:00Z, or how long ago: 2h.",
            ) from None
        return ((now or datetime.now(UTC)) - ago).isoformat()
    return at.astimezone(UTC).isoformat()
