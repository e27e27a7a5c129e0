"""Whether a replica answers."""

from __future__ import annotations

import httpx

ONE_CHECK = 5.0  # seconds that one answer may take


def base_url(host: str, port: int) -> str:
    """The address of a replica."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def check(host: str, port: int, path: str, timeout: float = ONE_CHECK) -> str | None:
    """None if `path` answers with a status below 400, else a sentence that says what happened."""
    url = base_url(host, port) + path
    try:
        # the worker's proxy settings are not for the loopback
        async with httpx.AsyncClient(trust_env=False, timeout=timeout) as client, client.stream("GET", url) as answer:
            return None if answer.status_code < 400 else f"GET {url} answers {answer.status_code}"
    except httpx.TimeoutException:
        return f"GET {url} does not answer within {timeout:g} s"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"GET {url} fails: {type(error).__name__}"
