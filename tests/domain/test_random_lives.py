"""Whatever people, workers and the world do, in whatever order: what must always hold does hold.

A machine lives random lives of one twin against a model of the world: signals good and bad, attempts that succeed,
fail, stop, die or report too late, time that jumps, resources that vanish. `Story` checks after each input that state
is the fold of history and that all reads back; here stands what only a whole life shows.
"""

from datetime import timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from twin.domain.errors import Problem
from twin.domain.events import Abandoned, Destroyed, StepStarted
from twin.domain.planner import plan, target_digest
from twin.domain.signals.abandon import Abandon
from twin.domain.signals.add_component import AddComponent
from twin.domain.signals.cancel import Cancel
from twin.domain.signals.destroy import Destroy
from twin.domain.signals.detect_drift import DetectDrift
from twin.domain.signals.extend import Extend
from twin.domain.signals.protect import Protect
from twin.domain.signals.remove_component import RemoveComponent
from twin.domain.signals.resume import Resume
from twin.domain.signals.retry import Retry
from twin.domain.signals.scale import Scale
from twin.domain.signals.suspend import Suspend
from twin.domain.signals.unprotect import Unprotect
from twin.domain.signals.update import Update
from twin.domain.status import status
from twin.domain.steps import Found, Looked
from twin.testing.blueprints import guestbook, guestbook_components, make_library
from twin.testing.story import Attempt, Story

COMPONENTS = st.sampled_from(["db", "cache", "jobs", "app", "search", "nothing"])
PICK = st.integers(0, 7)


def versions():
    first = guestbook_components()
    first["db"]["observe_every"] = "2h"
    first["cache"]["policy"] = {"attempts": 2, "within": "1h"}
    second = guestbook_components()
    del second["jobs"]
    second["app"]["needs"] = []
    second["search"] = {"type": "test.service", "needs": ["db"], "inputs": {"env": {"CACHE": "${cache.secrets.url}"}}}
    third = guestbook_components()
    third["db"]["inputs"]["connections"] = 20
    third["app"]["needs"] = ["jobs", "cache"]
    return make_library(
        *(
            guestbook(f"{number}.0.0", components=components)
            for number, components in enumerate((first, second, third), start=1)
        )
    )


LIBRARY = versions()

SIGNALS = st.one_of(
    st.builds(Scale, component=COMPONENTS, to=st.builds(lambda n: {"replicas": n}, st.sampled_from([0, 1, 2, 4, 99]))),
    st.builds(Scale, component=st.just("db"), to=st.builds(lambda n: {"connections": n}, st.integers(10, 12))),
    st.builds(
        Update,
        blueprint=st.sampled_from([None, None, "guestbook@1.0.0", "guestbook@2.0.0", "guestbook@3.0.0", "other"]),
        inputs=st.dictionaries(
            st.sampled_from(["greeting", "engine", "zone", "region"]), st.sampled_from(["a", "b", None]), max_size=2
        ),
        allow_data_loss=st.booleans(),
    ),
    st.builds(Update, inputs=st.builds(lambda n: {"replicas": n}, st.integers(1, 3))),
    st.builds(Update, labels=st.just({"team": "red"})),
    st.builds(
        AddComponent,
        component=st.sampled_from(["search", "jobs", "cache"]),
        type=st.sampled_from(["test.service", "test.cache", "test.nothing"]),
        needs=st.sampled_from([(), ("db",), ("cache",)]),
    ),
    st.builds(RemoveComponent, component=COMPONENTS),
    st.builds(Suspend),
    st.builds(Resume),
    st.builds(Protect),
    st.builds(Unprotect),
    st.builds(Extend, ttl=st.sampled_from(["24h", "72h", "never", "yesterday"])),
    st.builds(Retry, component=st.none() | COMPONENTS),
    st.builds(DetectDrift, component=st.none() | COMPONENTS),
    st.builds(Abandon, component=COMPONENTS, reason=st.sampled_from(["the server burnt", ""])),
)


ENDS = st.one_of(st.builds(Destroy), st.builds(Extend, ttl=st.just("1m")))


class Life(RuleBasedStateMachine):
    """One twin and its world: what stands under each instance's name (its digest), and whether it is suspended."""

    @initialize(
        tier=st.sampled_from(["dev", "dev", "preview", "prod", "staging"]),
        version=st.integers(1, 3),
        steps=st.integers(0, 8),
        silent=st.booleans(),
    )
    def create(self, tier, version, steps, silent):
        self.story = Story(LIBRARY)
        self.story.create(f"guestbook@{version}.0.0", tier=tier)
        self.world = {}
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
        self.vandalised = True
        if vanish:
            del self.world[name]
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
                case StepStarted(key=key) if key.verb == "remove":
                    self.leaving.add(key.instance)
                case StepStarted(key=key) if key.verb == "apply":
                    assert key.instance not in self.leaving, "a number is not used again once its removal has begun"
                case Abandoned(instances=gone):
                    self.attempts = [each for each in self.attempts if not self._let_go(each, gone)]
                    self.world = {name: what for name, what in self.world.items() if name not in gone}
                    self.leaving |= set(gone)
                case Destroyed():
                    acts = ("apply", "suspend", "remove")
                    alive = [each for each, until in self.zombies if until > self.story.now and each.key.verb in acts]
                    assert not alive, "no certificate while an attempt may still act"
        self.seen = len(self.story.events)

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
            assert plan(self.env).steps == ()
            assert status(self.env) == "ready"
            assert self.env.operations == {}, "all operations have ended"
            self._send(Destroy())
            self._come_to_rest()
        assert self.env.certificate is not None, "destroy ends with a certificate"
        assert self.world == {}, "what is certified as gone is gone"
        assert not self.story.rows, "the destroyed have no tasks"
        assert set(self.story.accepted) == set(self.story.ended), "every operation ended, exactly once"

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
        if verb == "apply":
            for need in env.desired.components[name].needs:
                found = env.current(need)
                assert found is not None, f"{need} stands before {name} is applied"
                assert found.digest == target_digest(env, need), f"{need} is as it should be before {name} is applied"
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
                del self.world[name]
        elif key.verb == "apply":
            self._act(attempt)
            self.story.succeed(attempt, outputs={"host": host, "url": host}, credential_version=version)
        else:
            self._act(attempt)
            self.story.succeed(attempt)
        self.history_keeps_the_rules()

    def _act(self, attempt):
        """The attempt has its effect in the world."""
        key = attempt.key
        match key.verb:
            case "apply":
                self.world[key.instance] = (key.digest, False)
            case "remove":
                self.world.pop(key.instance, None)
            case "suspend" if key.instance in self.world:
                self.world[key.instance] = (self.world[key.instance][0], True)

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
            elif waits := [
                row.due for (kind, key), row in self.story.rows.items() if row.due and not key.startswith("observe:")
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
