"""Where transactions meet: what was before, and who acts then. `x2` is the same by another."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tests.store.interleavings.scene import QUEUE, Act, Cast
from tests.store.interleavings.stepping import Rewrite


def due(act: Act) -> Cast:
    """A step is due."""
    env = act.create()
    return {
        "scale": lambda: act.scale(env, 32),
        "eager": lambda: act.scale(env, 64, "w1"),
        "eager2": lambda: act.scale(env, 128, "w2"),
        "claim": lambda: act.claim("w3"),
        "work": lambda: act.work("w4"),
        "destroy": lambda: act.signal(env, "destroy"),
    }


def claimed(act: Act) -> Cast:
    """A step is leased to w1, which has fallen silent before it started."""
    env = act.create()
    (task,) = act.lease("w1")
    return {
        "start": lambda: act.step("w1", task),
        "reap": lambda: act.reap("w2"),
        "reap2": lambda: act.reap("w3"),
        "scale": lambda: act.scale(env, 32),
        "claim": lambda: act.claim("w4"),
        "beat": lambda: act.scene.store.heartbeat("w1"),
    }


def running(act: Act) -> Cast:
    """A step runs on w1, which has fallen silent."""
    env = act.create()
    attempt = act.launch("w1", env)
    return {
        "finish": lambda: act.finish("w1", attempt),
        "reap": lambda: act.reap("w2"),
        "reap2": lambda: act.reap("w3"),
        "eager": lambda: act.scale(env, 32, "w4"),
        "destroy": lambda: act.signal(env, "destroy", "w4"),
        "work": lambda: act.work("w5"),
    }


def failing(act: Act) -> Cast:
    """A step runs, and another twin is blocked by what it will find: the block is open."""
    other = act.create()
    act.block(other)
    env = act.create()
    attempt = act.launch("w1", env)
    return {
        "blocked": lambda: act.finish("w1", attempt, "blocked"),
        "resolve": act.resolve,
        "resolve2": act.resolve,
        "retry": lambda: act.signal(other, "retry", "w2"),
        "scale": lambda: act.scale(env, 32, "w3"),
        "fire": act.fire,
    }


def resolved(act: Act) -> Cast:
    """A block was resolved, and its task is due; another twin is about to raise it again."""
    env = act.create()
    act.block(env)
    act.resolve()
    other = act.create()
    attempt = act.launch("w1", other)
    return {
        "fire": act.fire,
        "fire2": act.fire,
        "retry": lambda: act.signal(env, "retry", "w2"),
        "blocked": lambda: act.finish("w1", attempt, "blocked"),
        "destroy": lambda: act.signal(env, "destroy"),
    }


def expired(act: Act) -> Cast:
    """A twin's time is over while its step runs."""
    env = act.create(tier="preview")
    attempt = act.launch("w1", env)
    return {
        "fire": act.fire,
        "fire2": act.fire,
        "extend": lambda: act.signal(env, "extend", "w2", ttl="48h"),
        "finish": lambda: act.finish("w1", attempt, "later"),
        "reap": lambda: act.reap("w3"),
    }


def crowded(act: Act) -> Cast:
    """Two twins with two due steps each on a target that takes one at a time."""
    act.scene.limit_target(1)
    one, two = act.create("2.0.0"), act.create("2.0.0")
    return {
        "eager": lambda: act.scale(one, 32, "w1"),
        "eager2": lambda: act.scale(two, 32, "w2"),
        "claim": lambda: act.claim("w3", 9, {QUEUE: 1}),
        "claim2": lambda: act.claim("w4", 9, {QUEUE: 1}),
    }


def asked(act: Act) -> Cast:
    """Requests with an Idempotency-Key: two are the same one, and what yesterday's keys stood for has expired."""
    one, two = act.create(), act.create()
    act.scale(one, 16, key="k1", store=act.scene.past)
    act.scale(two, 16, key="k2", store=act.scene.past)
    name = f"{one[-12:].lower()}-new"
    return {
        "keyed": lambda: act.scale(one, 32, "w1", key="k1"),
        "keyed2": lambda: act.scale(one, 32, "w2", key="k1"),
        "other": lambda: act.scale(two, 32, key="k2"),
        "create": lambda: act.ask(f"e{name}"),
        "create2": lambda: act.ask(f"e{name}"),
    }


Situation = Callable[[Act], Cast]
SITUATIONS: Mapping[str, tuple[tuple[str, ...], Situation]] = {
    "due": (("scale", "eager", "eager2", "claim", "work", "destroy"), due),
    "claimed": (("start", "reap", "reap2", "scale", "claim", "beat"), claimed),
    "running": (("finish", "reap", "reap2", "eager", "destroy", "work"), running),
    "failing": (("blocked", "resolve", "resolve2", "retry", "scale", "fire"), failing),
    "resolved": (("fire", "fire2", "retry", "blocked", "destroy"), resolved),
    "expired": (("fire", "fire2", "extend", "finish", "reap"), expired),
    "asked": (("keyed", "keyed2", "other", "create", "create2"), asked),
    "crowded": (("eager", "eager2", "claim", "claim2"), crowded),
}


def only(situation: str, *names: str, rewrite: Rewrite = str) -> Situation:
    """The situation with some of its actors, whose statements a test may have spoilt."""
    _, prepare = SITUATIONS[situation]

    def cast(act: Act) -> Cast:
        act.rewrite = rewrite
        whole = prepare(act)
        return {name: whole[name] for name in names}

    return cast
