"""What a keyspace's users may do, as ACL rules.

The server is shared, so the rule is: nothing that reaches beyond the component's own prefix, not even to see others'
names. Categories and subcommands differ between versions; what a version does not know, it refuses.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Literal

from providers.redis.spec import KeyspaceInputs

Role = Literal["viewer", "developer", "operator", "admin"]
"""A person's, as `twin.ports.provider.Member` has it."""

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

READS_ONLY = ("-@write", "-@scripting", "-publish")
"""Of a viewer: listeners act on what is published, and a long script stops the server."""


def rules(
    component: str,
    *,
    digest: str,
    inputs: KeyspaceInputs,
    version: int,
    categories: Set[str],
    role: Role | None = None,
    on: bool = True,
) -> tuple[str, ...]:
    """The arguments of ACL SETUSER after the user's name: replaces whatever the user had.

    `version` is the server's major version, `categories` what ACL CAT lists. The password goes as its SHA-256
    (`digest`), so that neither MONITOR nor the slow log ever shows it. Without a `role` it is the app's user; people
    may do what the app may, viewers only what reads.
    """
    return (
        *("reset", "on" if on else "off", f"#{digest}"),
        *("resetkeys", f"~{component}:*", "resetchannels", f"&{component}:*"),
        *("+@all", "-@admin", "-@dangerous"),
        *(("-@write",) if inputs.access == "read-only" else ()),
        *SHOWS_OTHERS,
        *OTHER_DATABASES,
        *(SHARED_SCRIPTS if inputs.scripts else ("-@scripting",)),
        *(("-function",) if inputs.scripts and version >= 7 else ()),  # libraries of functions are everybody's too
        *(("-@search",) if "search" in categories else ()),  # an index may cover any prefix
        *NEEDED_BY_CLIENTS,
        *(NEEDED_BEFORE_7 if version < 7 else ()),
        *(READS_ONLY if role == "viewer" else ()),
        *(("-spublish",) if role == "viewer" and version >= 7 else ()),
    )
