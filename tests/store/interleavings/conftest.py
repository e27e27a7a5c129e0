"""One database for all schedules of a module: each has twins of its own, and finds the queue empty."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from itertools import count

import psycopg
import pytest
import structlog
from sqlalchemy import make_url

from tests.store.interleavings.exploring import Tally
from tests.store.interleavings.scene import Scene, run
from tests.store.interleavings.stepping import gates

_numbers = count(1)
_explored: dict[str, Tally] = {}


@pytest.fixture(scope="module")
def scene(postgres_server: str, postgres_template: str) -> Iterator[Scene]:
    name = f"interleavings_{next(_numbers)}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {postgres_template}".encode())
        # Only a crash tells whether a commit waited for the disk, and nothing crashes here.
        url = make_url(postgres_server).set(database=name, query={"options": "-csynchronous_commit=off"})
        made = Scene(url.render_as_string(hide_password=False))
        with gates():
            yield made
        assert not run(made.store.verify()).findings, "all chains hold, that of the platform too"
        made.close()
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[Tally], None]:
    """Has the summary of the run name what was explored."""

    def add(tally: Tally) -> None:
        _explored[request.node.nodeid] = tally

    return add


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of steps, each of which would be told."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.configure(**before)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many schedules were played, and how many of them differ."""
    if _explored:
        whole = [tally for tally in _explored.values() if tally.complete]
        sampled = [tally for tally in _explored.values() if not tally.complete]
        for what, tallies in (("every order of two or three", whole), ("sampled orders of three and four", sampled)):
            schedules, waits = sum(t.schedules for t in tallies), sum(t.waits for t in tallies)
            orders = sum(len(t.orders) for t in tallies)
            terminalreporter.write_line(
                f"interleavings, {what}: {len(tallies)} casts, {schedules} schedules, {orders} distinct, {waits} waits"
            )
