"""The port to whoever can start steps in the very transaction that makes them due: signal and step, two commits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from twin.ports.store import Tx


class Starter(Protocol):
    """A worker in this process. What it cannot take is found by any worker in the usual way."""

    def begin(self, tx: Tx, kind: str, entity: str) -> Sequence[Any]:
        """Within the transaction: claim and start the entity's due steps as far as there is room. The result counts
        only if the transaction commits."""
        ...

    def launch(self, begun: Sequence[Any]) -> None:
        """After the commit: run what was begun."""
        ...
