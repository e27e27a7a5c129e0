"""A preview for every pull request, with a GitHub that keeps a record of all that it is asked and told, and that is at
times not well."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.acceptance.clocks import SetClock
from tests.acceptance.conftest import Start
from tests.acceptance.github_scene import FORGE, OnGitHub
from tests.acceptance.previewing import SECRET, live_a_life
from tests.acceptance.service import Service
from tests.providers.github_hub import Hub
from tests.providers.github_server import SLUG
from tests.waiting import eventually
from twin.testing.loopback import Answer, Call
from twin.testing.meddling import Forward, instead

BOT = f"{SLUG}[bot]"


@pytest.fixture
def scene(hub: Hub, make_service: Start, tmp_path: Path) -> OnGitHub:
    """The service ends first, and then what it calls."""
    service = make_service()
    service.serve()
    scene = OnGitHub(service, hub)
    scene.publish(tmp_path / "page")
    # Nothing but webhooks tells of anything.
    scene.follow(FORGE, scene.repository.full_name, reconcile_every="1d")
    hub.hook(scene.door, SECRET)
    return scene


def test_a_pull_request_has_a_preview_until_it_is_closed(scene: OnGitHub) -> None:
    life = live_a_life(scene)
    home, number = scene.repository.path, life.number
    tokens = {f"token {number}": token for number, token in enumerate(scene.hub.github.installed)}
    scene.keeps_secret({"its key": scene.hub.github.private_key, "its webhook's": SECRET, **tokens})
    scene.is_told(number, scene.repository.full_name)
    assert all(each.status == 202 for each in scene.hub.deliveries), scene.hub.deliveries

    assert len(scene.hub.sent("POST", f"{home}/issues/{number}/comments")) == 1, "one comment, ever; then it is edited"
    assert scene.hub.sent("DELETE") == []
    for sha in (life.first, life.second):
        assert {each["environment"] for each in scene.repository.deployments(sha)} == {f"shop/pr-{number}"}
        assert "success" in scene.deployment(sha)

    def is_over() -> bool:
        """A deployment of the third there may be: it was never ready."""
        last = [scene.deployment(sha)[-1:] for sha in (life.first, life.second, life.third)]
        return last[:2] == [["inactive"]] * 2 and last[2] in (["inactive"], [])

    eventually(is_over, within=60, why=lambda: (scene.repository.it["deployments"], scene.why()))
    assert scene.status(life.first)[0] == scene.status(life.second)[0] == "success"

    borne = {each.call.headers["authorization"] for each in scene.hub.sent(path="/repos/.*")}
    assert len(borne) == 1, "one token of the installation, for as long as it lives"
    assert len(scene.hub.sent("POST", "/app/installations/.*")) == 1


def test_nothing_is_said_of_a_commit_that_is_outdated(scene: OnGitHub) -> None:
    """The first commit's status cannot be set; what is tried after the push is another one's."""
    hub, home = scene.hub, scene.repository.path
    refused = Answer(status=502, body=b"<html>")
    hub.rule(instead(refused, when=lambda call: call.method == "POST" and "/statuses/" in call.path))
    number, first = scene.pull({"page.txt": "first"})
    eventually(lambda: scene.page(number) == "first", within=120, why=scene.why)
    eventually(lambda: len(hub.sent("POST", f"{home}/statuses/{first}")) >= 2, within=60, why=scene.why)

    second = scene.push(number, {"page.txt": "second"})
    eventually(lambda: hub.sent("POST", f"{home}/statuses/{second}"), within=60, why=scene.why)
    hub.rule(instead(refused, when=lambda call: call.method == "POST" and call.path.endswith(f"/statuses/{first}")))
    scene.lives(number, second, "second")
    statuses = [each.path.rpartition("/")[2] for each in hub.sent("POST", f"{home}/statuses/.*")]
    assert statuses == [first] * statuses.count(first) + [second] * statuses.count(second)
    deployed = [first.encode() in each.call.body for each in hub.sent("POST", f"{home}/deployments")]
    assert deployed in ([True, False], [False]), "its deployment came first, or not at all"
    assert scene.status(first) == ("", "")
    scene.close(number)
    scene.ends(number, second)
    scene.has_no_debts()


def test_a_rate_limit_is_waited_for_and_the_work_goes_on(scene: OnGitHub) -> None:
    hub = scene.hub
    one, first = scene.pull({"page.txt": "first"})
    scene.lives(one, first, "first")

    before, ends = hub.mark(), list[int]()

    async def exhausted(call: Call, forward: Forward) -> Answer:
        """From the first look on, so many calls have been made."""
        if not ends:
            ends.append(hub.github.exhaust(BOT, seconds=8))
        return await forward()

    hub.rule(exhausted)
    second = scene.push(one, {"page.txt": "second"})
    eventually(lambda: ends, within=60, why=scene.why)
    other, alone = scene.pull({"page.txt": "other"})
    scene.lives(one, second, "second")
    scene.lives(other, alone, "other")
    limited = [each for each in hub.sent(since=before) if each.status == 403]
    assert len(limited) <= 2, "it was told once; the second time is for clocks that differ in the last digit"
    (reset,) = ends
    assert [each for each in hub.sent(path="/repos/.*", since=before) if each.at < reset] == limited

    # The secondary limit names seconds.
    before, says = hub.mark(), [Answer(status=429, headers={"retry-after": "2"}, body=b'{"message": "Slow down"}')]

    async def rule(call: Call, forward: Forward) -> Answer:
        return says.pop() if says and call.path.startswith("/api/v3/repos/") else await forward()

    hub.rule(rule)
    for number, sha in ((one, second), (other, alone)):
        scene.close(number)
        scene.ends(number, sha)
    told, *later = [each for each in hub.sent(path="/repos/.*", since=before) if each.call.method]
    assert told.status == 429
    assert min(each.at for each in later) >= told.at + 2
    scene.has_no_debts()


def test_a_forge_that_fails_at_the_close_loses_nothing_and_destroys_nothing_twice(scene: OnGitHub) -> None:
    hub, home = scene.hub, scene.repository.path
    number, sha = scene.pull({"page.txt": "first"})
    view = scene.lives(number, sha, "first")

    before = hub.mark()
    hub.rule(instead(Answer(status=500, body=b'{"message": "Server Error"}')))
    scene.close(number)
    asked = f"{home}/pulls/{number}"
    eventually(lambda: len(hub.sent("GET", asked, since=before)) >= 2, within=60, why=scene.why)
    now = scene.environment(number)
    assert now is not None
    assert (now["status"], now["id"]) == ("ready", view["id"]), "an error says nothing of the pull request"
    assert scene.page(number) == "first"

    # It is well again, but for one time in each place; one answer is lost on its way.
    fails = {
        ("GET", asked): [None, 500],
        ("PATCH", "comments"): [0, 500],
        ("POST", f"{home}/statuses/{sha}"): [500],
    }

    async def rule(call: Call, forward: Forward) -> Answer:
        path = call.path.removeprefix("/api/v3")
        key = (call.method, "comments" if "/comments/" in path else path)
        how = fails[key].pop(0) if fails.get(key) else None
        if how == 500:
            return Answer(status=500, body=b'{"message": "Server Error"}')
        answer = await forward()
        return Answer(status=answer.status, headers=answer.headers, body=answer.body, cut=True) if how == 0 else answer

    hub.rule(rule)
    gone = scene.ends(number, sha)
    assert gone["id"] == view["id"]
    assert fails["GET", asked] == fails["POST", f"{home}/statuses/{sha}"] == [], "all of it has happened"
    assert fails["PATCH", "comments"] in ([], [500]), "what is to be said at once is said once"
    eventually(lambda: scene.deployment(sha)[-1:] == ["inactive"], within=60, why=scene.why)
    destroys = [
        each for each in scene.service.events(gone["id"], "operation_accepted") if "destroy" in str(each["data"])
    ]
    assert len(destroys) == 1
    assert len(hub.sent("POST", f"{home}/issues/{number}/comments")) == 1
    scene.has_no_debts()


@pytest.fixture
def deaf(hub: Hub, make_service: Start, database: str, set_clock: SetClock, tmp_path: Path) -> OnGitHub:
    """A scene whose GitHub delivers nothing; its clock can be set."""
    service: Service = make_service(database_url=database, lease="10m")
    service.twin("db", "upgrade")
    service.serve()
    scene = OnGitHub(service, hub)
    scene.publish(tmp_path / "page")
    return scene


def test_what_no_webhook_tells_is_found_by_conditional_requests(deaf: OnGitHub, set_clock: SetClock) -> None:
    scene, hub, rounds = deaf, deaf.hub, itertools.count(1)
    listing = f"{scene.repository.path}/pulls"

    def reconciled() -> int:
        return len(scene.history(type="source_reconciled"))

    def look() -> list[int]:
        """Let the time come, until all is compared; what the looks at the list were answered with."""
        before, times = hub.mark(), reconciled()
        set_clock(f"{6 * next(rounds)} minutes")
        eventually(lambda: reconciled() > times, within=60, why=scene.why)
        found = hub.sent("GET", listing, since=before)
        assert "if-none-match" in found[0].call.headers
        return [each.status for each in found]

    number, first = scene.pull({"page.txt": "first"})
    scene.follow(FORGE, scene.repository.full_name, reconcile_every="5m")
    view = scene.lives(number, first, "first")
    unchanged = hub.mark()
    assert look() == look() == [304]
    told = hub.sent(since=unchanged)
    assert [each.status for each in told] == [304, 304], "that is all that is asked"
    assert len({each.answered.headers["x-ratelimit-remaining"] for each in told}) == 1, "and it costs nothing"

    second = scene.push(number, {"page.txt": "second"})
    assert look()[0] == 200
    scene.lives(number, second, "second")
    scene.close(number)
    assert look()[0] == 200
    assert scene.ends(number, second)["id"] == view["id"]
    assert hub.deliveries == []
    assert scene.history(type="delivery_taken") == []
    scene.has_no_debts()
