"""What a person sees, in 80 columns, in 40, and without colour."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from rich.console import Console
from rich.spinner import Spinner
from rich.text import Text

from api.cli.environments import draw
from api.cli.following import drawing
from api.cli.output import Screen
from api.cli.plans import show_plan
from api.cli.progress import Progress
from twin.domain.errors import Invalid
from twin.domain.identity import TWIN
from twin.ports.provider import Change
from twin.service.views import (
    ComponentView,
    Condition,
    EnvironmentView,
    OperationView,
    PlanView,
    PreviewError,
    PreviewView,
    StepView,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SUMMARY = (
    'blocked 12 min at db: role "twin" may not create databases. Owner: platform. '
    "Mend: ALTER ROLE twin CREATEDB, then: twin blocks resolve postgres/local/createdb"
)
CONDITION = Condition(
    kind="blocked",
    component="db",
    verb="apply",
    message='role "twin" may not create databases',
    attempt=1,
    since=NOW - timedelta(minutes=12),
    block="postgres/local/createdb",
    owner="platform",
    mend="ALTER ROLE twin CREATEDB",
)
STEPS = (
    StepView(
        key="app@1:apply:b",
        component="app",
        verb="apply",
        target="process/local",
        why="not there yet",
        state="waiting",
        after=("db@1:apply:a",),
    ),
    StepView(
        key="db@1:apply:a",
        component="db",
        verb="apply",
        target="postgres/local",
        why="not there yet",
        state="blocked",
        attempt=1,
    ),
)
DB = ComponentView(
    name="db", type="postgres.database", target="postgres/local", incarnation=1, state="blocked", inputs={}
)
OPERATION = OperationView(
    id="op_1", environment="env_1", signal="create", arguments={}, status="running", by=TWIN, accepted_at=NOW
)
BLOCKED = EnvironmentView(
    id="env_1",
    project="shop",
    name="dev",
    tier="dev",
    status="blocked",
    summary=SUMMARY,
    version=1,
    blueprint="guestbook@1.0.0",
    inputs={"replicas": 1},
    labels={"team": "a"},
    generation=1,
    components=(DB,),
    plan=PlanView(digest="d1", steps=STEPS),
    conditions=(CONDITION,),
    operations=(OPERATION,),
    created_at=NOW,
    created_by=TWIN,
)


def terminal(width: int) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, highlight=False, no_color=True)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return Text.from_ansi(console.file.getvalue()).plain


@pytest.fixture(params=[80, 40])
def screen(request: pytest.FixtureRequest) -> Screen:
    screen = Screen()
    screen.out = screen.err = terminal(request.param)
    return screen


def test_a_blocked_one_says_in_one_line_who_mends_it_and_how(screen: Screen) -> None:
    draw(screen, BLOCKED)
    assert f"{SUMMARY}\n" in written(screen.out), "as the service says it, never folded"


def test_a_calm_one_does_not_say_so_twice(screen: Screen) -> None:
    calm = replace(BLOCKED, status="ready", summary="ready", plan=PlanView(digest=""), conditions=(), operations=())
    draw(screen, calm)
    assert written(screen.out).count("ready") == 1


def test_a_plan_begins_with_what_can_run_first(screen: Screen) -> None:
    show_plan(screen, BLOCKED.plan)
    shown = written(screen.out)
    assert shown.index("apply db") < shown.index("apply app")
    assert "d1" in shown


def test_a_preview_is_a_tree_of_resources_below_the_steps(screen: Screen) -> None:
    changes = (
        Change(resource="aws:s3:Bucket files", kind="create"),
        Change(resource="aws:sqs:Queue jobs", kind="update", fields={"visibility": "30 → 60"}),
        Change(resource="aws:iam:AccessKey key", kind="replace", fields={"user": "(known after apply)"}),
        Change(resource="aws:s3:Bucket old", kind="delete"),
    )
    error = PreviewError(kind="blocked", message="no plugin aws", mend="install it")
    app, db = STEPS
    steps = (replace(app, preview=PreviewView(error=error)), replace(db, preview=PreviewView(changes=changes)))
    show_plan(screen, PlanView(digest="d1", steps=steps))
    shown = written(screen.out)
    expected = """
apply db: 1 to create, 1 to update, 1 to replace, 1 to delete
  + aws:s3:Bucket files
  ~ aws:sqs:Queue jobs
      visibility: 30 → 60
  ± aws:iam:AccessKey key
      user: (known after apply)
  - aws:s3:Bucket old

apply app cannot be previewed (blocked): no plugin aws
  Mend:  install it

Digest d1
"""
    assert shown.endswith(expected)


def test_a_preview_without_changes_says_so(screen: Screen) -> None:
    show_plan(screen, PlanView(digest="d1", steps=(replace(STEPS[1], preview=PreviewView()),)))
    assert "apply db: changes no resource\n" in written(screen.out)


def test_a_plan_shows_how_far_a_running_step_is(screen: Screen) -> None:
    running = replace(STEPS[1], state="running", progress="7 of 12")
    show_plan(screen, PlanView(digest="d1", steps=(running,)))
    assert "running: 7 of 12" in " ".join(written(screen.out).split())


@pytest.mark.parametrize("width", [80, 40])
def test_progress_never_folds_a_step_and_always_shows_the_mend(width: int) -> None:
    progress = Progress("op_1")
    progress.see(BLOCKED)
    console = terminal(width)
    console.print(drawing(progress, OPERATION, Spinner("dots"), NOW))
    lines = written(console).splitlines()
    assert lines[0].split()[:3] == ["·", "app", "apply"]
    assert lines[1].split()[:3] == ["!", "db", "apply"]
    assert "Mend:  ALTER ROLE twin CREATEDB" in written(console)
    assert "blocked apply db for 12 min" in written(console)


def test_a_plan_shows_what_follows(screen: Screen) -> None:
    issue = replace(STEPS[1], key="db@1:issue:2", verb="issue", state="ready", attempt=0)
    apply = replace(issue, key="app@1:apply:aa", component="app", verb="apply", state="waiting", after=(issue.key,))
    retire = replace(issue, key="db@1:retire:1", verb="retire", state="waiting", after=(apply.key,), not_before=NOW)
    show_plan(screen, PlanView(digest="d1", steps=(issue,), follows=(retire, apply)))
    shown = written(screen.out)
    assert shown.index("issue db") < shown.index("apply app") < shown.index("retire db")
    assert "after app, not before 2026" in " ".join(shown.split())


def test_what_strangers_write_commands_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "x\x1b]0;owned\x07\x1b[31mred\x1b[2J\x9b2J\u202eback"
    screen = Screen()
    screen.table(("PULL", "TITLE"), [("#1", evil)])
    screen.text(evil)
    screen.note(f"#1: {evil}", "yellow")
    screen.problem(Invalid(evil, field=evil, mend=evil))
    written = capsys.readouterr()
    for shown in (written.out, written.err):
        assert "owned" in shown
        assert not set(shown) & set("\x1b\x07\x9b\u202e")
