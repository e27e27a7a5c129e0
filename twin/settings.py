"""Settings: environment variables, read once at start-up; docs/settings.md is generated from here.

An empty variable counts as absent. Durations are written like "15s" or "2m", or as a number of seconds.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from twin.domain.durations import parse_duration
from twin.domain.errors import Invalid
from twin.domain.near import near_misses

Seconds = Annotated[float, Meta(gt=0, le=86_400)]

LONGEST_DOMAIN = 189
"""Characters of a domain below which a name of 63 characters still fits the 253 of a host (RFC 1035)."""

DATABASES = ("sqlite", "postgresql", "postgres", "postgresql+psycopg")


def _told(description: str, default: str | None = None) -> Meta:
    return Meta(description=description, extra={"default": default} if default else {})


class Settings(Struct, frozen=True, kw_only=True):
    """How this process of the twin runs. `read` makes it; tests may make it themselves."""

    data_dir: Annotated[
        Path,
        _told(
            "Folder for the database, the token, the vault's key, local servers and processes",
            "`$XDG_DATA_HOME/twin`, or else `~/.local/share/twin`",
        ),
    ]
    host: Annotated[str, _told("Address that `twin serve` listens on; loopback unless told otherwise")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535), _told("Port that `twin serve` listens on; 0 takes a free one")] = 8420
    database_url: Annotated[
        str,
        _told(
            "Where everything is kept: `sqlite:///FILE` (one process) or `postgresql://USER:PASSWORD@HOST/NAME`",
            "SQLite, `twin.db` in the data folder",
        ),
    ] = ""
    url: Annotated[str, _told("The API that the command line talks to")] = "http://127.0.0.1:8420"
    token: Annotated[
        str | None, _told("The command line's token", "the token file in the data folder, if there is one")
    ] = None
    vault_key: Annotated[
        str | None,
        _told(
            "256-bit keys of the vault as base64 or hex, separated by commas: the first seals, all open",
            "the key file `vault.key` in the data folder, made at the first start",
        ),
    ] = None
    log_format: Annotated[
        Literal["console", "json"], _told("How logs are written to stderr", "`console` on a terminal, else `json`")
    ] = "json"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _told("The least that is logged")] = "info"
    local: Annotated[
        Literal["auto", "on", "off"],
        _told(
            "Whether local PostgreSQL, Redis, NATS and, if there is one, Caddy are started as targets; "
            "`auto`: when there are no others to build on, and from then on"
        ),
    ] = "auto"
    targets_file: Annotated[Path | None, _told("YAML file of targets, read at every start", "none")] = None
    preview_domain: Annotated[
        str, _told("Names below it lead to the local Caddy: routes get `NAME.DOMAIN` there. `*.localhost` needs no DNS")
    ] = "localhost"
    max_bundle_bytes: Annotated[
        int, Meta(ge=1_024, le=1_073_741_824), _told("Greatest size of a blueprint's folder, in bytes")
    ] = 10 * 1024 * 1024
    max_delivery_bytes: Annotated[
        int, Meta(ge=1_024, le=1_073_741_824), _told("Greatest size of what a forge's webhook may send, in bytes")
    ] = 25 * 1024 * 1024
    slots: Annotated[int, Meta(ge=1, le=1_024), _told("Steps that one worker runs at the same time")] = 16
    lease: Annotated[
        Seconds, _told("A worker without a heartbeat for this long counts as dead and its steps are taken over")
    ] = 15.0
    drain: Annotated[
        Seconds, _told("How long running steps may finish after SIGTERM before the process leaves them to others")
    ] = 30.0
    step_deadline: Annotated[
        Seconds | None, _told("Bound for one attempt of any step, instead of its component type's", "the type's own")
    ] = None

    def __repr__(self) -> str:
        """Without what is secret."""
        hidden = {"token", "vault_key", "database_url"}
        shown = (f"{each}={getattr(self, each)!r}" for each in self.__struct_fields__ if each not in hidden)
        return f"Settings({', '.join(shown)})"

    @property
    def token_file(self) -> Path:
        """The token of the person who started this twin; mode 0600."""
        return self.data_dir / "token"

    @property
    def vault_key_file(self) -> Path:
        """The vault's keys; mode 0600."""
        return self.data_dir / "vault.key"

    @property
    def database_file(self) -> Path:
        """The default SQLite database."""
        return self.data_dir / "twin.db"

    @property
    def local_dir(self) -> Path:
        """Data of the local servers."""
        return self.data_dir / "local"

    @property
    def process_dir(self) -> Path:
        """Working folders of process components."""
        return self.data_dir / "processes"

    @property
    def pulumi_dir(self) -> Path:
        """Programs, plugins and, by default, the state of stacks."""
        return self.data_dir / "pulumi"


class Row(Struct, frozen=True):
    """One setting as documentation shows it."""

    variable: str
    default: str
    values: str
    meaning: str


def read(environ: Mapping[str, str], *, terminal: bool | None = None) -> Settings:
    """The settings in `environ`; raises `Invalid` naming the variable, its problem and the mend.

    `terminal`: whether stderr is one; None looks.
    """
    given: dict[str, Any] = {}
    for name, kind in _kinds().items():
        if text := environ.get(_variable(name), "").strip():
            given[name] = _value(name, kind, text)
    given.setdefault("data_dir", _default_data_dir(environ))
    for name in ("data_dir", "targets_file"):
        if name in given:
            given[name] = given[name].expanduser().absolute()
    given.setdefault("database_url", f"sqlite:///{given['data_dir'] / 'twin.db'}")
    terminal = sys.stderr.isatty() if terminal is None else terminal
    given.setdefault("log_format", "console" if terminal else "json")
    return Settings(**given)


def unknown(environ: Iterable[str]) -> list[str]:
    """A warning for each TWIN_ variable that means nothing, with what was probably meant."""
    known = [_variable(name) for name in _kinds()]
    warnings = []
    for variable in sorted(environ):
        if variable.startswith("TWIN_") and variable not in known:
            near = near_misses(variable, known, most=1)
            mend = f"did you mean {near[0]}?" if near else "see docs/settings.md"
            warnings.append(f"{variable} is not a setting and has no effect; {mend}")
    return warnings


def describe() -> tuple[Row, ...]:
    """Every setting, in the order of docs/settings.md."""
    defaults = dict(zip(reversed(Settings.__struct_fields__), reversed(Settings.__struct_defaults__), strict=False))
    rows = []
    for name, kind in _kinds().items():
        default = defaults.get(name)
        shown = f"{default:g}s" if isinstance(default, float) else str(default)
        default = _meta(kind, "default") or f"`{shown}`"
        rows.append(Row(_variable(name), default, _values(kind), _meta(kind, "description") or ""))
    return tuple(rows)


def table() -> str:
    """`describe` as a Markdown table."""
    lines = ["| Variable | Default | Values | Meaning |", "| --- | --- | --- | --- |"]
    lines += [f"| `{row.variable}` | {row.default} | {row.values} | {row.meaning} |" for row in describe()]
    return "\n".join(lines) + "\n"


def _default_data_dir(environ: Mapping[str, str]) -> Path:
    # The specification tells to ignore a relative path: https://specifications.freedesktop.org/basedir-spec/
    base = Path(environ.get("XDG_DATA_HOME", ""))
    return (base if base.is_absolute() else Path("~/.local/share")) / "twin"


def _database(text: str) -> str:
    if urlsplit(text).scheme not in DATABASES:
        raise ValueError("it must begin with sqlite:/// or postgresql://")
    return text


def _http(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("it must be like http://HOST:PORT")
    return text.rstrip("/")


def _word(text: str) -> str:
    if not text.isprintable() or " " in text:
        raise ValueError("it must be one word of printable characters")
    return text


def _domain(text: str) -> str:
    label = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
    if not re.fullmatch(rf"{label}(\.{label})*", text) or len(text) > LONGEST_DOMAIN:
        raise ValueError("it must be a name like preview.example.org, in lower case")
    return text


_READERS: dict[str, Callable[[str], str]] = {
    "database_url": _database,
    "url": _http,
    "token": _word,
    "host": _word,
    "preview_domain": _domain,
}
_SECRET = ("token", "vault_key", "database_url")


def _value(name: str, kind: Any, text: str) -> Any:
    variable = _variable(name)
    saying = variable if name in _SECRET else f"{variable} is {text!r}"
    try:
        text = _READERS.get(name, str)(text)
        value = _seconds(text) if _is_duration(kind) else text
        return msgspec.convert(value, kind, strict=False, dec_hook=lambda wanted, given: wanted(given))
    except (ValueError, Invalid) as error:
        problem = str(error).replace("`", "")
        default = next(row.default for row in describe() if row.variable == variable)
        mend = f"Set it to {_values(kind)}, or unset it for the default: {default}."
        raise Invalid(f"{saying}: {problem[0].lower()}{problem[1:]}", field=variable, mend=mend) from None


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return parse_duration(text)


def _kinds() -> dict[str, Any]:
    hints = get_type_hints(Settings, include_extras=True)
    return {name: hints[name] for name in Settings.__struct_fields__}


def _variable(name: str) -> str:
    return f"TWIN_{name.upper()}"


def _metas(kind: Any) -> list[Meta]:
    """The Metas of a type and of its alternatives."""
    found = [each for each in getattr(kind, "__metadata__", ()) if isinstance(each, Meta)]
    inner = [get_args(kind)[0]] if get_origin(kind) is Annotated else list(get_args(kind))
    return found + [meta for each in inner if not isinstance(each, str) for meta in _metas(each)]


def _meta(kind: Any, key: Literal["description", "default"]) -> str | None:
    for meta in _metas(kind):
        if found := meta.description if key == "description" else (meta.extra or {}).get("default"):
            return str(found)
    return None


def _is_duration(kind: Any) -> bool:
    return float in _bare(kind)


def _bare(kind: Any) -> tuple[Any, ...]:
    """The plain types or literal values that a field may hold."""
    if get_origin(kind) is Annotated:
        return _bare(get_args(kind)[0])
    return tuple(each for arg in get_args(kind) for each in _bare(arg)) or (kind,)


def _values(kind: Any) -> str:
    bare = _bare(kind)
    if all(isinstance(each, str) for each in bare):
        return ", ".join(f"`{each}`" for each in bare)
    least = next((meta.ge for meta in _metas(kind) if meta.ge is not None), None)
    most = next((meta.le for meta in _metas(kind) if meta.le is not None), None)
    if float in bare:
        return "a duration of at most a day"
    if int in bare:
        return f"a number from {least} to {most}"
    return "a path" if Path in bare else "text"


if __name__ == "__main__":
    sys.stdout.write(table())
