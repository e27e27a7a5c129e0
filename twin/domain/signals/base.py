"""What every signal has in common."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct


class Signal(Struct, frozen=True, kw_only=True, tag_field="signal", forbid_unknown_fields=True):
    """A wish sent to a twin.

    `expect_plan` refuses it if the plan would be another than the one of that digest. `role` is the least role that
    may send it. `folds_into` names the field that takes all unknown fields (`scale` has `replicas` beside its own).
    """

    role: ClassVar[str] = "developer"
    folds_into: ClassVar[str | None] = None

    expect_plan: str | None = None
