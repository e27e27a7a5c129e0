"""What a NATS target needs and what a `nats.stream` takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from twin.domain.component_type import IMMUTABLE, SCALABLE, ComponentType, inputs_schema
from twin.domain.errors import Invalid, Terminal

TOKEN = r"[A-Za-z0-9_-]+"  # noqa: S105 - a token of a subject
SUBJECT = rf"^({TOKEN}|\*)(\.({TOKEN}|\*))*(\.>)?$"
"""A subject: tokens joined by dots; `*` stands for one token and `>`, at the end, for all that follow. Subjects that
begin with `$` belong to the server, so a lone `>` is refused too."""

BYTES = {"x-unit": "bytes"}
SECONDS = {"x-unit": "seconds"}
MEBIBYTE = 1 << 20


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A target's configuration.

    The server's own configuration must name a system account and include `accounts_file` inside its `accounts` block
    (see README.md); the file must exist and be writable for the worker. Its directory too: the file is replaced whole.
    """

    host: Annotated[str, Meta(min_length=1, description="Host name or address that workers and applications use.")]
    port: Annotated[int, Meta(ge=1, le=65535, description="Client port.")] = 4222
    accounts_file: Annotated[str, Meta(pattern="^/", description="Absolute path of the file of accounts.")]
    reload_grace: Annotated[
        int,
        Meta(
            ge=0,
            le=1000,
            description="Milliseconds that who is logging in has to do so while the server reloads; costs it as much.",
            extra_json_schema={"x-unit": "milliseconds"},
        ),
    ] = 60


class Credentials(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A target's credentials: a user of the system account, and the secret from which the twin's own password in each
    account is derived."""

    system_user: Annotated[str, Meta(min_length=1)]
    system_password: Annotated[str, Meta(min_length=1)]
    admin_password: Annotated[str, Meta(min_length=12)]


class StreamInputs(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Inputs of `nats.stream`."""

    subjects: Annotated[
        list[Annotated[str, Meta(pattern=SUBJECT, max_length=255)]],
        Meta(
            min_length=1,
            max_length=64,
            description='Subjects that the stream keeps, for example "jobs.>". They must not overlap.',
            extra_json_schema={"uniqueItems": True},
        ),
    ]
    max_bytes: Annotated[
        int,
        Meta(
            ge=64 * 1024,
            le=1 << 40,
            description="Room for messages, reserved on the server. When it shrinks, `discard: old` drops the oldest.",
            extra_json_schema=SCALABLE | BYTES,
        ),
    ] = 64 * MEBIBYTE
    max_messages: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000_000_000,
            description="Messages that the stream holds at most.",
            extra_json_schema=SCALABLE | {"x-unit": "messages"},
        ),
    ] = 1_000_000
    max_age: Annotated[
        int,
        Meta(
            ge=0,
            le=315_360_000,
            description="Seconds after which a message is dropped; 0 keeps it until there is no room.",
            extra_json_schema=SCALABLE | SECONDS,
        ),
    ] = 0
    discard: Annotated[
        Literal["old", "new"],
        Meta(description="When full: drop the `old`est message, or refuse the `new` one (its publisher is told)."),
    ] = "old"
    storage: Annotated[
        Literal["file", "memory"],
        Meta(
            description="Where messages live; `memory` loses them when the server restarts.",
            extra_json_schema=IMMUTABLE,
        ),
    ] = "file"
    retention: Annotated[
        Literal["limits", "workqueue", "interest"],
        Meta(
            description="`limits` keeps messages up to the limits, `workqueue` until one consumer has acknowledged, "
            "`interest` until all have.",
            extra_json_schema=IMMUTABLE,
        ),
    ] = "limits"


def takes(patterns: Iterable[str], subject: str) -> bool:
    """Whether a stream of the subjects `patterns` keeps what is published on `subject`."""
    return any(_takes(pattern.split("."), subject.split(".")) for pattern in patterns)


def _takes(pattern: list[str], tokens: list[str]) -> bool:
    if pattern[-1] == ">":
        return len(tokens) >= len(pattern) and _takes(pattern[:-1], tokens[: len(pattern) - 1])
    return len(tokens) == len(pattern) and all(
        each in ("*", token) for each, token in zip(pattern, tokens, strict=True)
    )


TYPES: tuple[ComponentType, ...] = (
    ComponentType(
        name="nats.stream",
        provider="nats",
        schema=inputs_schema(StreamInputs),
        minted=("password",),
        secrets=("url", "password"),
        outputs=("host", "port", "user", "account", "stream"),
        stateful=True,
        suspends=True,
        copies=frozenset({"full"}),
        rotates=True,
        grants=True,
        deadline=60.0,
    ),
)

S = TypeVar("S", bound=Struct)


def read(struct: type[S], given: Mapping[str, Any], what: str) -> S:
    """`given` as a `struct` of this module.

    Raises `Invalid`, naming the field under `what` ("config", "credentials"). A refused value is never repeated: it
    may be a secret.
    """
    try:
        return msgspec.convert(dict(given), struct)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$.")
        field = f"{what}.{path.rstrip('`')}" if path else what
        raise Invalid(f"{field}: {problem}", field=field, mend=f"Correct {field} of the target.") from None


def read_inputs(given: Mapping[str, Any]) -> StreamInputs:
    """A component's inputs. Raises `Terminal`: they were validated when they were accepted, references aside."""
    try:
        return msgspec.convert(dict(given), StreamInputs)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$.")
        field = path.rstrip("`").partition("[")[0] or None
        raise Terminal(problem, field=field, mend="Correct the input and send the change again.") from None
