"""What a keyspace's user may do, as ACL rules.

The server is shared, so the rule is: nothing that reaches beyond the user's own prefix, not even to see others' names.
Categories and subcommands differ between versions; what a version does not know, it refuses.
"""

from __future__ import annotations

from collections.abc import Set
from hashlib import sha256

from providers.redis.spec import KeyspaceInputs

SHOWS_OTHERS = ("-scan", "-randomkey", "-pubsub")
"""Names of everybody's keys and channels. (KEYS, SORT, MONITOR and FLUSHDB are in @dangerous.)"""

OTHER_DATABASES = ("-select", "-move")
"""A keyspace is a prefix in database 0."""

SHARED_SCRIPTS = ("-script", "+script|load", "+script|exists")
"""The cache of scripts is everybody's: SCRIPT FLUSH and KILL are not for one user."""

NEEDED_BY_CLIENTS = ("+info",)
"""In @dangerous, yet libraries (BullMQ, Celery) call it at the start."""

NEEDED_BEFORE_7 = ("+client|setname", "+client|getname", "+client|setinfo", "+client|id")
"""Since 7.0 subcommands have categories of their own; before, the whole of CLIENT is in @admin."""


def rules(name: str, *, password: str, inputs: KeyspaceInputs, version: int, categories: Set[str]) -> tuple[str, ...]:
    """The arguments of ACL SETUSER after the name: replaces whatever the user had, turned on.

    `version` is the server's major version, `categories` what ACL CAT lists. The password goes as its SHA-256, so that
    neither MONITOR nor the slow log ever shows it.
    """
    return (
        *("reset", "on", f"#{sha256(password.encode()).hexdigest()}"),
        *("resetkeys", f"~{name}:*", "resetchannels", f"&{name}:*"),
        *("+@all", "-@admin", "-@dangerous"),
        *(("-@write",) if inputs.access == "read-only" else ()),
        *SHOWS_OTHERS,
        *OTHER_DATABASES,
        *(SHARED_SCRIPTS if inputs.scripts else ("-@scripting",)),
        *(("-function",) if inputs.scripts and version >= 7 else ()),  # libraries of functions are everybody's too
        *(("-@search",) if "search" in categories else ()),  # an index may cover any prefix
        *NEEDED_BY_CLIENTS,
        *(NEEDED_BEFORE_7 if version < 7 else ()),
    )
