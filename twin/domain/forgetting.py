"""What a twin need not remember: failures and attempts of steps that no plan can hold any more."""

from __future__ import annotations

from msgspec.structs import replace

from twin.domain.environment import Environment
from twin.domain.members import next_grant
from twin.domain.planner import drain_key, suspend_key, target_digest
from twin.domain.rotation import live
from twin.domain.seeding import seed_digest, to_copy
from twin.domain.steps import StepKey, instance_key


def forget_stale(env: Environment) -> Environment:
    """Failures and attempts live as long as their key may come up in a plan: another digest starts at attempt 1."""
    if not (env.failures or env.attempts or env.deaths):
        return env
    texts = [text for text in {*env.failures, *env.attempts, *env.deaths} if not _may_come_up(env, text)]
    failures, attempts, deaths = (
        {text: value for text, value in kept.items() if text not in texts}
        for kept in (env.failures, env.attempts, env.deaths)
    )
    return replace(env, failures=failures, attempts=attempts, deaths=deaths)


def _may_come_up(env: Environment, text: str) -> bool:
    if text in env.running:
        return True
    key = StepKey.parse(text)
    if key.verb == "sweep":
        return key.component in env.placements
    if key.verb == "remove":
        return key.instance in env.instances
    if key.verb == "grant":
        holder = env.instances.get(key.instance)
        grant = next_grant(env, holder) if holder is not None else None
        return grant is not None and grant.digest == key.digest
    if env.departing:
        return False
    wanted = env.desired.components.get(key.component)
    if wanted is None or instance_key(key.component, wanted.incarnation) != key.instance:
        return False
    if key.verb == "apply":
        return target_digest(env, key.component) == key.digest
    if key.verb == "observe":
        look = env.looks.get(key.component)
        return look is not None and look.token == key.digest
    instance = env.instances.get(key.instance)
    if key.verb == "seed":
        return key.component in to_copy(env) and key.digest == seed_digest(env, key.component)
    if key.verb == "drain":
        return instance is not None and instance.lingers is not None and drain_key(instance) == key
    if key.verb in ("issue", "retire"):
        issued = [each.version for each in live(instance)] if instance is not None else []
        return (int(key.digest) in issued) == (key.verb == "retire")
    return env.desired.suspended and instance is not None and suspend_key(instance) == key
