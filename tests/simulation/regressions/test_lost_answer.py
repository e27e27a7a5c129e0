"""Found by seed 4: the answer to the COMMIT of a start was lost, and the start, made again, gave back its own lease.

The step then ran for ever: its row said that it runs, and nobody held it.
"""

from __future__ import annotations

from tests.simulation.command import simulator


def test_a_start_whose_answer_was_lost_goes_on() -> None:
    done = simulator("--seeds", "4", "--environments", "6", "--days", "1", "--pace", "0.5", "--faults", "unseen,freeze")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
