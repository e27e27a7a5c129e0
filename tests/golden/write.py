"""Write the golden histories that the present schema_v does not have yet; never touch one that is there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from preview_stories import PREVIEW_STORIES

from twin.domain import inbox, project
from twin.domain.decider import Cause, Context, Decider, transition
from twin.domain.environment import Follower, Membership, Seed
from twin.domain.errors import Blocked, Transient
from twin.domain.following import TellFollower, news
from twin.domain.identity import TWIN, EnvironmentId
from twin.domain.inbox import INBOX, DropBodies, EndDelivery, LeaveDeliveries, TakeDelivery
from twin.domain.members import SyncMembers
from twin.domain.project import PROJECT, EnvironmentsHaveIt, RemoveMember, SetMember, SetQuotas
from twin.domain.quotas import Quotas
from twin.domain.signals.abandon import Abandon
from twin.domain.signals.acknowledge_credential import AcknowledgeCredential
from twin.domain.signals.add_component import AddComponent
from twin.domain.signals.add_members import AddMembers, NewMember
from twin.domain.signals.cancel import Cancel
from twin.domain.signals.clone import Clone
from twin.domain.signals.destroy import Destroy
from twin.domain.signals.detect_drift import DetectDrift
from twin.domain.signals.extend import Extend
from twin.domain.signals.protect import Protect
from twin.domain.signals.remove_component import RemoveComponent
from twin.domain.signals.remove_members import RemoveMembers
from twin.domain.signals.resume import Resume
from twin.domain.signals.retry import Retry
from twin.domain.signals.rotate_credentials import RotateCredentials
from twin.domain.signals.scale import Scale
from twin.domain.signals.suspend import Suspend
from twin.domain.signals.unprotect import Unprotect
from twin.domain.signals.update import Update
from twin.domain.steps import EndHold, FireTimer, Found, LiftBlock, Looked, TellSource
from twin.domain.twin import ENVIRONMENT, SCHEMA_V
from twin.testing.blueprints import guestbook, make_library
from twin.testing.story import ALICE, BOB, START, Story

HERE = Path(__file__).parent


def at_rest(story: Story) -> None:
    """Created, scaled by two people, extended, protected; it sleeps."""
    story.create(tier="preview", labels={"team": "red"}, inputs={"greeting": "hi"})
    story.work()
    story.send(Scale(component="app", to={"replicas": 2}))
    story.send(Scale(component="app", to={"replicas": 3}), by=BOB)
    story.work()
    story.send(Extend(ttl="72h"))
    story.send(Protect())


def in_the_middle(story: Story) -> None:
    """A replacement runs, another attempt is lost, a third waits after a failure, a fourth is blocked."""
    story.create()
    story.work()
    story.send(Update(inputs={"zone": "b", "engine": "17"}, allow_data_loss=True))
    story.send(AddComponent(component="search", type="test.service", needs=("jobs",)))
    story.start("cache@2:apply")
    story.lose(story.start("db@2:apply"), proven_dead=False)
    story.fail(story.start("search:apply"), retry_after=30)
    story.block(story.start("db@2:apply"))


def drift_and_repair(story: Story) -> None:
    """Looked at: one differs, data is gone; suspended and resumed; a removal is taken back."""
    story.create()
    story.work()
    story.send(DetectDrift())
    story.end(story.start("app:observe"), Looked(present=True, drift={"replicas": "0 run, 1 is wanted"}))
    story.end(story.start("db:observe"), Looked(present=False))
    story.work()
    story.send(Suspend())
    story.work()
    story.send(Cancel(operation=story.send(RemoveComponent(component="app"))))
    story.send(Resume())
    story.work()
    story.send(Retry(component="db"))
    story.reject(story.start("db:apply"), "no room", field="connections")


def to_the_end(story: Story) -> None:
    """Cancelled work, an abandoned cache, leftovers, a certificate, and an effect that came after it."""
    story.create(tier="prod")
    story.work()
    operation = story.send(Scale(component="db", to={"connections": 20}))
    zombie = story.start("db:apply")
    story.send(Cancel(operation=operation))
    story.lose(zombie, proven_dead=False)
    story.stop(story.start("db:apply"))
    story.work()
    story.send(Abandon(component="cache", reason="its zone burnt down"))
    story.work()
    story.send(Unprotect())
    story.send(Destroy())
    story.later(minutes=10)
    story.work(until="data-1:sweep")
    story.succeed(story.start("data-1:sweep"), found=(Found("keyspace", "left", "12 keys"),))
    story.send(Retry())
    story.work()
    story.succeed(zombie)
    story.work()


def a_rotation(story: Story) -> None:
    """A credential is replaced, with people in between; the next one waits for somebody outside; the source of a clone
    is held, and let go."""
    story.create()
    story.work()
    story.send(AddMembers(members=(NewMember(name="ada@example.com", until="8h"), NewMember(name="bo", role="viewer"))))
    story.work()
    story.send(RotateCredentials(component="db", grace="10m"))
    story.work()
    story.send(AcknowledgeCredential(component="db", version=2))
    story.work()
    story.send(RemoveMembers(names=("bo",)))
    story.send(RotateCredentials(component="db"))
    story.lose(story.start("db:issue"))
    story.later(minutes=1)
    story.work(until="app:apply")
    story.send(Clone(name="copy", data="schema", id="env_01JCLONE0000000000000000"))
    story.give(EndHold(clone=EnvironmentId("env_01JCLONE0000000000000000"), why="all is copied"))
    story.send(Clone(name="other", data="full", hold="1h", id="env_01JCLONE1111111111111111"))
    story.reject(story.start("app:apply"), "it does not start")


def a_clone(story: Story) -> None:
    """Copies one thing twice, since a worker died, and tells its source."""
    seed = Seed(
        source=EnvironmentId("env_01JSOURCE000000000000000"),
        project="shop",
        name="staging",
        seq=42,
        mode="full",
        components={"db": "db@1"},
    )
    story.create(seed=seed, tier="preview")
    story.lose(story.start("db:seed"))
    story.work()
    story.give(TellSource())


def a_project_s_members(story: Story) -> None:
    """The project has members before the environment is made, then others, while what the environment itself says of
    one of them wins; at the end one is still to be given access."""
    ada = Membership(role="viewer", until=START + timedelta(hours=8))
    story.create(project_members={"ada": ada})
    story.work()
    story.send(AddMembers(members=(NewMember(name="ada", role="admin", until="1h"),)))
    story.work()
    story.give(SyncMembers({"ada": ada, "bo": Membership(role="developer")}))
    story.work()
    story.later(hours=2)
    story.work()
    story.give(SyncMembers({"bo": Membership(role="operator")}))


def a_followed_one(story: Story) -> None:
    """A pull request follows it, and was told how it looked before it was ready."""
    story.create(follower=Follower(kind="pull_request", entity="pr_shop_42"))
    told = news(story.env)
    assert told is not None
    story.give(TellFollower(news=told))
    story.work()


STORIES: dict[str, Callable[[Story], None]] = {
    "at-rest": at_rest,
    "in-the-middle": in_the_middle,
    "drift-and-repair": drift_and_repair,
    "to-the-end": to_the_end,
    "a-rotation": a_rotation,
    "a-clone": a_clone,
    "a-project-s-members": a_project_s_members,
    "a-followed-one": a_followed_one,
}


def members_come_and_go() -> tuple[project.Project | None, list[project.Event]]:
    """A project's members change, by hand and with time; its environments know all but the last change."""
    return of_project(
        (0, SetMember(project="shop", name="ada@example.com", role="viewer", until="8h")),
        (0, SetMember(project="shop", name="bo")),
        (0, EnvironmentsHaveIt(2)),
        (1, RemoveMember(project="shop", name="bo")),
        (8, FireTimer("members")),
        (8, EnvironmentsHaveIt(4)),
        (9, SetMember(project="shop", name="cy", role="admin", until="30d")),
    )


def quotas_change() -> tuple[project.Project | None, list[project.Event]]:
    """A project begins with quotas, has a member, then fewer environments of one tier and any number in all."""
    return of_project(
        (0, SetQuotas(project="shop", quotas=Quotas(max_environments=20, tiers={"preview": 5, "prod": 2}))),
        (1, SetMember(project="shop", name="ada@example.com")),
        (2, SetQuotas(project="shop", quotas=Quotas(tiers={"preview": 0}))),
    )


def of_project(*given: tuple[int, project.Input]) -> tuple[project.Project | None, list[project.Event]]:
    """What follows from inputs at these hours."""
    state: project.Project | None = None
    events: list[project.Event] = []
    for hours, each in given:
        cause = Cause(ALICE, "req_1") if isinstance(each, SetMember | RemoveMember | SetQuotas) else Cause(TWIN)
        now = START + timedelta(hours=hours)
        context = Context(now=now, cause=cause, fresh_id=lambda prefix: prefix, jitter=0.5)
        state, new = transition(PROJECT, state, each, context)
        events += new
    return state, events


def a_forge_s_deliveries() -> tuple[inbox.Inbox | None, list[inbox.Event]]:
    """Some are handled, one waits for the forge, one for a human who mends it; then a new one comes."""
    state: inbox.Inbox | None = None
    events: list[inbox.Event] = []
    names = {number: f"72d3162e-cc78-11e3-81ab-{number:012}" for number in range(1, 5)}
    given: list[tuple[int, inbox.Input]] = [
        *((0, TakeDelivery(target="github/main", delivery=names[each], event="pull_request")) for each in (1, 2)),
        (0, EndDelivery(number=1, delivery=names[1], outcome="given", why="x/y#1", entities=("pr_1",))),
        (0, LeaveDeliveries(through=2, waiting=1, failure=Transient("no answer"))),
        (1, TakeDelivery(target="github/main", delivery=names[3], event="ping")),
        (1, EndDelivery(number=3, delivery=names[3], outcome="ignored", why="of no use")),
        (1, LeaveDeliveries(through=3, waiting=1, failure=Blocked("refused", key="github/main/token", mend="mend"))),
        (2, LiftBlock("github/main/token")),
        (2, LeaveDeliveries(through=3, waiting=1, failure=Transient("wait", retry_after=timedelta(minutes=5)))),
        (190, DropBodies(oldest=START + timedelta(hours=1))),
        (191, TakeDelivery(target="github/main", delivery=names[4], event="pull_request")),
    ]
    for hours, each in given:
        now = START + timedelta(hours=hours)
        context = Context(now=now, cause=Cause(TWIN), fresh_id=lambda prefix: prefix, jitter=0.5)
        state, new = transition(INBOX, state, each, context)
        events += new
    return state, events


def main() -> None:
    """Write what is missing."""
    for name, tell in STORIES.items():
        path = HERE / f"v{SCHEMA_V}" / f"{name}.json"
        if not path.exists():
            story = Story(make_library(guestbook()))
            tell(story)
            write(path, ENVIRONMENT, story.env, story.events)
    for name, told in {"members-come-and-go": members_come_and_go, "quotas-change": quotas_change}.items():
        path = HERE / "project" / f"v{project.SCHEMA_V}" / f"{name}.json"
        if not path.exists():
            write(path, PROJECT, *told())
    path = HERE / "inbox" / f"v{inbox.SCHEMA_V}" / "a-forge-s-deliveries.json"
    if not path.exists():
        write(path, INBOX, *a_forge_s_deliveries())
    for place, (decider, tells) in PREVIEW_STORIES.items():
        kind, name = place.split("/")
        path = HERE / kind / f"v{decider.schema_v}" / f"{name}.json"
        if not path.exists():
            write(path, decider, *tells())


def write(path: Path, decider: Decider[Any, Any, Any], state: Any, events: list[Any]) -> None:
    """One history as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    body = {
        "schema_v": decider.schema_v,
        "events": [msgspec.Raw(decider.encode_event(event)) for event in events],
        "snapshot": msgspec.Raw(decider.encode_state(state)),
        "tasks": sorted(decider.next_tasks(state), key=lambda task: (task.kind, task.key)),
    }
    path.write_bytes(msgspec.json.format(msgspec.json.encode(body), indent=1) + b"\n")
    sys.stdout.write(f"wrote {path}\n")


if __name__ == "__main__":
    main()
