"""What the usual clients read from their environment, so that no secret stands in a command line.

By the scheme of a URL, whatever provider has given it: psql and all of libpq (PG…), redis-cli (REDISCLI_AUTH; host,
port and user it takes as arguments alone), nats (NATS_…).
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

_SCHEMES = {"postgresql": "postgres", "postgres": "postgres", "redis": "redis", "rediss": "redis", "nats": "nats"}
_LIBPQ = {"sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "options": "PGOPTIONS", "host": "PGHOST"}


def parts(url: str) -> dict[str, str]:
    """What stands in a URL, decoded: `host`, `port`, `user`, `password`, `database`, as far as each does."""
    split = _split(url)
    if split is None:
        return {}
    found = {
        "host": split.hostname or "",
        "port": str(split.port or ""),
        "user": unquote(split.username or ""),
        "password": unquote(split.password or ""),
        "database": unquote(split.path.removeprefix("/")),
    }
    return {name: value for name, value in found.items() if value}


def client_variables(urls: Iterable[str]) -> dict[str, str]:
    """The variables for those clients that have exactly one of these URLs to go to."""
    by_client: dict[str, list[str]] = {}
    for url in urls:
        split = _split(url)
        if split is not None and split.scheme in _SCHEMES:
            by_client.setdefault(_SCHEMES[split.scheme], []).append(url)
    found: dict[str, str] = {}
    for client, its in by_client.items():
        if len(its) == 1:
            found |= _OF[client](its[0])
    return found


def _postgres(url: str) -> dict[str, str]:
    of = parts(url)
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "database": "PGDATABASE"}
    found = {variable: of[name] for name, variable in names.items() if name in of}
    given = dict(parse_qsl(urlsplit(url).query))
    return found | {variable: given[name] for name, variable in _LIBPQ.items() if name in given}


def _redis(url: str) -> dict[str, str]:
    return {"REDISCLI_AUTH": password} if (password := parts(url).get("password")) else {}


def _nats(url: str) -> dict[str, str]:
    of, split = parts(url), urlsplit(url)
    names = {"user": "NATS_USER", "password": "NATS_PASSWORD"}
    address = split.netloc.rpartition("@")[2]
    found = {variable: of[name] for name, variable in names.items() if name in of}
    return {"NATS_URL": f"{split.scheme}://{address}", **found}


_OF = {"postgres": _postgres, "redis": _redis, "nats": _nats}


def _split(url: str) -> SplitResult | None:
    try:
        split = urlsplit(url)
        _ = split.port
    except ValueError:
        return None
    return split if split.scheme and split.netloc else None
