"""How an environment looks to its pull request."""

from __future__ import annotations

from datetime import datetime

from twin.domain.environment import Environment
from twin.domain.planner import plan
from twin.domain.previews.pull_request import Preview
from twin.domain.status import status
from twin.service.rendering import conditions, url


def seen(env: Environment, component: str, now: datetime) -> Preview:
    """The environment as people are told of it. `component`: the one that has the commit as its source."""
    worst = next(iter(conditions(env, now)), None)
    wanted = env.desired.components.get(component)
    source = wanted.inputs.get("source") if wanted is not None else None
    return Preview(
        id=env.id,
        status=status(env),
        name=env.name,
        sha=source.get("ref") if isinstance(source, dict) else None,
        url=url(env),
        leaving=env.desired.departure is not None,
        plan=tuple(f"{step.key.verb} {step.key.component}" for step in plan(env).steps if step.key.verb != "retire"),
        problem=worst.message if worst is not None else None,
        waits_for=worst.owner if worst is not None else None,
        mend=worst.mend if worst is not None else None,
        expires_at=env.desired.expires_at,
        certified_at=env.certificate.at if env.certificate is not None else None,
    )
