"""What older versions wrote is read for ever: stored histories fold to their snapshots.

`tests/golden/README.md` says how a history is added. One that is there is never written again.
"""

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from twin.domain.decider import fold
from twin.domain.environment import Environment
from twin.domain.errors import Unavailable
from twin.domain.events import Event
from twin.domain.inbox import INBOX
from twin.domain.inbox import Event as InboxEvent
from twin.domain.previews.events import Event as PullEvent
from twin.domain.previews.pulls import PULL_REQUEST
from twin.domain.previews.source import PREVIEW_SOURCE
from twin.domain.previews.source import Event as SourceEvent
from twin.domain.project import PROJECT
from twin.domain.project import SCHEMA_V as PROJECT_SCHEMA_V
from twin.domain.project import Event as ProjectEvent
from twin.domain.timers import next_tasks
from twin.domain.twin import ENVIRONMENT, SCHEMA_V
from twin.domain.upcast import EVENTS, STATES, upcast_event, upcast_state

GOLDEN = Path(__file__).parent.parent / "golden"
HISTORIES = sorted(GOLDEN.glob("v*/*.json"))
OF_PROJECTS = sorted(GOLDEN.glob("project/v*/*.json"))
OF_INBOXES = sorted(GOLDEN.glob("inbox/v*/*.json"))
OF_PULLS = sorted(GOLDEN.glob("pull_request/v*/*.json"))
OF_SOURCES = sorted(GOLDEN.glob("preview_source/v*/*.json"))


class Golden(msgspec.Struct):
    """A stored history: events and snapshot as they were written, byte for byte."""

    schema_v: int
    events: list[msgspec.Raw]
    snapshot: msgspec.Raw
    tasks: list[dict[str, str | None]]


@pytest.fixture(params=HISTORIES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def golden(request):
    return msgspec.json.decode(request.param.read_bytes(), type=Golden)


def test_a_history_folds_to_its_snapshot(golden):
    events = [ENVIRONMENT.decode_event(bytes(each), golden.schema_v) for each in golden.events]
    snapshot = ENVIRONMENT.decode_state(bytes(golden.snapshot), golden.schema_v)
    folded = fold(ENVIRONMENT, events)
    assert folded is not None
    assert (folded if golden.schema_v >= 3 else _as_2_knew_it(folded)) == snapshot


def _as_2_knew_it(env: Environment) -> Environment:
    """Snapshots of 1 and 2 do not say whom a component admits, and planning takes that for unknown; histories tell."""
    instances = {name: replace(each, admits=None, locked=False) for name, each in env.instances.items()}
    running = {key: replace(each, members=None) for key, each in env.running.items()}
    return replace(env, instances=instances, running=running)


def test_what_was_to_be_done_is_still_to_be_done(golden):
    """A deploy must not make twins at rest begin to work: digests and plans stay as they were."""
    snapshot = ENVIRONMENT.decode_state(bytes(golden.snapshot), golden.schema_v)
    now = {(task.kind, task.key, task.queue) for task in next_tasks(snapshot)}
    assert now == {(task["kind"], task["key"], task["queue"]) for task in golden.tasks}


OTHERS = [
    (decider, path)
    for decider, paths in (
        (PROJECT, OF_PROJECTS),
        (INBOX, OF_INBOXES),
        (PULL_REQUEST, OF_PULLS),
        (PREVIEW_SOURCE, OF_SOURCES),
    )
    for path in paths
]


@pytest.mark.parametrize(("decider", "path"), OTHERS, ids=lambda value: getattr(value, "kind", None) or value.stem)
def test_the_history_of_another_entity_is_read_as_it_was_written(decider, path):
    golden = msgspec.json.decode(path.read_bytes(), type=Golden)
    snapshot = decider.decode_state(bytes(golden.snapshot), golden.schema_v)
    assert fold(decider, [decider.decode_event(bytes(each), golden.schema_v) for each in golden.events]) == snapshot
    now = {(task.kind, task.key, task.queue) for task in decider.next_tasks(snapshot)}
    assert now == {(task["kind"], task["key"], task["queue"]) for task in golden.tasks}


@pytest.mark.parametrize(
    ("paths", "newest"),
    [
        (HISTORIES, SCHEMA_V),
        (OF_PROJECTS, PROJECT_SCHEMA_V),
        (OF_INBOXES, INBOX.schema_v),
        (OF_PULLS, PULL_REQUEST.schema_v),
        (OF_SOURCES, PREVIEW_SOURCE.schema_v),
    ],
)
def test_every_version_has_histories(paths, newest):
    assert {path.parent.name for path in paths} == {f"v{number}" for number in range(1, newest + 1)}


@pytest.mark.parametrize(
    ("paths", "events"),
    [
        (HISTORIES, Event),
        (OF_PROJECTS, ProjectEvent),
        (OF_INBOXES, InboxEvent),
        (OF_PULLS, PullEvent),
        (OF_SOURCES, SourceEvent),
    ],
)
def test_every_event_stands_in_a_history(paths, events):
    told = {
        msgspec.json.decode(each)["type"]
        for path in paths
        for each in msgspec.json.decode(path.read_bytes(), type=Golden).events
    }
    assert told == {str(each.__struct_config__.tag) for each in events.__args__}, "none is left out"


def from_version_0(old):
    return {**{key: value for key, value in old.items() if key != "kind"}, "type": old["kind"]}


class TestUpcasting:
    """With a step that is not real: version 0 called the type of an event `kind`."""

    def test_steps_lead_from_version_to_version(self):
        steps = {0: from_version_0, 1: lambda old: {**old, "seen": 2}}
        assert upcast_event({"kind": "created"}, 0, to=2, steps=steps) == {"type": "created", "seen": 2}
        assert upcast_state({"kind": "x"}, 0, to=1, steps={0: from_version_0}) == {"type": "x"}
        assert upcast_event({"type": "created"}, 1, to=2, steps=steps) == {"type": "created", "seen": 2}

    def test_an_older_history_reads_as_one_of_today(self, golden, monkeypatch):
        today = [ENVIRONMENT.decode_event(bytes(each), golden.schema_v) for each in golden.events]
        monkeypatch.setitem(EVENTS, 0, from_version_0)
        monkeypatch.setitem(STATES, 0, lambda old: {**old["was"]})
        for raw, event in zip(golden.events, today, strict=True):
            plain = msgspec.json.decode(raw)
            old = {"kind": plain.pop("type"), **plain}
            assert ENVIRONMENT.decode_event(msgspec.json.encode(old), 0) == event
        snapshot = ENVIRONMENT.decode_state(bytes(golden.snapshot), golden.schema_v)
        old = msgspec.json.encode({"was": msgspec.json.decode(golden.snapshot)})
        assert ENVIRONMENT.decode_state(old, 0) == snapshot

    def test_what_is_newer_is_refused(self):
        with pytest.raises(Unavailable, match="newer version") as caught:
            ENVIRONMENT.decode_event(b'{"type":"created"}', SCHEMA_V + 1)
        assert caught.value.retryable, "another process, of the newer version, can serve it"
        with pytest.raises(Unavailable):
            ENVIRONMENT.decode_state(b"{}", SCHEMA_V + 1)
