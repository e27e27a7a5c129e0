"""What one simulation is made of: its seed, its size and what may go wrong. Equal settings give equal runs."""

from __future__ import annotations

import random

from msgspec import Struct

FAULTS = (
    "transient",  # a server refuses for a moment
    "rate_limit",  # … and says when to come again
    "quota",  # needs a human
    "terminal",  # will never work so
    "slow",  # replies after a long time, or after the deadline
    "lost_reply",  # it was done, and the caller sees a timeout
    "crash",  # a worker's process dies: before or after a commit or an effect
    "late",  # what a dead or frozen caller has sent takes effect later, perhaps twice
    "freeze",  # a worker stands still, loses its lease and comes back
    "lease",  # a worker that lives is taken for dead
    "drain",  # a worker is asked to stop, and stops what it runs
    "skew",  # clocks differ; the database's is set back
    "refusal",  # the database refuses for a while, or fails amid a transaction or at COMMIT
    "unseen",  # a commit whose answer is lost
    "vandal",  # somebody removes or changes a resource by hand
)
"""Every kind of fault of twins, their servers and their workers."""

FORGE_FAULTS = (
    "forge",  # a forge answers with an error
    "forge_limit",  # … and says when to come again
    "forge_refuses",  # it refuses the token, until a human has mended that
    "forge_slow",  # it answers after a long time, or after the deadline
    "forge_lost",  # it was done, and the caller sees an error
    "cut",  # a listing lacks a part, or is empty, and may look whole
    "mail",  # a delivery comes late, twice, out of order or never
)
"""Every kind of fault of a forge. Only lives with pull requests have them."""

ALL_FAULTS = FAULTS + FORGE_FAULTS

_EVERY = 8
"""Of so many seeds one has pull requests, unless it is said."""

_AT_ONCE = 3
"""Pull requests that are worked at, at the same time."""


class Setting(Struct, frozen=True, kw_only=True):
    """`pace` is the mean number of days between two visits to an environment; a visit sends one to six signals.
    `visits` bounds their number. `faults` are those that may happen: each seed takes a part of them. `pulls`: how many
    pull requests are worked at, at the same time; None: the seed says."""

    seed: int
    environments: int = 50
    days: float = 100.0
    pace: float = 20.0
    visits: int | None = None
    faults: tuple[str, ...] = ALL_FAULTS
    pulls: int | None = None

    @property
    def pull_requests(self) -> int:
        """How many people work at pull requests."""
        if self.pulls is not None:
            return self.pulls
        return _AT_ONCE if self.seed % _EVERY == _EVERY // 2 else 0

    @property
    def command(self) -> str:
        """What repeats exactly this run."""
        words = [f"--seeds {self.seed}", f"--environments {self.environments}", f"--days {self.days:g}"]
        words.append(f"--pace {self.pace:g}")
        if self.visits is not None:
            words.append(f"--visits {self.visits}")
        if self.pulls is not None:
            words.append(f"--pulls {self.pulls}")
        if self.faults != ALL_FAULTS:
            words.append(f"--faults {','.join(self.faults) or 'none'}")
        return f"python -m twin.testing.simulator {' '.join(words)}"


class Fate:
    """All chance of a run. `calm` ends all faults.

    Swarm testing: each seed has only some kinds of faults, and these more often, for kinds can hide each other
    (A. Groce et al., "Swarm Testing", ISSTA 2012).
    """

    def __init__(self, setting: Setting) -> None:
        self.random = random.Random(f"twin {setting.seed}")  # noqa: S311 - reproducible on purpose
        every = self.random.random() < 0.2
        drawn = {kind: (self.random.random(), self.random.choice((0.3, 1.0, 1.0, 3.0))) for kind in FAULTS}
        self.rates = {
            kind: rate for kind, (luck, rate) in drawn.items() if (luck < 0.6 or every) and kind in setting.faults
        }
        if setting.pull_requests:  # by a chance of their own: lives without them are as they were
            apart = random.Random(f"pull requests {setting.seed}")  # noqa: S311 - reproducible on purpose
            for kind in FORGE_FAULTS:
                luck, rate = apart.random(), apart.choice((0.3, 1.0, 1.0, 3.0))
                if (luck < 0.6 or every) and kind in setting.faults:
                    self.rates[kind] = rate
        self.calm = False

    def strikes(self, kind: str, chance: float) -> bool:
        """Whether a fault of that kind happens now; `chance` is that of a seed of usual bad luck."""
        rate = 0.0 if self.calm else self.rates.get(kind, 0.0)
        return rate > 0.0 and self.random.random() < chance * rate

    def latency(self) -> float:
        """Seconds that a message takes."""
        return self.random.expovariate(1 / 0.01)

    def work(self) -> float:
        """Seconds that a server works on a request."""
        return self.random.choice((0.05, 0.5, 2.0, 8.0)) * (0.5 + self.random.random())
