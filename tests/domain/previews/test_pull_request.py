"""A pull request: what it has done when, one rule after the other."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from tests.domain.previews.tale import FIRST, ORIGIN, RECIPE, SECOND, START, WANTED, Tale, pull
from twin.domain.errors import Blocked, Terminal, Transient, Unavailable
from twin.domain.previews.decide import LAGS
from twin.domain.previews.inputs import (
    Deployed,
    Hint,
    Looked,
    Published,
    Publishing,
    SlotFreed,
    SlotGranted,
    SlotQueued,
)
from twin.domain.previews.judging import Verdict
from twin.domain.previews.pull_request import MOST_HEARD, SINKS
from twin.domain.previews.pulls import PULL_REQUEST, SCHEMA_V
from twin.domain.previews.standing import wish
from twin.domain.previews.tasks import CONTENT
from twin.domain.previews.trouble import task_failed
from twin.domain.previews.words import publication
from twin.domain.steps import FireTimer, LiftBlock


@pytest.fixture
def tale():
    return Tale()


def test_a_hint_is_taken_once(tale):
    tale.hint()
    assert list(tale.tasks) == ["look"]
    assert tale.give(Hint(origin=ORIGIN, delivery="d1", what="again")) == ()
    for _ in range(MOST_HEARD + 5):
        tale.hint()
    assert len(tale.state.heard) == MOST_HEARD, "the memory is bounded"


def test_what_is_heard_during_a_look_is_looked_at_too(tale):
    tale.hint()
    tale.hint()
    tale.give(Looked(look=1, pull=pull(), verdict=WANTED))
    assert "look" in tale.tasks
    tale.give(Looked(look=2, pull=pull(head_sha=SECOND), verdict=WANTED))
    assert tale.give(Looked(look=1, pull=pull(state="closed"))) == (), "an answer to an earlier look is stale"
    assert tale.give(Looked(look=3, pull=pull(state="closed"))) == (), "nobody has asked that"
    assert tale.state.pull.head_sha == SECOND


def test_a_copy_of_the_forge_that_lags_is_asked_again_and_believed_in_the_end(tale):
    tale.look(pull(head_sha=SECOND, updated_at=START + timedelta(hours=1)))
    tale.hint()
    for _ in range(5):
        tale.give(Looked(look=2, pull=pull(), verdict=WANTED))
        assert tale.state.pull.head_sha == SECOND
        assert tale.tasks["look"] > tale.now, "after a while"
    tale.give(Looked(look=2, pull=pull(), verdict=WANTED))
    assert tale.state.pull.head_sha == FIRST, "its clock was set back"


def test_one_answer_takes_nothing_away(tale):
    tale.ready()
    tale.look(None)
    assert (tale.phase, wish(tale.state)) == ("closing", None)
    assert tale.tasks["second"] == tale.now + timedelta(seconds=5)
    tale.hint()
    tale.give(Looked(look=tale.state.wanted, pull=None))
    assert "deploy" not in tale.tasks, "a second one at once is no second one"
    tale.give(FireTimer("second"))
    assert "look" not in tale.tasks, "not before its time"
    tale.now += timedelta(seconds=5)
    tale.give(FireTimer("second"))
    tale.give(task_failed("look", Transient("no answer")))
    assert "deploy" not in tale.tasks, "an error is no answer"
    tale.give(Looked(look=tale.state.wanted, pull=None))
    assert "deploy" in tale.tasks
    assert not any(key.startswith("publish") for key in tale.tasks), "there is nowhere to publish"


def test_what_was_an_error_of_the_forge_is_forgotten(tale):
    tale.ready()
    tale.look(None)
    tale.now += timedelta(seconds=5)
    tale.give(FireTimer("second"))
    tale.give(Looked(look=tale.state.wanted, pull=pull(), verdict=WANTED))
    assert tale.tasks == {}
    tale.look(None)
    assert "second" in tale.tasks, "it begins anew"


def test_closed_in_the_middle_of_a_create(tale):
    tale.look(pull())
    tale.give(SlotGranted())
    wished = wish(tale.state)
    tale.close()
    assert "deploy" in tale.tasks, "something may be there: nobody has said what became of it"
    tale.give(Deployed(wish=wished, environment="env_1"))
    assert "deploy" in tale.tasks
    tale.deploy()
    tale.see("destroying", leaving=True)
    assert "slot" not in tale.tasks, "it is still there"
    tale.see("destroyed", certified_at=tale.now)
    assert "slot" in tale.tasks
    tale.give(SlotFreed())
    tale.publish()
    assert tale.tasks == {}
    assert not PULL_REQUEST.index(tale.state).live
    assert "Proven gone" in publication(tale.state, "comment").body
    assert publication(tale.state, "status").outcome == "inactive"


def test_reopened_while_it_goes_it_waits_for_the_room(tale):
    tale.ready()
    tale.close()
    tale.deploy()
    tale.see("destroying", leaving=True)
    tale.look(pull())
    assert "deploy" not in tale.tasks
    assert tale.phase == "awaiting"
    tale.see("destroyed")
    tale.deploy("env_2")
    tale.see("ready", env="env_2")
    assert (tale.phase, tale.state.ended) == ("ready", None)


def test_a_push_is_followed_and_nothing_old_is_said(tale):
    tale.ready()
    tale.look(pull(head_sha=SECOND))
    assert tale.phase == "updating"
    assert {publication(tale.state, sink).sha for sink in SINKS} == {SECOND}
    tale.deploy()
    assert tale.phase == "updating", "what is seen is of the commit before"
    tale.see("updating", sha=SECOND)
    tale.see("ready", sha=SECOND)
    assert publication(tale.state, "status").outcome == "success"


def test_title_and_base_change_nothing(tale):
    tale.ready()
    tale.look(pull(title="Another", base_branch="release", labels=("x",)))
    assert tale.tasks == {}


def test_an_environment_whose_time_is_over_stays_away_until_redeploy(tale):
    tale.ready()
    tale.see("destroying", leaving=True)
    assert tale.state.ended.why == "gone"
    tale.see("destroyed")
    tale.deploy(None)
    tale.give(SlotFreed())
    tale.publish()
    tale.look(pull(head_sha=SECOND))
    assert tale.phase == "ended", "a push does not bring it back"
    assert "/twin redeploy" in publication(tale.state, "comment").body
    tale.command("redeploy")
    tale.give(SlotGranted())
    tale.deploy("env_2")
    assert wish(tale.state).sha == SECOND


def test_a_reopened_one_begins_anew(tale):
    tale.ready()
    tale.command("destroy")
    tale.look(pull(state="closed"), None)
    tale.look(pull())
    assert tale.state.ended is None


def test_idle_for_too_long(tale):
    tale.look(pull(), Verdict(recipe=RECIPE, idle_ttl=3600))
    tale.give(SlotGranted())
    tale.deploy()
    tale.see("ready")
    assert tale.tasks["idle"] == START + timedelta(hours=1)
    tale.now += timedelta(minutes=30)
    tale.command("status", permission="read")
    assert tale.tasks["idle"] == START + timedelta(hours=1), "whoever asks does not use it"
    tale.command("unprotect")
    assert tale.tasks["idle"] == START + timedelta(minutes=90)
    tale.command("protect")
    assert "idle" not in tale.tasks
    tale.command("unprotect")
    tale.now += timedelta(hours=1)
    tale.give(FireTimer("idle"))
    assert tale.state.ended.why == "idle"
    assert "deploy" in tale.tasks


def test_a_queue_is_told(tale):
    tale.look(pull())
    tale.give(SlotQueued(3))
    assert "3 waited before it" in publication(tale.state, "comment").body
    assert "deploy" not in tale.tasks
    assert "slot" not in tale.tasks
    tale.give(SlotGranted())
    assert "deploy" in tale.tasks


def test_a_draft_has_none_and_is_left_in_peace(tale):
    tale.look(pull(draft=True), Verdict(unwanted="it is a draft"))
    assert tale.tasks == {}
    tale.look(pull())
    assert "slot" in tale.tasks
    tale.look(pull(draft=True), Verdict(unwanted="it is a draft"))
    assert "slot" not in tale.tasks, "it had none yet"


def test_a_wrong_file_changes_nothing_and_says_so(tale):
    tale.ready()
    tale.look(pull(head_sha=SECOND), Verdict(problem="ttl: it is 9d", mend="Give at most 1d."))
    assert "deploy" not in tale.tasks
    assert publication(tale.state, "status").outcome == "failure"
    assert "Give at most 1d" in publication(tale.state, "comment").body
    tale.close()
    assert "deploy" in tale.tasks


class TestTrouble:
    """What fails is tried again, or waits for somebody."""

    def test_passes(self, tale):
        tale.hint()
        tale.give(task_failed("look", Transient("no answer", retry_after=timedelta(minutes=9))))
        tale.hint()
        assert tale.tasks["look"] == START + timedelta(minutes=9), "what was asked for holds"

    def test_of_a_look_is_not_waited_out_once_something_has_happened(self, tale):
        tale.hint()
        for _ in range(9):
            tale.give(task_failed("look", Transient("no answer")))
        assert tale.tasks["look"] > tale.now + timedelta(minutes=1)
        tale.give(Hint(origin=ORIGIN, delivery="d1", what="pull_request"))
        assert tale.tasks["look"] > tale.now, "a delivery that comes again is none"
        tale.hint()
        assert tale.tasks["look"] < tale.now, "it may be the close"
        tale.give(task_failed("look", Blocked("no token", key="github/main/token", mend="mend it")))
        tale.hint()
        assert list(tale.tasks) == ["look"]

    def test_of_a_copy_that_lags_is_counted_on(self, tale):
        tale.look(pull())
        for _ in range(LAGS):
            tale.look(pull(updated_at=START - timedelta(hours=1), state="closed"))
            assert tale.state.pull.state == "open"
        tale.look(pull(updated_at=START - timedelta(hours=1), state="closed"))
        assert tale.state.pull.state == "closed"

    def test_with_what_a_commit_has_in_it_leaves_what_stands_and_is_asked_again(self, tale):
        tale.ready()
        problem = Verdict(problem="no right to contents. Waits for platform.", mend="grant it")
        failed = task_failed(CONTENT, Blocked("no right to contents", key="github/main/permission", mend="grant it"))
        tale.hint()
        tale.give(Looked(look=tale.state.wanted, pull=pull(head_sha=SECOND), verdict=problem, failed=failed))
        tale.publish()
        assert tale.phase == "invalid"
        assert tale.tasks == {"github/main/permission": None}
        tale.give(LiftBlock("github/main/permission"))
        assert list(tale.tasks) == ["look"]
        failed = task_failed(CONTENT, Terminal("300000 bytes"))
        tale.give(Looked(look=tale.state.wanted, pull=pull(head_sha=SECOND), verdict=problem, failed=failed))
        tale.publish()
        (due,) = tale.tasks.values()
        assert list(tale.tasks) == [CONTENT]
        assert due > tale.now + timedelta(minutes=10)
        assert tale.give(FireTimer(CONTENT)) == ()
        tale.now = due
        tale.give(FireTimer(CONTENT))
        assert list(tale.tasks) == ["look"]
        tale.give(Looked(look=tale.state.wanted, pull=pull(head_sha=SECOND), verdict=WANTED))
        assert CONTENT not in tale.state.troubles
        assert "deploy" in tale.tasks

    def test_with_what_a_commit_has_in_it_ends_with_the_close(self, tale):
        tale.ready()
        failed = task_failed(CONTENT, Blocked("no right to contents", key="github/main/permission", mend="grant it"))
        tale.hint()
        tale.give(Looked(look=tale.state.wanted, pull=pull(), verdict=Verdict(problem="no"), failed=failed))
        tale.close()
        assert "github/main/permission" not in tale.tasks
        assert "deploy" in tale.tasks

    def test_waits_for_a_block(self, tale):
        tale.hint()
        events = tale.give(task_failed("look", Blocked("no token", key="github/main/token", mend="mend it")))
        assert type(events[-1]).__name__ == "BlockRaised"
        assert tale.tasks == {"github/main/token": None}
        tale.give(LiftBlock("github/main/token"))
        assert list(tale.tasks) == ["look"]

    def test_is_final_for_what_it_is_about_alone(self, tale):
        tale.look(pull())
        tale.give(SlotGranted())
        failed = task_failed("deploy", Terminal("no such input", mend="correct it"), wish(tale.state).digest)
        tale.give(failed)
        assert "deploy" not in tale.tasks
        assert tale.phase == "failed"
        assert "no such input" in publication(tale.state, "status").summary
        tale.command("redeploy")
        assert "deploy" in tale.tasks
        tale.give(failed)
        assert "deploy" in tale.tasks, "that was about the one before"
        assert tale.phase == "starting"

    def test_never_ends_a_destruction(self, tale):
        tale.ready()
        tale.close()
        tale.give(task_failed("deploy", Terminal("no"), wish(tale.state).digest))
        assert tale.tasks["deploy"] > tale.now


def test_what_a_late_worker_has_made_is_sent_away_again(tale):
    tale.ready()
    tale.close()
    tale.deploy()
    tale.see("destroyed")
    tale.see("creating", env="env_9")
    assert "deploy" in tale.tasks
    assert "slot" not in tale.tasks


def test_a_source_made_anew_of_another_repository_numbers_anew(tale):
    tale.ready()
    other = replace(ORIGIN, repository="shop/api")
    tale.give(Hint(origin=other, delivery="x1", what="opened"))
    assert tale.state.origin == ORIGIN, "what is there is taken away first"
    tale.close()
    tale.deploy()
    tale.see("destroyed")
    tale.give(SlotFreed())
    late = tale.state.wanted
    tale.give(Hint(origin=other, delivery="x2", what="opened"))
    assert (tale.state.origin, tale.state.pull, tale.phase) == (other, None, "looking")
    assert tale.give(Looked(look=late, pull=pull())) == ()
    shown = pull(repository="shop/api", head_repository="shop/api")
    tale.give(Looked(look=tale.state.wanted, pull=shown, verdict=WANTED))
    tale.give(SlotGranted())
    tale.deploy("env_2")


def test_what_is_said_meanwhile_is_said_again(tale):
    """Until a worker has told what came of it, nobody knows what the page shows."""
    tale.ready()
    said = publication(tale.state, "comment")
    tale.command("protect")
    tale.give(Publishing(sink="comment", digest=publication(tale.state, "comment").digest))
    assert "publish:comment" in tale.tasks
    tale.give(Published(sink="comment", digest=said.digest, telling=1))
    assert "publish:comment" in tale.tasks, "it is said already, but not that"
    tale.publish()
    tale.give(Publishing(sink="comment", digest=publication(tale.state, "comment").digest))
    assert "publish:comment" in tale.tasks, "its worker may have died"


def test_a_newer_version_s_bytes_are_refused():
    with pytest.raises(Unavailable, match="newer version"):
        PULL_REQUEST.decode_state(b"{}", SCHEMA_V + 1)
    with pytest.raises(Unavailable, match="newer version"):
        PULL_REQUEST.decode_event(b"{}", SCHEMA_V + 1)
