"""Found by seed 5: the answer to the COMMIT of a start was lost, and the start, made again, gave back its own lease.

The step then ran for ever: its row said that it runs, and nobody held it.
"""

from __future__ import annotations

from tests.simulation.command import simulator
from tests.simulation.planted import SIZE


def test_a_start_whose_answer_was_lost_goes_on() -> None:
    done = simulator("--seeds", "5", *SIZE)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
