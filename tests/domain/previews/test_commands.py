"""What people command under a pull request, and who may."""

from datetime import timedelta

import pytest

from tests.domain.previews.tale import FIRST, SECOND, START, WANTED, Tale, pull
from twin.domain.previews.commands import COMMANDS, Command, parse_command
from twin.domain.previews.inputs import (
    Looked,
    SlotGranted,
)
from twin.domain.previews.judging import Verdict
from twin.domain.previews.pull_request import MOST_HEARD
from twin.domain.previews.standing import wish
from twin.domain.previews.words import publication
from twin.domain.steps import FireTimer

OTHER = FIRST[:12] + "f" * 28


@pytest.fixture
def tale():
    return Tale()


class TestAFork:
    """A stranger's code: nothing runs without leave for that very commit."""

    @pytest.fixture
    def fork(self, tale):
        tale.look(pull(head_repository="eve/web"))
        assert tale.phase == "waits for leave"
        assert "slot" not in tale.tasks
        return tale

    def test_runs_once_allowed_and_its_next_commit_does_not(self, fork):
        fork.command("allow", FIRST[:12])
        assert "slot" in fork.tasks
        fork.give(SlotGranted())
        fork.deploy()
        fork.see("ready")
        fork.look(pull(head_repository="eve/web", head_sha=SECOND))
        assert wish(fork.state) is None, "nothing changes"
        assert f"`/twin allow {SECOND}`" in publication(fork.state, "comment").body
        fork.command("allow", sha=FIRST)
        assert not fork.state.answer.ok, "what was pushed since they looked is not meant"
        fork.command("allow", sha=SECOND)
        fork.deploy()

    @pytest.mark.parametrize(
        ("named", "seen", "allowed"),
        [
            (FIRST[:7], OTHER, False),  # they saw one that begins alike
            (FIRST[:12], OTHER, False),
            (FIRST[:12], None, False),
            (FIRST[:7], FIRST, True),
            (FIRST.upper(), OTHER, True),  # the whole id names one alone
            (FIRST, None, True),
        ],
    )
    def test_is_allowed_by_the_commit_they_saw_or_by_the_whole_of_its_id(self, fork, named, seen, allowed):
        fork.command("allow", named, sha=seen)
        assert (fork.state.allowed is not None) == fork.state.answer.ok == allowed, fork.answer

    @pytest.mark.parametrize("permission", ["none", "read"])
    def test_is_allowed_by_nobody_without_the_right(self, fork, permission):
        fork.command("allow", FIRST[:12], permission=permission)
        assert fork.state.allowed is None
        assert "needs write permission" in fork.answer

    @pytest.mark.parametrize("named", [SECOND[:12], "aaa", "HEAD", "a; rm"])
    def test_is_allowed_by_its_commit_alone(self, fork, named):
        fork.command("allow", named)
        assert fork.state.allowed is None

    def test_that_was_never_known_is_allowed_by_the_commit_they_saw(self, tale):
        tale.command("allow", sha=FIRST)
        tale.give(Looked(look=1, pull=pull(head_repository="eve/web", head_sha=SECOND), verdict=WANTED))
        assert tale.phase == "waits for leave", "it was pushed meanwhile"

    def test_where_it_may_not_run_is_taken_away(self, fork):
        fork.command("allow", sha=FIRST)
        fork.give(SlotGranted())
        fork.deploy()
        fork.see("ready")
        for _ in range(2):
            fork.look(pull(head_repository="eve/web"), Verdict(unwanted="no sandbox"))
            fork.now += timedelta(seconds=5)
            fork.give(FireTimer("second"))
        assert "deploy" in fork.tasks


def test_commands_change_the_wish(tale):
    tale.ready()
    tale.command("extend", "2d")
    assert wish(tale.state).until == START + timedelta(days=2)
    tale.command("protect")
    assert wish(tale.state).protected
    tale.command("destroy")
    assert "unprotect first" in tale.answer
    tale.command("unprotect")
    tale.command("destroy")
    assert wish(tale.state).sha is None
    tale.command("redeploy")
    assert wish(tale.state).turn == 1
    tale.command("logs", "app")
    assert publication(tale.state, "comment").logs == "app"


@pytest.mark.parametrize(
    ("name", "argument", "says"),
    [
        ("extend", "soon", "extend 2d"),
        ("extend", "99d", "1m to 30d"),
        ("destory", "", "did you mean destroy"),
        ("logs", "A B", "component"),
        ("allow", "", "not come from a fork"),
    ],
)
def test_what_cannot_be_done_is_answered(tale, name, argument, says):
    tale.ready()
    before = wish(tale.state)
    tale.command(name, argument)
    assert says in tale.answer
    assert wish(tale.state) == before
    assert list(tale.tasks) == ["publish:comment"]


def test_an_old_command_is_not_carried_out_again_however_much_was_heard_since(tale):
    tale.ready()
    tale.command("destroy", comment="7")
    tale.command("redeploy", comment="8")
    for _ in range(2 * MOST_HEARD):
        tale.hint()
    assert tale.command("destroy", comment="7") == ()
    for number in range(9, 9 + 2 * MOST_HEARD):
        assert tale.command("status", comment=str(number)) != ()
    assert tale.command("destroy", comment="7") == ()
    assert tale.state.ended is None
    assert len(tale.state.heard) == 2 * MOST_HEARD, "the memory is bounded"


def test_commands_count_in_whatever_order_they_come(tale):
    tale.ready()
    said = [*range(11, 11 + MOST_HEARD), 9, 10, 100, 99, 1000]  # by number: as texts, 100 comes before 99
    for number in said:
        taken = tale.command("status", comment=str(number))
        assert (taken == ()) == (number in (9, 10)), f"{number}: only what is below all that are remembered is late"
    for number in said:
        assert tale.command("status", comment=str(number)) == ()
    few = Tale()
    few.ready()
    assert few.command("redeploy", comment="11") != ()
    assert few.command("destroy", comment="10") != (), "a burst overtakes itself"
    assert few.command("redeploy", comment="11") == few.command("destroy", comment="10") == ()


def test_a_comment_is_taken_once_and_a_closed_one_takes_none(tale):
    tale.ready()
    tale.command("redeploy")
    tale.deliveries -= 1
    assert tale.command("redeploy") == ()
    tale.close()
    tale.command("redeploy")
    assert "reopen it first" in tale.answer


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("/twin status", Command("status")),
        ("/twin", Command("status")),
        ("\n\n/twin   extend  2d \r\nthanks", Command("extend", "2d")),
        ("/twin DESTROY", Command("destroy")),
        ("/twin logs app", Command("logs", "app")),
        ("/twin nonsense here", Command("nonsense", "here")),
        ("please /twin destroy", None),
        ("> /twin destroy", None),
        ("    /twin destroy", None),
        ("hello\n/twin destroy", None),
        ("/twins", None),
        ("", None),
        ("/twin " + "x" * 31, None),
        ("/twin allow " + "a" * 500, Command("allow", "a" * 100)),
    ],
)
def test_a_command_is_the_first_line(text, command):
    assert parse_command(text) == command


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_nobody_without_rights_commands_anything(tale, name):
    tale.ready()
    before = wish(tale.state)
    tale.command(name, "2d", permission="none")
    assert not tale.state.answer.ok
    assert wish(tale.state) == before
    assert list(tale.tasks) == ["publish:comment"], "not even a look"
