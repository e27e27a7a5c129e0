"""What `process.service` takes and gives, and what a target needs to be told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from twin.domain.component_type import SCALABLE, SHOWN, ComponentType, inputs_schema
from twin.domain.errors import Invalid, Terminal

SECONDS = {"x-unit": "seconds"}

Word = Annotated[str, Meta(max_length=4096)]
Command = Annotated[list[Word], Meta(min_length=1, max_length=256, description="Program and arguments; no shell.")]
VariableName = Annotated[str, Meta(pattern=r"^(?!(PORT|REPLICA)$|TWIN_)[A-Za-z_][A-Za-z0-9_]*$")]


class GitSource(Struct, frozen=True, forbid_unknown_fields=True):
    """A git repository instead of the blueprint's bundle."""

    git: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=2048,
            description="Address by https, http, ssh or git; a path or file: URL only if the target has local_sources.",
        ),
    ]
    ref: Annotated[
        str,
        Meta(pattern=r"^[A-Za-z0-9_][-A-Za-z0-9_./+@]*$", max_length=255, description="Branch, tag or full commit."),
    ] = "HEAD"


class Health(Struct, frozen=True, forbid_unknown_fields=True):
    """How a replica shows that it is ready: GET `path` answers with a status below 400."""

    path: Annotated[str, Meta(pattern=r"^/\S*$", max_length=1024)] = "/"
    deadline: Annotated[
        float, Meta(gt=0, le=600, description="From start to the first good answer.", extra_json_schema=SECONDS)
    ] = 30.0


class Service(Struct, frozen=True, forbid_unknown_fields=True):
    """Inputs of `process.service`: a command that serves HTTP on 127.0.0.1:$PORT."""

    command: Annotated[Command, Meta(extra_json_schema=SHOWN)]
    replicas: Annotated[
        int, Meta(ge=0, le=50, description="Processes to run.", extra_json_schema=SCALABLE | {"x-unit": "processes"})
    ] = 1
    env: Annotated[
        dict[VariableName, str | int | float | bool],
        Meta(description="Environment of the command; PORT, REPLICA and TWIN_* are set by the twin."),
    ] = field(default_factory=dict)
    source: Annotated[GitSource | None, Meta(description="Where the files come from; the bundle if absent.")] = None
    build: Annotated[
        Command | None,
        Meta(description="Run once per version of the source, without the service's env.", extra_json_schema=SHOWN),
    ] = None
    health: Health = field(default_factory=Health)
    stop_grace: Annotated[
        float, Meta(ge=0, le=300, description="Between SIGTERM and SIGKILL.", extra_json_schema=SECONDS)
    ] = 10.0

    def variables(self) -> dict[str, str]:
        """`env` as text: booleans in lower case, as YAML and JSON write them."""
        return {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in self.env.items()}


class Watched(Struct, frozen=True):
    """The part of the inputs that an observation needs; references elsewhere may still be unresolved."""

    replicas: int = 1
    health: Health = field(default_factory=Health)


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """A target's configuration: the directory that holds everything of it, the address that apps bind to, whether
    `source.git` may name what lies on the twin's own machine, where the twin's user can read more than a requester,
    and the user that commands run as, for a twin that is root. Of a repository, neither what is fetched nor the files
    may have more than `max_source_bytes`, and to fetch it may take `fetch_timeout` seconds."""

    directory: str
    host: str = "127.0.0.1"
    local_sources: bool = False
    user: str | None = None
    max_source_bytes: Annotated[int, Meta(ge=1)] = 1 << 30
    fetch_timeout: Annotated[float, Meta(gt=0, le=3600)] = 600.0


SERVICE = ComponentType(
    name="process.service",
    provider="process",
    schema=inputs_schema(Service),
    outputs=("url", "urls", "ports", "commit"),
    suspends=True,
    bundled=True,
    deadline=900.0,
    settle=10.0,
)


def parse(inputs: Mapping[str, Any]) -> Service:
    """The typed inputs; raises Terminal with the field that is wrong. Never repeats a value: it may be a secret."""
    try:
        service = msgspec.convert(dict(inputs), Service)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `")
        blamed = re.sub(r"^\$\.?|`$", "", path) or None
        raise Terminal(f"The inputs of process.service are invalid: {reason}", field=blamed) from None
    for name, value in service.variables().items():
        if "\0" in value:
            raise Terminal(f"The variable {name} holds a NUL byte, which no environment can hold.", field=f"env.{name}")
    for position, word in enumerate(service.command):
        if "\0" in word:
            raise Terminal("A word of the command holds a NUL byte.", field=f"command[{position}]")
    if not service.command[0]:
        raise Terminal("The command names no program.", field="command[0]")
    return service


def watched(inputs: Mapping[str, Any]) -> Watched:
    """What to compare the world with; raises Terminal with the field that is wrong."""
    try:
        return msgspec.convert(dict(inputs), Watched)
    except msgspec.ValidationError as error:
        raise Terminal(f"The inputs of process.service are invalid: {error}") from None


def config(values: Mapping[str, Any]) -> Config:
    """The typed target configuration; raises Invalid with the field that is wrong."""
    try:
        parsed = msgspec.convert(dict(values), Config)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `")
        blamed = re.sub(r"^\$\.?|`$", "", path) or "directory"
        raise Invalid(
            f"The configuration of the process target is invalid: {reason}", field=f"config.{blamed}"
        ) from None
    if not Path(parsed.directory).is_absolute():
        raise Invalid(
            "The directory of a process target must be an absolute path.",
            field="config.directory",
            mend="Name one like /var/lib/twin/process.",
        )
    return parsed
