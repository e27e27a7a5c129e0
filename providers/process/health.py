"""Whether a replica answers."""

from __future__ import annotations

import httpx
from msgspec import Struct

ONE_CHECK = 5.0  # seconds that one answer may take


def base_url(host: str, port: int) -> str:
    """The address of a replica."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Complaint(Struct, frozen=True):
    """What was wrong, as a sentence; `answered` if the replica is alive enough to say so itself."""

    text: str
    answered: bool = False


async def check(host: str, port: int, path: str, timeout: float = ONE_CHECK) -> Complaint | None:
    """None if `path` answers with a status below 400."""
    url = base_url(host, port) + path
    try:
        # the worker's proxy settings are not for the loopback
        async with httpx.AsyncClient(trust_env=False, timeout=timeout) as client, client.stream("GET", url) as answer:
            if answer.status_code < 400:
                return None
            return Complaint(f"GET {url} answers {answer.status_code}", answered=True)
    except httpx.TimeoutException:
        return Complaint(f"GET {url} does not answer within {timeout:.1f} s")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Complaint(f"GET {url} fails: {type(error).__name__}")
