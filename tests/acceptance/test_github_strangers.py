"""What people send who have no right to, or mean no good: nothing changes by it, and the history tells of it."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Start
from tests.acceptance.github_scene import FORGE, OnGitHub
from tests.acceptance.previewing import SECRET
from tests.acceptance.service import Json
from tests.providers.github_hub import Hub, running, signed
from tests.providers.github_pulls import open_pull
from tests.waiting import eventually
from twin.testing.loopback import Answer
from twin.testing.meddling import forward, instead

MEGABYTE = 1024 * 1024
NASTY = "../../x; rm -rf ${HOME}/* $(touch x) `touch x` | @everyone <script>"


@pytest.fixture
def elsewhere(tmp_path: Path, hub: Hub) -> Iterator[Hub]:
    """Another server, that nobody was told to trust: all addresses for programs lead there, in what the GitHub delivers
    and in what it answers."""
    with running(tmp_path / "elsewhere") as other:
        hub.github.elsewhere = other.url
        yield other
        assert other.sent() == [], "nobody has gone there"


@pytest.fixture
def scene(hub: Hub, elsewhere: Hub, make_service: Start, tmp_path: Path) -> OnGitHub:
    service = make_service()
    service.serve()
    scene = OnGitHub(service, hub)
    branch = {"type": "string", "default": "none"}
    scene.publish(tmp_path / "page", inputs={"properties": {"branch": branch}})
    more = {"inputs": {"branch": "${pr.branch}"}, "forks": "allow", "reconcile_every": "1d"}
    scene.follow(FORGE, scene.repository.full_name, **more)
    hub.hook(scene.door, SECRET)
    return scene


class Before:
    """How a preview was, to compare."""

    def __init__(self, scene: OnGitHub, number: int) -> None:
        self._scene, self._number = scene, number
        self.mark = scene.hub.mark()
        self._was = self._is()

    def _is(self) -> tuple[Any, ...]:
        view = self._scene.environment(self._number)
        assert view is not None
        events = self._scene.service.events(view["id"])
        (source,) = self._scene.service.get("/v1/preview-sources")["items"]
        return view, events, source, self._scene.page(self._number)

    def nothing_changed(self) -> None:
        """Neither here nor at the forge."""
        assert self._is() == self._was
        assert self._scene.hub.writes(since=self.mark) == []


def test_what_strangers_send_changes_nothing_and_is_recorded(scene: OnGitHub, elsewhere: Hub) -> None:
    hub, repository = scene.hub, scene.repository
    number, sha = scene.pull({"page.txt": "first"})
    scene.lives(number, sha, "first")
    (opened,) = hub.deliveries
    lie = json.dumps(repository.payload(number, "closed")).encode()
    before = Before(scene, number)

    def recorded(answer: Raw, status: int, what: str) -> Json:
        """What the history has of a request: this alone."""
        assert answer.status == status, answer
        (found,) = scene.history(correlation=answer.headers["x-request-id"])
        assert found["data"]["what"] == what
        before.nothing_changed()
        assert len(hub.sent()) == before.mark, "the forge was not even asked"
        details: Json = found["data"]["details"]
        return details

    forged = signed("pull_request", lie, "guessed, and sixteen letters")
    unsigned = {name: value for name, value in forged.items() if not name.startswith("X-Hub-Signature")}
    of_another = signed("pull_request", lie + b" ", SECRET)
    for headers in (forged, unsigned, of_another):
        refused = recorded(raw(scene, headers, lie), 401, "delivery_refused")
        assert (refused["target"], refused["from"]) == (FORGE, "127.0.0.1")
        assert "signature" in refused["reason"]

    large = json.dumps({**json.loads(lie), "filler": "x" * 30 * MEGABYTE}).encode()
    refused = recorded(raw(scene, signed("pull_request", large, SECRET), large), 413, "delivery_refused")
    assert "larger than" in refused["reason"]

    repeated = recorded(raw(scene, opened.headers, opened.body), 202, "delivery_repeated")
    assert repeated["delivery"] == opened.id

    # What is signed is a hint, whoever has kept it and sends it under another name: it costs one look.
    def heard(headers: Mapping[str, str], body: bytes) -> tuple[str, Json, list[str]]:
        """What came of a delivery: the outcome, all of it, and the types of the events that followed."""
        sent = hub.send(scene.door, headers, body)
        assert sent.status == 202
        handled = eventually(lambda: scene.handled(sent.id), within=60, why=scene.why)
        following = [each["type"] for each in scene.history(correlation=sent.id)]
        return str(handled["outcome"]), handled, following

    def looks() -> int:
        return len(scene.history(type="pull_looked"))

    for body in (opened.body, lie):
        before, wanted = Before(scene, number), looks() + 1
        outcome, _, following = heard(signed("pull_request", body, SECRET), body)
        assert outcome == "given"
        assert following == ["delivery_taken", "pull_hinted", "delivery_handled"]
        eventually(lambda wanted=wanted: looks() == wanted, within=60, why=scene.why)  # type: ignore[misc]
        before.nothing_changed()

    # What tells of another host is not believed at all.
    for place in (("repository",), ("pull_request",), ("pull_request", "base", "repo")):
        payload = repository.payload(number, "closed")
        inner = payload
        for name in place:
            inner = inner[name]
        inner["html_url"] = f"{elsewhere.url}/{repository.full_name}"
        body, before = json.dumps(payload).encode(), Before(scene, number)
        outcome, handled, following = heard(signed("pull_request", body, SECRET), body)
        assert outcome == "ignored"
        assert elsewhere.url.removeprefix("http://") in handled["why"]
        assert following == ["delivery_taken", "delivery_handled"]
        before.nothing_changed()
        assert hub.sent(since=before.mark) == []

    # A command is whose the forge says it is: one that nobody wrote, that is of another pull request, or that was taken
    # back, commands nothing in whosever name it comes; and one that was written says what stands there.
    def told(written: Json) -> bytes:
        payload = repository.comment_payload(number, written)
        lie_of_it = {**payload["comment"], "body": "/twin destroy", "user": {"login": "ada"}}
        return json.dumps(hub.addressed({**payload, "comment": lie_of_it})).encode()

    def write(number: int, author: str, text: str) -> Json:
        return hub.do(lambda: hub.github.comment(repository.it, number, author, text))

    hub.do(lambda: open_pull(repository.it, 99))  # of which nobody is told
    taken_back = write(number, "ada", "never mind")
    there = {
        "nobody's": {**taken_back, "id": 999_999},
        "another pull request's": write(99, "ada", "/twin destroy"),
        "taken back": taken_back,
    }
    for whose, written in there.items():
        body, before = told(written), Before(scene, number)
        outcome, handled, following = heard(signed("issue_comment", body, SECRET), body)
        assert (outcome, following) == ("ignored", ["delivery_taken", "delivery_handled"]), whose
        assert str(written["id"]) in handled["why"]
        before.nothing_changed()
    hub.do(lambda: repository.it["pulls"].pop(99))
    body = told(write(number, "eve", "/twin extend 2d"))
    outcome, _, following = heard(signed("issue_comment", body, SECRET), body)
    (taken,) = scene.history(type="command_taken")
    assert (outcome, taken["data"]["by"], taken["data"]["command"]) == ("given", "eve", "extend")
    assert taken["data"]["refusal"]
    eventually(lambda: "To eve, who asked" in scene.comment(number), within=60, why=lambda: scene.comment(number))

    # Nor does anybody follow who is sent there by the forge itself.
    there = {"location": f"{elsewhere.url}/api/v3{repository.path}/pulls/{number}"}
    hub.rule(instead(Answer(status=302, headers=there), when=lambda call: call.path.endswith(f"/pulls/{number}")))
    before = Before(scene, number)
    repository.tell(number, "edited")
    (block,) = eventually(lambda: scene.service.get("/v1/blocks")["items"], within=60, why=scene.why)
    assert block["key"] == f"{FORGE}/elsewhere"
    before.nothing_changed()
    assert elsewhere.sent() == []
    hub.rule(forward)
    scene.service.twin("blocks", "resolve", block["key"])
    scene.close(number)
    scene.ends(number, sha)
    scene.has_no_debts()
    assert scene.service.verify()["findings"] == []
    facts = json.loads(scene.service.twin("audit", "--type", "fact", "--output", "json"))
    told = Counter(each["data"]["what"] for each in facts)
    assert (told["delivery_refused"], told["delivery_repeated"]) == (4, 1), "and whoever asks is told"


def test_a_branch_is_a_name_and_nothing_else(scene: OnGitHub, tmp_path: Path) -> None:
    hub, repository = scene.hub, scene.repository
    there = {each.name for each in tmp_path.iterdir()}
    sha = repository.commit("feature", {"page.txt": "first"})
    number = repository.pull("feature", sha, title=NASTY, author="eve")
    hub.do(lambda: repository.it["pulls"][number].update(branch=NASTY, labels=(NASTY,)))
    repository.tell(number, "edited")
    view = scene.lives(number, sha, "first")
    assert view["name"] == f"pr-{number}"
    hinted = [each for each in scene.history(type="pull_looked") if NASTY in json.dumps(each["data"])]
    assert hinted, "the history has it as it was told"
    eventually(lambda: scene.environment(number)["inputs"]["branch"].startswith("x-rm-rf"), within=60, why=scene.why)  # type: ignore[index]
    branch = scene.environment(number)["inputs"]["branch"]  # type: ignore[index]
    assert branch == "x-rm-rf-home-touch-x-touch-x-everyone-script"[: len(branch)]
    for each in hub.sent():
        said = each.call.body.decode(errors="replace") + each.call.target
        assert not any(part in said for part in ("rm -rf", "../", "@everyone", "<script", "$("))
    git = {each.path.partition(".git/")[0] for each in hub.sent(path=r"/.*\.git/.*")}
    assert git == {f"/{repository.full_name}"}
    assert {each.name for each in tmp_path.iterdir()} == there
    assert list(tmp_path.rglob("x")) == []
    scene.close(number)
    scene.ends(number, sha)
    scene.has_no_debts()


def test_a_fork_gets_nothing_whoever_allows_what(scene: OnGitHub) -> None:
    """No provider keeps a stranger's code from the rest. What is allowed is one commit; the history says by whom."""
    hub, repository = scene.hub, scene.repository
    fork = repository.fork("eve")
    first = fork.commit("better", {"page.txt": "eve"})
    number = repository.pull("better", first, head=fork, author="eve")

    def said(words: str) -> str:
        return eventually(
            lambda: words in (text := " ".join(scene.comment(number).replace("\\", "").split())) and text,
            within=60,
            why=lambda: (scene.comment(number), scene.why()),
        )

    def known(sha: str) -> list[Json]:
        looks = scene.history(type="pull_looked")
        return [each for each in looks if each["data"]["pull"]["head_sha"] == sha]

    eventually(lambda: known(first), within=60, why=scene.why)
    repository.comment(number, "/twin allow", author="eve")
    said("To eve, who asked `/twin` allow: Not done: /twin allow needs write permission")
    repository.comment(number, f"/twin allow {first}", author="bo")
    assert "has no sandbox" in said(f"To bo, who asked `/twin` allow: commit {first[:12]} may run")
    second = repository.push(number, {"page.txt": "eve's other"}, head=fork)
    eventually(lambda: known(second), within=60, why=scene.why)
    repository.comment(number, f"/twin allow {first}", author="bo")
    said(f"Not done: its last commit is {second[:12]} by now")

    taken = [(each["data"]["by"], each["data"].get("sha")) for each in scene.history(type="command_taken")]
    assert taken == [("eve", None), ("bo", first), ("bo", None)], "that it was allowed is bound to its commit"
    assert scene.environment(number) is None
    assert scene.service.get("/v1/environments")["items"] == []
    assert hub.sent(path=r"/.*\.git/.*") == [], "nobody has fetched anything of it"
    assert scene.written_of(first) == scene.written_of(second) == []
    repository.close(number)
    scene.has_no_debts()


class Raw:
    """An answer, read as soon as it comes, whatever of the request is still on its way."""

    def __init__(self, head: str) -> None:
        first, *lines = head.split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def __repr__(self) -> str:
        return f"{self.status} {self.headers}"


def raw(scene: OnGitHub, headers: Mapping[str, str], body: bytes) -> Raw:
    """Send a delivery as one who goes on sending though it was answered."""
    lines = [f"POST /webhooks/{FORGE} HTTP/1.1", "Host: twin", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    with socket.create_connection(("127.0.0.1", scene.service.port), timeout=60) as connection:

        def send() -> None:
            with suppress(OSError):
                connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)

        sender = threading.Thread(target=send)
        sender.start()
        got = b""
        while b"\r\n\r\n" not in got:
            part = connection.recv(65536)
            assert part, got
            got += part
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        sender.join()
    return Raw(got.partition(b"\r\n\r\n")[0].decode())
