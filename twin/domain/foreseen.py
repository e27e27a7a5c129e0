"""What a plan does not have yet and will: the steps that follow once its new credentials are there.

A plan is derived from what stands, so of a rotation it has the first step alone. Who is to decide whether to rotate
wants to know who will be applied with the new credential, and that the old one goes.
"""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from twin.domain.environment import Environment
from twin.domain.events import StepSucceeded
from twin.domain.evolve import evolve
from twin.domain.planner import plan
from twin.domain.steps import Step


def foreseen(env: Environment, now: datetime) -> tuple[Step, ...]:
    """The steps that the plan lacks and would have if all credentials that it issues were issued."""
    present = plan(env).steps
    issues = [step for step in present if step.key.verb == "issue"]
    later = env
    for step in issues:
        instance = later.instances[step.key.instance]
        issued = StepSucceeded(
            key=step.key,
            epoch=0,
            attempt=1,
            at=now,
            placement=instance.placement,
            external_id=instance.external_id,
            outputs=instance.outputs,
            credential_version=instance.credential_version + 1,
        )
        later = evolve(later, issued)
    known = {(step.key.component, step.key.verb) for step in present}
    first = tuple(str(step.key) for step in issues)
    news = [step for step in plan(later).steps if (step.key.component, step.key.verb) not in known]
    return tuple(replace(step, after=step.after or first) for step in news)
