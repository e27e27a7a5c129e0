"""A stored message's headers, to be published again as they stand.

nats-py gives them as a dictionary, which loses a name's second value, and reads them as ASCII; both are common in what
other clients write.
"""

from __future__ import annotations

import base64
from typing import Any

from nats.js.api import RawStreamMsg

CONTROL = "nats-"
"""How headers begin that tell the server what to do with a message. It has done it: sent again they would, for example,
drop a message for one whose identifier it shares."""


class Headers(dict[str, str]):
    """What nats-py writes out pair by pair, so that a name can come twice."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        super().__init__(pairs)
        self._pairs = pairs

    def items(self) -> Any:
        """The pairs, in their order."""
        return self._pairs


def headers_of(message: RawStreamMsg) -> Headers | None:
    """The headers but those for the server. Raises UnicodeDecodeError if they are not UTF-8."""
    if not message.hdrs:
        return None
    pairs = []
    for line in base64.b64decode(message.hdrs).split(b"\r\n")[1:]:  # the first says the version
        name, colon, value = line.decode().partition(":")
        if colon and not name.lower().startswith(CONTROL):
            pairs.append((name, value))
    return Headers(pairs) if pairs else None
