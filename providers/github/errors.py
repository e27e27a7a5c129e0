"""The one table from what GitHub answers, and githubkit raises, to what happens next."""

from __future__ import annotations

import re
from datetime import timedelta

import msgspec
from githubkit.exception import RateLimitExceeded, RequestError, RequestFailed

from twin.domain.errors import Blocked, StepFailure, Transient
from twin.forges import failures

_UNTOLD_LIMIT = timedelta(minutes=1)
"""What GitHub's documentation asks for where the answer names no time."""

_LIMIT = re.compile(r"rate limit|abuse detection", re.IGNORECASE)
_NOT_YET = re.compile(r"no (commit|ref|tree) found", re.IGNORECASE)


class _Said(msgspec.Struct):
    message: str = ""


def cause(error: Exception) -> Exception:
    """What githubkit has wrapped: a failure of our transport, or one while the installation's token was asked for."""
    while isinstance(error, RequestError) and not isinstance(error, RequestFailed):
        error = error.exc
    return error


def is_about_token(failed: RequestFailed) -> bool:
    """Whether it is the answer to asking for an installation's token, and not to the call itself."""
    return failed.request.url.path.endswith("/access_tokens")


def failure(name: str, repository: str, error: Exception) -> StepFailure | None:
    """What happens next; None for a program error."""
    if isinstance(error, StepFailure):
        return error
    if isinstance(error, RateLimitExceeded):
        return failures.limited(name, failures.bounded(error.retry_after))
    if isinstance(error, RequestFailed):
        return _answered(name, repository, error)
    if isinstance(error, ValueError | KeyError):
        # Of a header, or of the answer with the installation's token.
        return failures.not_understood(name, type(error).__name__)
    return None


def _answered(name: str, repository: str, failed: RequestFailed) -> StepFailure:
    response = failed.response.raw_response
    status = response.status_code
    said = _said(response.content)
    if status in (403, 429) and _LIMIT.search(said):
        return failures.limited(name, failures.retry_after(response.headers) or _UNTOLD_LIMIT)
    if is_about_token(failed) and status in (403, 404):
        key = f"{name}/installation"
        return Blocked(
            f"{name} knows no active installation as configured",
            key=key,
            mend=f"Install the app, or correct app.installation_id of the target, then: twin blocks resolve {key}",
        )
    if status == 422 and _NOT_YET.search(said):
        return Transient(f"{name} has no such commit in {repository} now")
    return failures.by_status(name, repository, status, response.headers, said)


def _said(content: bytes) -> str:
    try:
        return failures.plain(msgspec.json.decode(content, type=_Said).message)
    except msgspec.MsgspecError:
        return ""
