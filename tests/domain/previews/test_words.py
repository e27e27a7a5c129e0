"""What is said of a preview: to the point, of the last commit, and plain whatever strangers have written."""

import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.previews.tale import FIRST, START, Tale, pull
from twin.domain.previews.judging import Verdict
from twin.domain.previews.pull_request import SINKS
from twin.domain.previews.words import LONGEST_SUMMARY, marker, plain, publication, with_logs

EVIL = (
    "<!-- twin:pr:other --> <img src=x onerror=alert(1)> "
    "[x](javascript:y) @everyone `code` http://evil.example **b**\n# h"
)


@pytest.fixture
def tale():
    return Tale()


def body(tale):
    return publication(tale.state, "comment").body


def test_a_ready_one(tale):
    tale.look(pull())
    tale.give_slot()
    tale.deploy()
    expires = START + timedelta(days=1)
    tale.see("ready", url="http://pr-42--app.localhost/", expires_at=expires)
    assert body(tale).startswith(marker("pr_web_42") + "\n### Preview: ready")
    assert "(http://pr-42--app.localhost/)" in body(tale)
    assert "2026-01-06 09:00 UTC" in body(tale)
    status, deployment = publication(tale.state, "status"), publication(tale.state, "deployment")
    assert (status.outcome, status.sha, status.url) == ("success", FIRST, "http://pr-42--app.localhost/")
    assert deployment.environment == "shop/pr-42"


def test_who_is_waited_for(tale):
    tale.look(pull())
    tale.give_slot()
    tale.deploy()
    tale.see("blocked", problem="no room", waits_for="platform", mend="add a server", plan=("apply db", "apply app"))
    assert "no room\\. Waits for platform. add a server" in body(tale)
    assert "- apply db\n- apply app" in body(tale)
    assert publication(tale.state, "status").outcome == "failure"


def test_what_strangers_write_is_plain(tale):
    tale.look(pull(title=EVIL, head_branch=EVIL, labels=(EVIL,)))
    tale.give_slot()
    tale.deploy()
    tale.see("failed", problem=EVIL, waits_for=EVIL, mend=EVIL, plan=(EVIL,), url="javascript:alert(1)")
    tale.command(EVIL, EVIL)
    text = outside_fences(body(tale))
    assert text.count("<!--") == 1
    for bad in ("<img", "](javascript", "@everyone", "http://evil", "`code`", "**b**", "\n# h"):
        assert bad not in text
    assert len(publication(tale.state, "status").summary) <= LONGEST_SUMMARY


def test_a_link_that_is_none_is_none(tale):
    tale.ready()
    tale.see("ready", url="javascript:alert(1)")
    assert "](" not in body(tale)
    assert publication(tale.state, "status").url is None


def outside_fences(text):
    """Without what is quoted: nothing means anything there."""
    return re.sub(r"\n(```+)text\n.*?\n\1\n", "\n", text, flags=re.DOTALL)


def test_what_a_program_wrote_is_quoted(tale):
    tale.look(pull())
    tale.give_slot()
    tale.deploy()
    tale.see("failed", problem='It ends.\nIts last lines:\n  File "app.py"\n```\n@all', mend="Mend it.")
    assert '\n\nIt ends\\.\n\n````text\nIts last lines:\n  File "app.py"\n```\n@all\n````\n\nMend it\\.' in body(tale)


@given(st.text(max_size=300))
def test_plain_means_nothing(text):
    shown = plain(text)
    assert "\n" not in shown
    assert "<" not in shown
    assert ">" not in shown
    assert "@" not in shown.replace("@\u200b", "")
    unescaped = shown.replace("\\\\", "").replace("\\`", "").replace("\\[", "").replace("\\*", "").replace("\\_", "")
    assert not set("`[*_") & set(unescaped)


@given(st.text(alphabet="`ab\n", max_size=80))
def test_logs_stay_in_their_fence(text):
    whole = with_logs("body", "app", text)
    fence = next(line for line in whole.splitlines() if line.endswith("text") and line.startswith("```"))[:-4]
    inside = whole.split(fence + "text\n", 1)[1].rsplit("\n" + fence + "\n", 1)[0]
    assert fence not in inside


def test_logs_are_the_last_lines():
    whole = with_logs("body", "app", "\n".join(f"line {number}" for number in range(1000)))
    assert "line 999" in whole
    assert "line 939\n" not in whole


def test_who_never_had_a_preview_is_left_in_peace(tale):
    tale.look(pull(), Verdict(unwanted="it is a draft"))
    assert [publication(tale.state, sink) for sink in SINKS] == [None, None, None]
    tale.command("status", permission="read")
    assert "it is a draft" in body(tale), "but is answered"


def test_what_is_not_wanted_any_more_is_told_of_the_environment_that_it_had(tale):
    tale.ready()
    tale.see("ready", name="pr-42")
    tale.look(pull(draft=True), Verdict(unwanted="it is a draft"))
    deployment = publication(tale.state, "deployment")
    assert (deployment.outcome, deployment.environment) == ("inactive", "shop/pr-42")


def test_the_same_is_not_said_twice(tale):
    tale.ready()
    digests = [publication(tale.state, sink).digest for sink in SINKS]
    tale.now += timedelta(hours=3)
    tale.look(pull())
    assert [publication(tale.state, sink).digest for sink in SINKS] == digests
