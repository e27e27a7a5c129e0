"""How a person removes what an inventory found: with redis-cli, which takes the password from REDISCLI_AUTH."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from providers.redis.client import OWNED
from providers.redis.names import component_of
from providers.redis.spec import TargetConfig
from providers.redis.users import NOTES

_SPECIAL = "\\*?[]^-"
"""What a pattern of SCAN does not take as it is."""


def of_user(config: TargetConfig, user: str, databases: Iterable[int]) -> str:
    """Its end, with that of the component's keys, by which nobody would find them any more, and of what tells of it."""
    component = component_of(user)
    ways = [_cli(config, "ACL", "DELUSER", user), _cli(config, "ACL", "SAVE"), *_keys(config, component, databases)]
    return " && ".join([*ways, _untold(config, component), _cli(config, "HDEL", OWNED, component)])


def of_mark(config: TargetConfig, component: str, databases: Iterable[int]) -> str:
    """The end of the keys, then of what tells of the component."""
    ways = [*_keys(config, component, databases), _untold(config, component)]
    return " && ".join([*ways, _cli(config, "HDEL", OWNED, component)])


def of_keys(config: TargetConfig, component: str, databases: Iterable[int]) -> str:
    """The end of all keys below the component's prefix."""
    return " && ".join(_keys(config, component, databases))


def _untold(config: TargetConfig, component: str) -> str:
    return _cli(config, "DEL", NOTES + component)


def _keys(config: TargetConfig, component: str, databases: Iterable[int]) -> Iterable[str]:
    pattern = "".join(f"\\{sign}" if sign in _SPECIAL else sign for sign in component) + ":*"
    for database in sorted(databases):
        number = ("-n", str(database))
        found = _cli(config, *number, "--scan", "--pattern", pattern)
        # Raw, one a line: a name with a line's end in it stays, and the next sweep tells of it.
        yield f"{found} | xargs -r -d '\\n' {_cli(config, *number, 'UNLINK')}"


def _cli(config: TargetConfig, *words: str) -> str:
    place = ["-h", config.host, "-p", str(config.port), "--user", config.user, *(["--tls"] if config.tls else [])]
    return shlex.join(["redis-cli", *place, *words])
