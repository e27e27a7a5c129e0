"""What `pulumi.stack` takes and gives, and what a target needs to be told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec
from msgspec import Meta, Struct, field

from twin.domain.component_type import SHOWN, ComponentType, inputs_schema
from twin.domain.errors import Invalid, Terminal

SECONDS = {"x-unit": "seconds"}
BACKENDS = ("postgres", "postgresql", "s3", "gs", "azblob", "file")
PASSPHRASE = "passphrase"  # noqa: S105 - a credential's name
PASSWORD = "password"  # noqa: S105 - a credential's name
_VARIABLE = re.compile(r"^(?!TWIN_|PULUMI_)[A-Za-z_][A-Za-z0-9_]*$")

Function = Annotated[str, Meta(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$", max_length=255)]
Folder = Annotated[str, Meta(pattern=r"^(?!/)[^\0\\]+$", max_length=1024)]
OutputName = Annotated[str, Meta(min_length=1, max_length=255)]
VariableName = Annotated[str, Meta(pattern=r"^(?!TWIN_|PULUMI_)[A-Za-z_][A-Za-z0-9_]*$")]


class Stack(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Inputs of `pulumi.stack`: a program in the bundle, and what it is told."""

    program: Annotated[
        Function | None, Meta(description="`package.module:function` of the bundle.", extra_json_schema=SHOWN)
    ] = None
    source: Annotated[
        Folder | None,
        Meta(
            description="A folder of the bundle with a Pulumi.yaml, instead of `program`.",
            extra_json_schema=SHOWN,
        ),
    ] = None
    config: Annotated[
        dict[str, Any],
        Meta(description="Pulumi's configuration, `name` or `namespace:name`; what holds a secret is kept encrypted."),
    ] = field(default_factory=dict)
    outputs: Annotated[
        tuple[OutputName, ...], Meta(description="Outputs that others may refer to.", extra_json_schema=SHOWN)
    ] = ()
    secrets: Annotated[
        tuple[OutputName, ...], Meta(description="Secret outputs that others may refer to.", extra_json_schema=SHOWN)
    ] = ()
    lookup: Annotated[
        Function | None,
        Meta(description="Asked after a crash for the id of what a cut create may have made; None: it is absent."),
    ] = None
    ids: Annotated[
        dict[str, str],
        Meta(description="Types whose physical id is one of their own inputs, and which.", extra_json_schema=SHOWN),
    ] = field(default_factory=dict)
    rotates: Annotated[bool, Meta(description="The program can have two credentials side by side.")] = False
    check: Annotated[
        Function | None, Meta(description="Whether a retired credential still opens; needed if `rotates`.")
    ] = None
    timeout: Annotated[float, Meta(gt=0, le=86_400, description="Of one attempt.", extra_json_schema=SECONDS)] = 900.0


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """A target's configuration: the directory of all that it keeps on a worker (programs, plugins, locks, and the state
    of stacks unless `backend` names another place), the backend's URL without a password, the `pulumi` program if it is
    not on the PATH, and variables for the programs (endpoints, regions)."""

    directory: str
    backend: str = "files"
    cli: str | None = None
    env: dict[VariableName, str] = field(default_factory=dict)


STACK = ComponentType(
    name="pulumi.stack",
    provider="pulumi",
    schema=inputs_schema(Stack),
    declares=True,
    stateful=True,
    bundled=True,
    rotates=True,
    rotates_if=("rotates", True),
    previews=True,
    deadline=900.0,
    deadline_input="timeout",
    settle=10.0,
)


def parse(inputs: Mapping[str, Any]) -> Stack:
    """The typed inputs; raises Terminal with the field that is wrong. Never repeats a value: it may be a secret."""
    try:
        stack = msgspec.convert(dict(inputs), Stack)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `")
        blamed = re.sub(r"^\$\.?|`$", "", path) or None
        raise Terminal(f"The inputs of pulumi.stack are invalid: {reason}", field=blamed) from None
    if (stack.program is None) == (stack.source is None):
        raise Terminal(
            "A pulumi.stack has either a `program` or a `source`.",
            field="program",
            mend="Name one: program: package.module:function, or source: folder",
        )
    if stack.source is not None and ".." in Path(stack.source).parts:
        raise Terminal("The source lies outside of the bundle.", field="source")
    if stack.rotates and stack.check is None:
        raise Terminal(
            "A stack that rotates needs a `check`, which proves that a retired credential no longer opens.",
            field="check",
            mend="Name a function of the bundle: check: package.module:function",
        )
    return stack


def config(values: Mapping[str, Any]) -> Config:
    """The typed target configuration; raises Invalid with the field that is wrong."""
    try:
        parsed = msgspec.convert(dict(values), Config)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `")
        blamed = re.sub(r"^\$\.?|`$", "", path) or "directory"
        raise Invalid(
            f"The configuration of the pulumi target is invalid: {reason}", field=f"config.{blamed}"
        ) from None
    if not Path(parsed.directory).is_absolute():
        raise Invalid(
            "The directory of a pulumi target must be an absolute path.",
            field="config.directory",
            mend="Name one like /var/lib/twin/pulumi.",
        )
    if parsed.backend != "files":
        _check_backend(parsed.backend)
    return parsed


def _check_backend(backend: str) -> None:
    try:
        url = urlsplit(backend)
        password = url.password
    except ValueError:
        url, password = urlsplit(""), None
    if url.scheme not in BACKENDS or not (url.netloc or url.path):
        raise Invalid(
            "The backend is neither `files` nor the URL of a PostgreSQL database or an object store.",
            field="config.backend",
            mend="Name one like postgres://user@host/database, s3://bucket, gs://bucket or azblob://container.",
        )
    if password:
        raise Invalid(
            "The backend's password stands in its URL.",
            field="config.backend",
            mend="Take it out of the URL, and give it as the credential `password`.",
        )


def check_credentials(credentials: Mapping[str, str]) -> None:
    """Raise Invalid if a credential is missing or could be no variable of a program."""
    if not credentials.get(PASSPHRASE):
        raise Invalid(
            "A pulumi target needs a passphrase, which encrypts the secrets in the state of its stacks.",
            field="credentials.passphrase",
            mend="Give a long random one, and keep it: without it the stacks' secrets are lost.",
        )
    for name in credentials:
        if name not in (PASSPHRASE, PASSWORD) and not _VARIABLE.match(name):
            raise Invalid(
                f"{name!r} is neither `passphrase` nor `password` nor the name of a variable for programs.",
                field=f"credentials.{name}",
                mend="Name it as the programs read it, such as AWS_SECRET_ACCESS_KEY.",
            )


def backend_url(settings: Config, credentials: Mapping[str, str]) -> str:
    """The URL as the CLI takes it, with the password: for a child's environment and nothing else."""
    if settings.backend == "files":
        return f"file://{quote(str(Path(settings.directory) / 'state'))}"
    parts = urlsplit(settings.backend)
    if password := credentials.get(PASSWORD):
        user, _, host = parts.netloc.rpartition("@")
        parts = parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}")
    return urlunsplit(parts)
