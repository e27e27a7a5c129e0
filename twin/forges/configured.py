"""Reading what a forge is configured with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from twin.domain.errors import Invalid

Url = Annotated[str, Meta(pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?$", max_length=500)]
"""An address without user, query and fragment."""

Token = Annotated[str, Meta(pattern=r"^[!-~]+$", max_length=2000)]
"""What fits into a header."""

S = TypeVar("S", bound=Struct)


def read(struct: type[S], given: Mapping[str, Any], where: str) -> S:
    """`given` as a `struct`. Raises `Invalid` with the field, below `where`; a refused value, perhaps a secret, is not
    repeated."""
    try:
        return msgspec.convert(dict(given), struct)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$.")
        field = f"{where}.{path.rstrip('`')}" if path else where
        raise Invalid(f"{field}: {problem}", field=field, mend=f"Correct {field} of the target.") from None
