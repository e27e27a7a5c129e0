"""Found by seed 5 (6 environments, 3 days, pace 0.4): an update to a blueprint of another type asked for an input that
the component's type does not know. To say so, the whole of its inputs was put into words, and a reference among them
had none: the requester saw an internal error instead of what to mend."""

from __future__ import annotations

import pytest

from twin.domain.errors import Invalid
from twin.domain.json_schema import check, literal

SCHEMA = {"type": "object", "properties": {"url": {"type": "string"}}, "additionalProperties": False}


def test_what_is_unknown_is_named() -> None:
    inputs = literal({"url": "${db.secrets.url}", "colour": "red"})
    with pytest.raises(Invalid, match="colour is not known"):
        check(inputs, SCHEMA, "components.app.inputs")
