"""The one table from what Gitea answers to what happens next."""

from __future__ import annotations

import httpx
import msgspec

from twin.domain.errors import StepFailure
from twin.forges import failures


class _Said(msgspec.Struct):
    message: str = ""


def failure(name: str, repository: str, response: httpx.Response) -> StepFailure:
    """What an answer that is an error means. Gitea's own 500 hides some requests that it finds wrong: it is retried,
    which does no harm."""
    try:
        said = msgspec.json.decode(response.content, type=_Said).message
    except msgspec.MsgspecError:
        said = ""
    return failures.by_status(name, repository, response.status_code, response.headers, failures.plain(said))
