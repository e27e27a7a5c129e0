"""A pull request on the bare domain, driven by hand."""

from datetime import UTC, datetime, timedelta

from twin.domain.decider import Cause, Context, fold, transition
from twin.domain.following import FollowedChanged
from twin.domain.identity import TWIN
from twin.domain.previews.inputs import (
    CommandGiven,
    Deployed,
    EnvironmentIs,
    Hint,
    Looked,
    Published,
    SlotGranted,
)
from twin.domain.previews.judging import Recipe, Verdict
from twin.domain.previews.pull_request import SINKS, Origin, Preview
from twin.domain.previews.pulls import PULL_REQUEST, SCHEMA_V
from twin.domain.previews.standing import wish
from twin.domain.previews.words import phase, publication
from twin.domain.pulls import Pull
from twin.domain.steps import FireTimer

START = datetime(2026, 1, 5, 9, tzinfo=UTC)
ORIGIN = Origin(source="web", forge="github/main", repository="shop/web", number=42, project="shop")
FIRST, SECOND = "a" * 40, "b" * 40
RECIPE = Recipe(project="shop", name="pr-42", repository="shop/web", component="app", blueprint="guestbook")
WANTED = Verdict(recipe=RECIPE)


def pull(**fields):
    shown = {
        "repository": "shop/web",
        "number": 42,
        "state": "open",
        "draft": False,
        "title": "A title",
        "author": "bo",
        "head_sha": FIRST,
        "head_branch": "feature",
        "head_repository": "shop/web",
        "base_branch": "main",
        "labels": (),
        "url": "https://forge.example/shop/web/pulls/42",
        "updated_at": START,
    }
    return Pull(**{**shown, **fields})


class Tale:
    """A pull request on the bare domain. Each input checks what must always hold."""

    def __init__(self):
        self.now = START
        self.state = None
        self.events = []
        self.deliveries = 0

    def give(self, given):
        context = Context(now=self.now, cause=Cause(TWIN), fresh_id=lambda prefix: prefix, jitter=0.5)
        after, events = transition(PULL_REQUEST, self.state, given, context)
        self.events += [PULL_REQUEST.decode_event(PULL_REQUEST.encode_event(event), SCHEMA_V) for event in events]
        if after is not None:
            self.state = PULL_REQUEST.decode_state(PULL_REQUEST.encode_state(after), SCHEMA_V)
            assert self.state == after == fold(PULL_REQUEST, self.events), "the state is the fold of its history"
        return events

    def hint(self):
        self.deliveries += 1
        return self.give(Hint(origin=ORIGIN, delivery=f"d{self.deliveries}", what="pull_request"))

    def look(self, shown, verdict=WANTED):
        """Something happens, and the forge shows it."""
        self.hint()
        self.give(Looked(look=self.state.wanted, pull=shown, verdict=verdict))

    def command(self, name, argument="", *, permission="write", sha=FIRST, comment=None):
        self.deliveries += 1
        given = CommandGiven(
            origin=ORIGIN,
            comment=comment or f"c{self.deliveries}",
            command=name,
            argument=argument,
            by="ada",
            permission=permission,
            sha=sha,
        )
        return self.give(given)

    def see(self, status, *, env="env_1", sha=FIRST, **fields):
        self.give(FollowedChanged(environment=env))
        env = Preview(id=env, status=status, sha=sha, **fields)
        self.give(EnvironmentIs(news=self.state.news, environment=env))

    def give_slot(self):
        self.give(SlotGranted())

    def deploy(self, environment="env_1"):
        assert "deploy" in self.tasks
        self.give(Deployed(wish=wish(self.state), environment=environment))

    def ready(self):
        """It lives at its first commit, and everybody was told."""
        self.look(pull())
        self.give(SlotGranted())
        self.deploy()
        self.see("ready", url="http://pr-42--app.localhost/")
        self.publish()
        assert self.tasks == {}, "then it sleeps"

    def publish(self):
        for sink in SINKS:
            if (said := publication(self.state, sink)) is not None:
                telling = self.state.tellings.get(sink, 0)
                self.give(Published(sink=sink, digest=said.digest, telling=telling, asked=said.asked))

    def close(self):
        """Closed, and that is sure."""
        self.look(pull(state="closed"), None)
        self.now += timedelta(seconds=5)
        self.give(FireTimer("second"))
        self.give(Looked(look=self.state.wanted, pull=pull(state="closed")))

    @property
    def tasks(self):
        return {task.key: task.due for task in PULL_REQUEST.next_tasks(self.state)}

    @property
    def phase(self):
        return phase(self.state)

    @property
    def answer(self):
        return self.state.answer.text
