"""What the OpenAPI document says is what the service does, whatever is sent: found by generated requests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.http.world import GZIP, World, bearer, bundle

EXAMPLES = 50
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]

schemathesis.openapi.media_type("application/gzip", st.binary(max_size=256))


class Served:
    """A world behind a real server, in a thread with a loop of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._began = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._run)
        self.url = ""
        self.known: dict[str, str] = {}

    def __enter__(self) -> Served:
        self._thread.start()
        assert self._began.wait(30), "the server starts"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(30)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        world = World(self._folder)
        await world.seed()
        async with world.served() as http:
            self.url = str(http.base_url)
            self.known = await _story(world, http, self._folder)
            self._began.set()
            await self._end.wait()
            world.stopping.stop()
        await world.store.close()


async def _story(world: World, http: httpx.AsyncClient, folder: Path) -> dict[str, str]:
    """Something to be found: a published blueprint and an environment that stands."""
    published = await http.post("/v1/blueprints", content=bundle(folder / "guestbook"), headers=GZIP)
    assert published.status_code == 201
    body = {"name": "dev", "blueprint": "guestbook"}
    accepted = (await http.post("/v1/projects/shop/environments", json=body)).json()
    await world.work(accepted["environment_id"])
    return {
        "environment_id": accepted["environment_id"],
        "operation_id": accepted["operation"]["id"],
        "project": "shop",
        "name": "dev",
        "version": "1.0.0",
    }


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("schemathesis")) as running:
        yield running


# Schemathesis' own strategies for wrong paths shuffle with `random`.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module:hypothesis.errors.HypothesisDeprecationWarning")
def test_the_service_does_what_its_document_says(served: Served) -> None:
    """One test for all routes: Schemathesis' own parametrisation does not know this pytest."""
    schema = schemathesis.openapi.from_url(f"{served.url}/schema/openapi.json")
    broken: dict[str, Exception] = {}
    count = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        count += 1
        right, wrong = (operation.as_strategy(generation_mode=mode) for mode in GenerationMode)
        cases = st.one_of(right, wrong, *schema.get_strategies_from_examples(operation))
        try:
            _try(cases, served)
        except Exception as problem:  # every route has its turn
            broken[operation.label] = problem
    assert count == 54
    assert not broken, "\n\n".join(f"{label}: {problem}" for label, problem in broken.items())


def _try(cases: st.SearchStrategy[schemathesis.Case], served: Served) -> None:
    @given(cases)
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def answers(case: schemathesis.Case) -> None:
        _aim(case, served.known)
        case.call_and_validate(headers=bearer("root"), checks=CHECKS, timeout=30)

    answers()


def _aim(case: schemathesis.Case, known: dict[str, str]) -> None:
    """Half of what a path names is there, no answer is without end, and all is HTTP: what is not, the server answers by
    itself. (Hypothesis takes such names from the strings of the tests that run with this one.)"""
    for name in [each for each in case.headers if each.casefold() in ("content-length", "transfer-encoding")]:
        del case.headers[name]
    for name, value in case.path_parameters.items():
        if name in known and len(str(value)) % 2 == 0:
            case.path_parameters[name] = known[name]
    if "wait" in case.query:
        case.query["wait"] = 0
    if "follow" in case.query:
        case.query["follow"] = False
