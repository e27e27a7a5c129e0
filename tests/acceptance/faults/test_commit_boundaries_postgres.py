"""`kill -9` at every COMMIT about an environment, on PostgreSQL: of the service, a worker, the component's server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import get_args

import pytest

from providers.local import LocalServers
from tests.acceptance.blueprints import folder
from tests.acceptance.catalogues import Opened
from tests.acceptance.conftest import MakeDatabase, Start
from tests.acceptance.faults.cut import When
from tests.acceptance.faults.mortal import Life, Mortal, Victim

MakeMortal = Callable[[Victim], Mortal]


@pytest.fixture
def make_mortal(
    make_service: Start,
    make_database: MakeDatabase,
    opened: tuple[Opened, ...],
    local_servers: LocalServers,
    tmp_path: Path,
) -> Iterator[MakeMortal]:
    """Makes services of which one process can die."""
    bundle = folder(
        tmp_path / "single", {"it": {"type": "nats.stream", "inputs": {"subjects": ["it.>"]}}}, name="single"
    )
    with ExitStack() as stack:

        def make(victim: Victim) -> Mortal:
            database = make_database()
            service = make_service(database_url=database, lease="2s")
            made = stack.enter_context(closing(Mortal(service, database, victim, opened, local_servers)))
            service.publish(bundle)
            return made

        yield make


# Eager: a signal's transaction claims and starts, a result's commits. Apart: each step is claimed and started as well.
# Services stand beside each other, for much of the time a lease is waited for.
@pytest.mark.parametrize(
    ("victim", "fewest", "services"), [("serve", 7, 2), ("api", 3, 1), ("worker", 8, 2), ("nats", 7, 1)]
)
def test_at_every_commit_a_kill_loses_nothing_and_doubles_nothing(
    make_mortal: MakeMortal, victim: Victim, fewest: int, services: int
) -> None:
    first = make_mortal(victim)
    whole = first.live("before", 0)
    _check(whole)
    assert not whole.died
    assert whole.commits >= fewest
    moments: SimpleQueue[tuple[When, int]] = SimpleQueue()
    for at in range(1, whole.commits + 1):
        for when in get_args(When):
            moments.put((when, at))
    deaths: dict[tuple[When, int], Life] = {}

    def work(mortal: Mortal) -> None:
        while True:
            try:
                moment = moments.get_nowait()
            except Empty:
                return
            deaths[moment] = mortal.live(*moment)

    others = [make_mortal(victim) for _ in range(services - 1)]
    with ThreadPoolExecutor(services) as pool:
        list(pool.map(work, [first, *others]))
    for moment, life in deaths.items():
        # The last ones may not come: what is found done needs no COMMIT.
        assert life.died or moment[1] > fewest, (moment, life)
        _check(life)


def _check(life: Life) -> None:
    assert life.outcomes == ["succeeded"] * 3, life
    assert life.accepted == 3, ("no signal is lost or taken twice", life)
    assert life.standing == (Counter(it_1=1), Counter(it_1=1)), ("one thing, made once", life)
    assert not life.left, life
