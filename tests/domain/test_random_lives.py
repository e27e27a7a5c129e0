"""Whatever people, workers and the world do, in whatever order: what must always hold does hold.

A machine lives random lives of one twin against a model of the world: signals good and bad, attempts that succeed,
fail, stop, die or report too late, time that jumps, resources that vanish; credentials that rotate, people who come
and go, clones that copy from it, and data that it copies itself. `Story` checks after each input that state is the fold
of history and that all reads back; here stands what only a whole life shows.
"""

from datetime import timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.domain.random_signals import ENDS, LIBRARY, SEED, SIGNALS
from twin.domain.errors import Problem
from twin.domain.events import Abandoned, Destroyed, Held, HoldEnded, StepStarted
from twin.domain.members import entitled
from twin.domain.planner import plan, target_digest
from twin.domain.rotation import live
from twin.domain.signals.acknowledge_credential import AcknowledgeCredential
from twin.domain.signals.cancel import Cancel
from twin.domain.signals.clone import Clone
from twin.domain.signals.destroy import Destroy
from twin.domain.signals.detect_drift import DetectDrift
from twin.domain.signals.resume import Resume
from twin.domain.signals.retry import Retry
from twin.domain.signals.unprotect import Unprotect
from twin.domain.status import status
from twin.domain.steps import CHANGES, EndHold, Found, Looked, TellSource
from twin.domain.timers import RELEASE
from twin.testing.story import Attempt, Story

COPY = " (copy)"
PICK = st.integers(0, 7)


class Life(RuleBasedStateMachine):
    """One twin and its world: what stands under each instance's name (its digest), and whether it is suspended; which
    credentials it takes (`takes`), which of others' it was given (`given`), and whom it admits (`admits`)."""

    @initialize(
        tier=st.sampled_from(["dev", "dev", "preview", "prod", "staging"]),
        version=st.integers(1, 3),
        steps=st.integers(0, 8),
        silent=st.booleans(),
        seed=st.sampled_from([None, None, SEED]),
    )
    def create(self, tier, version, steps, silent, seed):
        self.story = Story(LIBRARY)
        self.story.create(f"guestbook@{version}.0.0", tier=tier, seed=seed)
        self.world = {}
        self.takes, self.given, self.admits = {}, {}, {}
        self.retired = set()  # (instance, version) whose end was seen
        self.intents = {}  # what attempts were started with: credentials of others, their own, and people
        self.holds = {}
        self.attempts = []  # that run
        self.zombies = []  # (attempt, until when it may act): given up, perhaps alive
        self.leaving = set()
        self.vandalised = False
        self.silent = silent  # zombies that are left in the end never report
        self.epoch = 0
        self.seen = 0
        self.work(steps)

    @property
    def env(self):
        return self.story.env

    # -- what people do

    @rule(signal=SIGNALS)
    def send(self, signal):
        self._send(signal)

    @precondition(lambda self: len(self.story.accepted) > 6)
    @rule(signal=ENDS, sure=st.integers(0, 5))
    def end_it(self, signal, sure):
        if sure == 5:
            self._send(signal)

    @rule(data=st.sampled_from(["full", "schema", "none"]), hold=st.sampled_from([None, "1m", "1h"]))
    def clone_it(self, data, hold):
        self._send(Clone(name="copy", data=data, hold=hold, id=f"env_CLONE{len(self.story.accepted)}"))

    @precondition(lambda self: self.env.holds)
    @rule(pick=PICK)
    def a_clone_copies_no_more(self, pick):
        clones = sorted(self.env.holds)
        self.story.give(EndHold(clone=clones[pick % len(clones)], why="all is copied"))

    @rule(pick=PICK, sure=st.booleans())
    def cancel(self, pick, sure):
        if not sure:
            return
        running = [each.id for each in self.env.operations.values() if each.signal != "create" or pick == 7]
        self._send(Cancel(operation=running[pick % len(running)] if running else self.story.accepted[0]))

    @precondition(lambda self: self.story.rows)
    @rule(pick=PICK)
    def resolve_a_block(self, pick):
        if blocks := sorted(key for kind, key in self.story.rows if kind == "block"):
            self.story.resolve(blocks[pick % len(blocks)])

    # -- what workers do

    @rule(steps=st.integers(1, 6))
    def work(self, steps):
        for _ in range(steps):
            if due := self.story.due():
                self._start(due[-1])
                self._succeed(self.attempts.pop())

    @rule(pick=PICK)
    def start(self, pick):
        if due := self.story.due():
            self._start(due[pick % len(due)])

    @precondition(lambda self: self.attempts)
    @rule(pick=PICK, host=st.sampled_from("ab"), version=st.integers(1, 2))
    def succeed(self, pick, host, version):
        attempt = self.attempts.pop(pick % len(self.attempts))
        self._succeed(attempt, host, version)

    @rule(
        pick=PICK,
        how=st.sampled_from(["fail", "fail", "block", "reject", "stop"]),
        effect=st.booleans(),
        retry_after=st.none() | st.just(90.0),
    )
    def fail(self, pick, how, effect, retry_after):
        if (attempt := self._take(pick)) is None:
            return
        if effect:
            self._act(attempt)
        if how == "fail":
            self.story.fail(attempt, retry_after=retry_after)
        else:
            getattr(self.story, how)(attempt)

    @rule(pick=PICK, proven_dead=st.booleans(), effect=st.booleans())
    def lose(self, pick, proven_dead, effect):
        if (attempt := self._take(pick)) is None:
            return
        running = self.env.running.get(str(attempt.key))
        self.story.lose(attempt, proven_dead=proven_dead)
        if effect:
            self._act(attempt)
        if not proven_dead and running is not None:
            instance = self.env.instances.get(attempt.key.instance)
            settle = instance.traits.settle if instance is not None else 5.0
            until = max(self.story.now, running.deadline) + timedelta(seconds=settle)
            self.zombies.append((attempt, until))

    @precondition(lambda self: self.zombies)
    @rule(pick=PICK, success=st.booleans())
    def report_late(self, pick, success):
        self._report_late(pick % len(self.zombies), success)

    @precondition(lambda self: self.attempts)
    @rule(pick=PICK)
    def report_under_a_wrong_epoch(self, pick):
        attempt = self.attempts[pick % len(self.attempts)]
        before = self.env.running
        self.story.end(Attempt(attempt.key, attempt.epoch - 1, 1, {}), self.story.success(attempt.key))
        assert self.env.running == before, "a result of another epoch ends nothing"

    # -- what the world does

    @rule(jump=st.sampled_from([1, 1, 10, 60, 600, 3600, 40_000]))
    def time_passes(self, jump):
        self.story.later(seconds=jump)
        self._fire()

    @precondition(lambda self: self.world)
    @rule(pick=PICK, vanish=st.booleans())
    def a_resource_changes(self, pick, vanish):
        name = sorted(self.world)[pick % len(self.world)]
        if name.endswith(COPY):
            return
        self.vandalised = True
        if vanish:
            people = self.admits.get(name)
            self._gone(name)
            if people is not None:  # they are users of the server, which outlive what they enter
                self.admits[name] = people
        else:
            self.world[name] = ("changed by hand", False)

    # -- what must always hold

    @invariant()
    def no_instance_is_worked_on_twice(self):
        if hasattr(self, "story"):
            instances = [running.key.instance for running in self.env.running.values()]
            assert len(instances) == len(set(instances)), "one attempt at a time on an instance"

    @invariant()
    def epochs_only_grow(self):
        if hasattr(self, "story"):
            assert self.env.epoch >= self.epoch
            self.epoch = self.env.epoch

    @invariant()
    def history_keeps_the_rules(self):
        if not hasattr(self, "story"):
            return
        for event in self.story.events[self.seen :]:
            match event:
                case Held(hold=hold):
                    self.holds[hold.clone] = hold.instances
                case HoldEnded(clone=clone):
                    self.holds.pop(clone, None)
                case StepStarted(key=key) if key.verb in ("remove", "suspend"):
                    held = [clone for clone, instances in self.holds.items() if key.instance in instances]
                    assert not held, "nothing is taken away while a clone copies it"
                    if key.verb == "remove":
                        self.leaving.add(key.instance)
                case StepStarted(key=key) if key.verb == "apply":
                    assert key.instance not in self.leaving, "a number is not used again once its removal has begun"
                case Abandoned(instances=gone):
                    self.attempts = [each for each in self.attempts if not self._let_go(each, gone)]
                    for name in gone:
                        self._gone(name)
                    self.leaving |= set(gone)
                case Destroyed():
                    late = [each for each, until in self.zombies if until > self.story.now]
                    alive = [each for each in late if each.key.verb in CHANGES]
                    assert not alive, "no certificate while an attempt may still act"
        self.seen = len(self.story.events)

    @invariant()
    def the_twin_knows_everybody_who_may_enter(self):
        """Or knows that it does not; and while somebody may who is to enter no more, taking that away is planned and
        waits for nothing but attempts on the same instance."""
        if not hasattr(self, "story") or self.env.certificate is not None:
            return
        wanted, rank = entitled(self.env), ("viewer", "developer", "operator", "admin").index
        taking = {step.key.instance: step for step in plan(self.env).steps if step.key.verb == "grant"}
        alive = {each.key.instance for each, until in self.zombies if until > self.story.now}
        for name, people in self.admits.items():
            if name in alive or (instance := self.env.instances.get(name)) is None:
                continue
            for person, role in people.items():
                if instance.admits is not None:
                    assert rank(instance.admits[person]) >= rank(role)
                if person not in wanted or rank(wanted[person]) < rank(role):
                    assert name in taking, f"{person} is {role} of {name} and stays it"
                    acting = {text for text, each in self.env.running.items() if each.key.instance == name}
                    assert set(taking[name].after) <= acting, "nothing has to come before"

    @invariant()
    def a_converged_twin_sleeps(self):
        if hasattr(self, "story") and not plan(self.env).steps:
            assert not [key for kind, key in self.story.rows if kind == "step"], "rest means that no step is to be done"
            assert status(self.env) in ("ready", "creating", "suspended", "destroyed")

    def teardown(self):
        """All ends well once failures are lifted, the suspended is resumed and steps succeed."""
        if not hasattr(self, "story"):
            return
        while self.zombies and not self.silent:
            self._report_late(0, True)
        self._come_to_rest()
        if self.env.certificate is None:
            self._send(Unprotect())
            self._send(Resume())
            if self.vandalised:  # only then: the twin must not need to look in order to know what it did itself
                self._send(DetectDrift())
            self._come_to_rest()
        if self.env.certificate is None:
            wanted = {
                f"{name}@{each.incarnation}": (target_digest(self.env, name), False)
                for name, each in self.env.desired.components.items()
            }
            assert self.world == wanted, "the world is as desired, and nothing else stands"
            self._credentials_and_people_are_as_recorded()
            assert plan(self.env).steps == ()
            assert status(self.env) == "ready"
            assert self.env.operations == {}, "all operations have ended"
            self._send(Destroy())
            self._come_to_rest()
        assert self.env.certificate is not None, "destroy ends with a certificate"
        assert self.world == {}, "what is certified as gone is gone"
        assert not self.story.rows, "the destroyed have no tasks"
        assert set(self.story.accepted) == set(self.story.ended), "every operation ended, exactly once"

    def _credentials_and_people_are_as_recorded(self):
        if (db := self.env.current("db")) is None:
            return  # it was removed
        assert self.takes[db.key] == {each.version for each in live(db)}, "what opens the world is what is recorded"
        assert len(live(db)) == 1, "every rotation has an end"
        assert self.admits.get(db.key, {}) == entitled(self.env), "every member is admitted, and nobody else"
        assert self.env.holds == {}, "no hold outlives its clone"

    # -- how

    def _send(self, signal):
        before = self.env
        try:
            self.story.send(signal)
        except Problem:
            assert self.env == before, "a refused signal changes nothing"
        self.history_keeps_the_rules()

    def _start(self, key):
        env = self.env
        attempt = self.story.start(key)
        self.attempts.append(attempt)
        name, verb = attempt.key.component, attempt.key.verb
        running = self.env.running[str(attempt.key)]
        instance = self.env.instances.get(attempt.key.instance)
        known = {each.version for each in live(instance)} if instance is not None else set()
        known = known or {running.credential}
        self.intents[str(attempt.key), attempt.epoch] = (running.opened_with, known, running.members)
        if verb == "apply":
            for need in env.desired.components[name].needs:
                found = env.current(need)
                assert found is not None, f"{need} stands before {name} is applied"
                assert found.digest == target_digest(env, need), f"{need} is as it should be before {name} is applied"
            copied = env.desired.seed is None or name not in SEED.components or name in env.seeded
            assert copied, f"{name} is copied before it is used"
        if verb == "remove":
            users = [each.key for each in env.instances.values() if attempt.key.instance in each.uses]
            assert not users, f"{key} waits for those that use it"
            if name in env.desired.components and not env.departing:
                follower = env.current(name)
                assert follower is not None, "a replacement comes before the replaced one goes"
                assert follower.digest == target_digest(env, name), "and stands as desired"

    def _take(self, pick):
        """An attempt that runs, or else one begun now."""
        if not self.attempts and (due := self.story.due()):
            self._start(due[pick % len(due)])
        return self.attempts.pop(pick % len(self.attempts)) if self.attempts else None

    def _succeed(self, attempt, host="a", version=1):
        key = attempt.key
        if key.verb == "observe":
            instance = self.env.instances.get(key.instance)
            there = self.world.get(key.instance)
            drift = {} if instance is None or there == (instance.digest, instance.suspended) else {"x": "differs"}
            self.story.end(attempt, Looked(present=there is not None, drift=drift if there else {}))
        elif key.verb == "sweep":
            on = {"app": "run-1", "search": "run-1"}
            left = [name for name in self.world if on.get(name.split("@")[0], "data-1") == key.component]
            found = tuple(Found("thing", name) for name in left)
            self.story.succeed(attempt, found=found)
            for name in left:  # a human removes by hand what is found
                self._gone(name)
        elif key.verb == "apply":
            self._act(attempt)
            instance = self.env.instances.get(key.instance)
            if instance is not None and instance.digest is not None:  # as an engine counts: it never goes down
                version += instance.credential_version - 1
            self.story.succeed(attempt, outputs={"host": host, "url": host}, credential_version=version)
        else:
            self._act(attempt)
            running = self.env.running.get(str(key))
            if key.verb == "retire" and running is not None and running.epoch == attempt.epoch:
                self.retired.add((key.instance, int(key.digest)))
            self.story.succeed(attempt)
        self.history_keeps_the_rules()

    def _act(self, attempt):
        """The attempt has its effect in the world."""
        key, name = attempt.key, attempt.key.instance
        given, known, people = self.intents[str(key), attempt.epoch]
        match key.verb:
            case "apply":
                self.world[name] = (key.digest, False)
                self.world.pop(name + COPY, None)
                self.given[name] = given
                if key.component == "db":
                    self._let_in(name, known)
            case "remove":
                self._gone(name)
            case "suspend" if name in self.world:
                self.world[name] = (self.world[name][0], True)
            case "seed" if name not in self.world:
                self.world[name + COPY] = (key.digest, False)
            case "issue" if name in self.world:
                self._let_in(name, {int(key.digest)})
            case "retire" if name in self.world:
                self.takes[name] = self.takes.get(name, set()) - {int(key.digest)}
                assert self.takes[name], "never none"
            case "grant" if name in self.world:
                self.admits[name] = people
        for user, opened in self.given.items():
            for source, version in opened.items():
                refused = source in self.takes and not self.world[user][1] and version not in self.takes[source]
                assert not refused, f"{user} is let in by {source}, with what it was given"

    def _let_in(self, name, versions):
        """A server takes these credentials, too."""
        self.takes[name] = self.takes.get(name, set()) | versions
        assert len(self.takes[name]) <= 2, "never three"
        assert not self.retired & {(name, version) for version in versions}, "what was proven to have ended has ended"

    def _gone(self, name):
        """Nothing of it stands any more."""
        for part in (self.world, self.takes, self.given, self.admits):
            part.pop(name, None)
        self.world.pop(name + COPY, None)

    def _report_late(self, which, success):
        attempt, until = self.zombies.pop(which)
        if success and self.story.now < until:
            self._act(attempt)
        self.story.end(attempt, self.story.success(attempt.key))

    def _let_go(self, attempt, gone):
        """What runs on abandoned ground: its worker reports to nobody."""
        if attempt.key.instance not in gone:
            return False
        assert str(attempt.key) not in self.env.running
        return True

    def _fire(self):
        if any(key.startswith(RELEASE) for key in self.story.due("timer")):
            self.story.give(TellSource())  # as an engine does, which ends the hold of the source as well
        due = self.story.due("timer")
        self.story.fire()
        still = [key for key in due if key in self.story.due("timer")]
        assert not still, "a timer that has fired is not due any more"

    def _come_to_rest(self):
        for _ in range(400):
            self._fire()
            self.history_keeps_the_rules()
            if self.attempts:
                self._succeed(self.attempts.pop(0))
            elif due := self.story.due():
                self._start(due[0])
            elif blocks := sorted(key for kind, key in self.story.rows if kind == "block"):
                self.story.resolve(blocks[0])
            elif any(failure.kind == "terminal" for failure in self.env.failures.values()):
                self._send(Retry())
            elif self.env.holds:
                self.story.give(EndHold(clone=min(self.env.holds), why="all is copied"))
            elif any(step.key.verb == "retire" and step.waits_for for step in plan(self.env).steps):
                db = self.env.current("db")
                self._send(AcknowledgeCredential(component="db", version=live(db)[-1].version))
            elif waits := [
                row.due
                for (kind, key), row in self.story.rows.items()
                if row.due and not key.startswith(("observe:", "rotate:"))
            ]:
                if self.env.departing or self.env.desired.departure or any(k == "step" for k, _ in self.story.rows):
                    self.story.now = max(self.story.now, min(waits))
                else:
                    return
            else:
                return
        raise AssertionError("it never comes to rest")


Life.TestCase.settings = settings(
    max_examples=200,
    stateful_step_count=60,
    derandomize=True,
    report_multiple_bugs=False,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestLife = Life.TestCase
