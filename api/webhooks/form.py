"""The form of a kind of forge's deliveries: which headers say what, how they are signed, what reads them."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from msgspec import Struct

from twin.ports.deliveries import Translates


class HexSignature(Struct, frozen=True, kw_only=True):
    """The HMAC-SHA-256 of the body as it came, in hexadecimal, in a header (its name in lower case) after a prefix."""

    header: str
    prefix: str = ""

    def fits(self, secret: str, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether the body was signed with the secret. Takes as long whatever the header holds."""
        right = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        given = headers.get(self.header, "")
        return hmac.compare_digest(given.encode(), f"{self.prefix}{right}".encode())


class Form(Struct, frozen=True, kw_only=True):
    """Names of headers, in lower case: of the event, of the delivery's id, and of what else is `kept` with it."""

    event: str
    delivery: str
    signature: HexSignature
    kept: tuple[str, ...]
    translate: Translates

    def headers(self, given: Mapping[str, str]) -> dict[str, str]:
        """Those headers of a delivery that matter."""
        names = (self.event, self.delivery, self.signature.header, "content-type", "user-agent", *self.kept)
        return {name: given[name] for name in names if name in given}
