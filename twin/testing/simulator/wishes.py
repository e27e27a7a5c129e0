"""What people ask of an environment: good things, and often nonsense."""

from __future__ import annotations

import random
from typing import Any

from twin.domain.environment import Environment
from twin.domain.rotation import live

_COMPONENTS = ("db", "cache", "jobs", "app", "search", "nothing")
_PEOPLE = ("ada", "bob", "cy")


def wish(env: Environment, draw: random.Random) -> dict[str, Any]:
    """The body of a signal."""
    choice = draw.choice
    component = choice(_COMPONENTS)
    roll = draw.random()
    if roll < 0.2:
        to = {"replicas": choice((0, 1, 2, 4, 99))} if component != "db" else {"connections": choice((10, 11, 12))}
        return {"signal": "scale", "component": component, "to": to}
    if roll < 0.4:
        inputs = {choice(("greeting", "engine", "zone", "region", "replicas")): choice(("a", "b", None, 2, 3))}
        body: dict[str, Any] = {"signal": "update", "inputs": inputs, "allow_data_loss": draw.random() < 0.7}
        if draw.random() < 0.4:
            body["blueprint"] = choice(("guestbook@1.0.0", "guestbook@2.0.0", "guestbook@3.0.0", "other"))
        return body
    if roll < 0.58:
        return _access(env, draw)
    if roll < 0.63:
        kind = choice(("test.service", "test.cache", "test.nothing"))
        needs = choice(([], ["db"], ["cache"]))
        return {"signal": "add_component", "component": choice(_COMPONENTS[2:5]), "type": kind, "needs": needs}
    if roll < 0.68:
        return {"signal": "remove_component", "component": component}
    if roll < 0.75:
        return {"signal": "resume" if env.desired.suspended else choice(("suspend", "resume"))}
    if roll < 0.8:
        return {"signal": "retry", **({"component": component} if draw.random() < 0.5 else {})}
    if roll < 0.85:
        return {"signal": "detect_drift", **({"component": component} if draw.random() < 0.5 else {})}
    if roll < 0.9 and env.operations:
        # To cancel a creation destroys: seldom enough, or nothing would ever live.
        running = [each.id for each in env.operations.values() if each.signal != "create" or draw.random() < 0.2]
        return {"signal": "cancel", "operation": choice(running or ["op_none"])}
    if roll < 0.93:
        return {"signal": "extend", "ttl": choice(("1h", "24h", "72h", "never", "yesterday"))}
    if roll < 0.95:
        return {"signal": choice(("protect", "unprotect", "unprotect"))}
    return {"signal": "destroy", **({"force": True} if env.holds and draw.random() < 0.3 else {})}


def _access(env: Environment, draw: random.Random) -> dict[str, Any]:
    """About credentials and people."""
    choice, roll = draw.choice, draw.random()
    if roll < 0.5:
        grace = choice((None, "0s", "5m", "2h", "soon"))
        component = "db" if draw.random() < 0.9 else "cache"
        return {"signal": "rotate_credentials", "component": component, **({"grace": grace} if grace else {})}
    if roll < 0.65:
        return {"signal": "acknowledge_credential", "component": "db", "version": choice((1, 2, newest(env), 99))}
    if roll < 0.85:
        role, until = choice(("viewer", "developer", "operator", "admin")), choice((None, None, "1h", "72h"))
        return {"signal": "add_members", "members": [{"name": choice(_PEOPLE), "role": role, "until": until}]}
    return {"signal": "remove_members", "names": [choice(sorted(env.desired.members) or ["nobody"])]}


def cloning(name: str, draw: random.Random) -> dict[str, Any]:
    """Another environment with the data of this one."""
    body: dict[str, Any] = {
        "signal": "clone",
        "name": name,
        "tier": draw.choice(("dev", "dev", "preview", "staging")),
        "data": draw.choice(("full", "full", "full", "schema", "masked", "none")),
    }
    if draw.random() < 0.3:
        body["hold"] = draw.choice(("5s", "1m", "1h"))
    if draw.random() < 0.2:
        body["inputs"] = {draw.choice(("greeting", "engine", "zone")): draw.choice(("a", "b"))}
    return body


def newest(env: Environment) -> int:
    """The version of the database's newest credential; 0 if there is none."""
    instance = env.current("db")
    issued = live(instance) if instance is not None else ()
    return issued[-1].version if issued else 0
