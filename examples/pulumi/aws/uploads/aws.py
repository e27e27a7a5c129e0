"""What all resources share: how AWS is asked, whose a thing is, what changed, what is not there.

A dynamic provider is kept, with all that it uses, in the state of its stack. What is imported by name goes there by
value; a module as a whole would have to be there again when the stack is removed. So all is imported by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from pulumi.dynamic import DiffResult, ReadResult

Properties = dict[str, Any]

OWNER = "twin:stack"
"""The tag that says whose a thing is: the stack's name."""

_PATIENCE = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 4})


def client(service: str, **credential: str) -> Any:
    """A client as the target's variables say: AWS_DEFAULT_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, and
    AWS_ENDPOINT_URL for what only speaks like AWS. Sessions are not thread-safe: each client has its own."""
    return boto3.session.Session(**credential).client(service, config=_PATIENCE)


@contextmanager
def absence(*codes: str) -> Iterator[None]:
    """Go on if AWS says that the thing is not there."""
    try:
        yield
    except ClientError as error:
        if code(error) not in codes:
            raise


def code(error: ClientError) -> str:
    """AWS's name for what went wrong."""
    return str(error.response.get("Error", {}).get("Code", ""))


def changes(olds: Properties, news: Properties, *, fixed: Iterable[str], free: Iterable[str] = ()) -> DiffResult:
    """What differs from the world as last seen. Of what is `fixed` a change needs another thing: since names stay, the
    old one goes first."""
    replaces = [name for name in fixed if olds.get(name) != news.get(name)]
    changed = replaces or [name for name in free if olds.get(name) != news.get(name)]
    return DiffResult(changes=bool(changed), replaces=replaces, delete_before_replace=True)


def gone() -> ReadResult:
    """It does not stand in the world any more."""
    return ReadResult("", {})


def refuse_strangers(what: str, tags: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """A thing of this name that carries another's mark is not touched. One without a mark was cut off before it got
    one: nobody else can have it, since its name holds ours."""
    if tags.get(OWNER, wanted[OWNER]) != wanted[OWNER]:
        raise ValueError(f"{what} belongs to {tags[OWNER]} and not to {wanted[OWNER]}")


def pairs(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as S3 and IAM write them."""
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


def mapping(tags: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Tags as S3 and IAM write them, as a mapping."""
    return {tag["Key"]: tag["Value"] for tag in tags}
