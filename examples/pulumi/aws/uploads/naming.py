"""Names in AWS, from the stack's name: the same after a crash, valid for a bucket, a queue and a user."""

from __future__ import annotations

import hashlib
import re

LONGEST = 63


def physical(stack: str, suffix: str) -> str:
    """At most 63 small letters, digits and dashes; a long stack's name is cut and told apart by its hash."""
    base = re.sub(r"[^a-z0-9]+", "-", stack.lower()).strip("-")
    if len(base) + 1 + len(suffix) > LONGEST or base != stack.lower().replace("_", "-"):
        digest = hashlib.sha256(stack.encode()).hexdigest()[:8]
        base = f"{base[: LONGEST - len(suffix) - 10].rstrip('-')}-{digest}"
    return f"{base}-{suffix}"
