"""The guestbook's whole life on real servers: scaled at once, signed, broken, mended, asleep, renewed, gone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tests.acceptance import catalogues
from tests.acceptance.catalogues import Opened
from tests.acceptance.conftest import Start
from tests.acceptance.service import Json, Service
from tests.waiting import eventually
from twin.children.processes import marked
from twin.domain.identity import EnvironmentId, ownership_mark

GUESTBOOK = Path(__file__).parents[2] / "examples" / "guestbook"


class Guestbook:
    """One guestbook environment, as its guests and its owner see it."""

    def __init__(self, service: Service, opened: tuple[Opened, ...], environment: str) -> None:
        self.service = service
        self.id = environment
        self._opened = opened

    @property
    def view(self) -> Json:
        """The twin."""
        return self.service.environment(self.id)

    def component(self, name: str) -> Json:
        """One component of it."""
        found: Json = next(each for each in self.view["components"] if each["name"] == name)
        return found

    def send(self, signal: str, **fields: object) -> None:
        """Send a signal and wait until its operation has succeeded."""
        self.service.succeeded(self.service.signal(self.id, signal, **fields))

    def replicas(self) -> dict[str, int]:
        """The pids of the app's processes by number."""
        found = {}
        for process in marked(ownership_mark(EnvironmentId(self.id))):
            with suppress(psutil.NoSuchProcess):  # it has just ended
                environ = psutil.Process(process.pid).environ()
                if "PORT" in environ:
                    found[environ["TWIN_SLOT"].partition("-")[0]] = process.pid
        return found

    def connections(self) -> int:
        """How many the database's server counts to our database."""
        postgres = next(each for each in self._opened if each[0].provider == "postgres")
        with catalogues.postgres(postgres) as server:
            row = server.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = %s", (self.component("db")["external_id"],)
            ).fetchone()
        assert row is not None
        return int(row[0])

    @contextmanager
    def visit(self, replica: int = 0) -> Iterator[httpx.Client]:
        """A guest's browser at one of the replicas."""
        address = self.component("app")["outputs"]["urls"][replica]
        with httpx.Client(base_url=address, follow_redirects=True, trust_env=False, timeout=20) as guest:
            yield guest

    def catalogues(self) -> catalogues.Catalogues:
        """What the servers and the process table know of it."""
        return catalogues.look(self._opened, self.id)


@pytest.fixture
def service(make_service: Start) -> Service:
    service = make_service()
    service.serve()
    service.publish(GUESTBOOK)
    return service


def test_the_life_of_a_guestbook(service: Service, opened: tuple[Opened, ...], tmp_path: Path) -> None:
    created = service.create("dev", "guestbook")
    scaled = service.signal(created["environment_id"], "scale", component="app", replicas=3)
    book = Guestbook(service, opened, created["environment_id"])

    made_once_with_three(book, created, scaled)
    guests_are_greeted(book)
    an_impossible_scale_changes_nothing(book)
    a_killed_replica_is_found_and_replaced(book)
    asleep_it_holds_nothing_and_keeps_everything(book)
    a_new_version_keeps_what_it_has(book, renewed(tmp_path / "renewed"))
    its_end_is_proven(book)


def made_once_with_three(book: Guestbook, created: Json, scaled: Json) -> None:
    """The scale came while the create ran: one plan, and both operations end well."""
    assert created["operation"]["status"] == scaled["operation"]["status"] == "running"
    for accepted in (created, scaled):
        book.service.succeeded(accepted)
    started = [e for e in book.service.events(book.id, "step_started") if e["component"] == "app"]
    (start,) = started
    both = {accepted["operation"]["id"] for accepted in (created, scaled)}
    assert set(start["data"]["operations"]) == both, "one step serves both"
    assert book.component("app")["applied"]["replicas"] == 3
    assert book.view["status"] == "ready"
    assert book.view["plan"]["steps"] == []
    assert sorted(book.replicas()) == ["0", "1", "2"]
    world_ = book.catalogues()
    assert set(world_.replicas.values()) == {1}
    assert sum(world_.replicas.values()) == 3


def guests_are_greeted(book: Guestbook) -> None:
    """PostgreSQL keeps the words, Redis counts, a NATS job greets; every replica shows the same."""
    with book.visit() as guest:
        assert guest.get("/healthz").json() == {"PostgreSQL": True, "Redis": True, "NATS": True}
        page = guest.post("/sign", data={"name": "Ada", "message": "I was here first"}).text
        assert "I was here first" in page
        assert page.count("<strong>answers</strong>") == 3
        eventually(lambda: "Welcome, Ada! You are guest number 1." in guest.get("/").text, within=10)
        first, second = _visits(guest.get("/").text), _visits(guest.get("/").text)
        assert second == first + 1
    with book.visit(replica=2) as other:
        page = other.get("/").text
        assert "I was here first" in page
        assert _visits(page) == second + 1
        assert "served by replica 2" in page


def an_impossible_scale_changes_nothing(book: Guestbook) -> None:
    """It is refused with the field, the value and the bound, and leaves no trace in the twin."""
    api, path = book.service.api, f"/v1/environments/{book.id}"
    before, events = api.get(path), len(book.service.events(book.id))
    refused = api.post(f"{path}/signals", json={"signal": "scale", "component": "app", "replicas": 99})
    assert refused.status_code == 422
    problem = refused.json()
    assert problem["code"] == "out_of_bounds"
    assert "replicas" in problem["field"]
    assert "99" in problem["detail"]
    assert "5" in problem["detail"]
    after = api.get(path)
    assert after.headers["ETag"] == before.headers["ETag"]
    assert after.json() == before.json()
    assert len(book.service.events(book.id)) == events
    assert api.get(path, headers={"If-None-Match": before.headers["ETag"]}).status_code == 304


def a_killed_replica_is_found_and_replaced(book: Guestbook) -> None:
    """kill -9 of one of three: `detect_drift` sees it, the twin mends it, the others never notice."""
    before = book.replicas()
    psutil.Process(before["1"]).kill()
    eventually(lambda: "1" not in book.replicas(), within=10)
    seen = len(book.service.events(book.id))
    book.send("detect_drift")
    news = book.service.events(book.id)[seen:]
    (observed,) = [e for e in news if e["type"] == "component_observed" and e["component"] == "app"]
    assert observed["data"]["drift"], "the drift was seen, and said"
    book.service.reaches(book.id, "ready")
    eventually(lambda: book.component("app")["state"] == "applied", within=30, why=lambda: book.view["summary"])
    after = book.replicas()
    assert sorted(after) == ["0", "1", "2"]
    assert after["1"] != before["1"]
    assert (after["0"], after["2"]) == (before["0"], before["2"])
    with book.visit(replica=1) as guest:
        assert "I was here first" in guest.get("/").text


def asleep_it_holds_nothing_and_keeps_everything(book: Guestbook) -> None:
    """Suspended: no process, no connection. Resumed: the words and the counter are those from before."""
    with book.visit() as guest:
        count = _visits(guest.get("/").text)
    book.send("suspend")
    assert book.view["status"] == "suspended"
    assert book.replicas() == {}
    assert book.catalogues().processes == 0
    eventually(lambda: book.connections() == 0, within=10)
    book.send("resume")
    assert book.view["status"] == "ready"
    assert sorted(book.replicas()) == ["0", "1", "2"]
    with book.visit() as guest:
        page = guest.get("/").text
        assert "I was here first" in page
        assert _visits(page) == count + 1


def renewed(folder: Path) -> Path:
    """Version 1.1.0 of the guestbook, with other words on its page."""
    shutil.copytree(GUESTBOOK, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name, old, new in (
        ("blueprint.yaml", "version: 1.0.0", "version: 1.1.0"),
        ("page.html", "<footer>", "<footer>The second edition. "),
    ):
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))
    return folder


def a_new_version_keeps_what_it_has(book: Guestbook, folder: Path) -> None:
    """An update replaces the app and nothing that holds data; what was scaled stays scaled."""
    book.service.publish(folder)
    database, pids = book.component("db")["external_id"], set(book.replicas().values())
    book.send("update", blueprint="guestbook@1.1.0")
    assert book.view["blueprint"] == "guestbook@1.1.0"
    assert book.component("db")["external_id"] == database
    assert sorted(book.replicas()) == ["0", "1", "2"]
    assert not pids & set(book.replicas().values())
    with book.visit() as guest:
        page = guest.get("/").text
        assert "The second edition." in page
        assert "I was here first" in page


def its_end_is_proven(book: Guestbook) -> None:
    """The certificate names every resource and each place that was asked; the servers agree."""
    resources = {each["external_id"] for each in book.view["components"]}
    book.send("destroy")
    gone = book.view
    assert gone["status"] == "destroyed"
    certificate = gone["certificate"]
    assert {proof["external_id"] for proof in certificate["resources"]} == resources
    assert not any(proof["abandoned"] for proof in certificate["resources"])
    asked = {each["placement"]["target"] for each in certificate["inventories"]}
    assert asked == {"postgres/local", "redis/local", "nats/local", "process/local"}
    assert book.catalogues().empty
    assert not list((book.service.directory / "processes").rglob("*.log"))


def _visits(page: str) -> int:
    return int(page.partition("Visit number ")[2].partition(".")[0].replace(",", ""))
