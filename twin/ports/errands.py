"""The port to what entities other than environments have done for them: asking a forge, telling it something.

An errand is a task of kind step: leased by one worker, outside of any transaction, done again after a crash. So it must
be one that may be repeated.
"""

from __future__ import annotations

from typing import Any, Protocol

from twin.domain.errors import StepFailure
from twin.ports.store import Claimed


class Errands(Protocol):
    """Those of one kind of entity."""

    async def run(self, task: Claimed) -> Any:
        """Do it. Returns the input that tells the entity what came of it, None if it needs to know nothing. Raises
        `StepFailure` if it could not be done."""
        ...

    def failed(self, task: Claimed, failure: StepFailure) -> Any:
        """The input that tells the entity of a failure: it decides when the errand is run again."""
        ...
