"""From states to views: how a twin looks, in data and in one line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from twin.domain.environment import Component, Environment, Instance
from twin.domain.foreseen import foreseen
from twin.domain.leftovers import removal
from twin.domain.operations import Operation, OperationEnded
from twin.domain.planner import plan, target_digest
from twin.domain.status import status
from twin.domain.steps import FailedBlocked, FailedTerminal, FailedTransient, Failure, Plan, Step, StepKey
from twin.ports.previews import Preview
from twin.ports.store import EntityRow, OperationRow
from twin.service.views import (
    ComponentView,
    Condition,
    DestructionView,
    EnvironmentSummary,
    EnvironmentView,
    LeftoverView,
    OperationView,
    PlanView,
    PreviewError,
    PreviewView,
    StepView,
)

STALLED_AFTER = timedelta(minutes=30)


def environment_view(
    env: Environment, version: int, now: datetime, progress: Mapping[str, str] | None = None
) -> EnvironmentView:
    """The whole picture. `progress`: what running steps say, by their keys."""
    left = plan(env)
    departure = env.desired.departure
    return EnvironmentView(
        id=env.id,
        project=env.project,
        name=env.name,
        tier=env.tier,
        status=status(env),
        summary=summary(env, now),
        version=version,
        blueprint=str(env.desired.blueprint),
        inputs=env.desired.inputs,
        labels=env.desired.labels,
        generation=env.generation,
        components=tuple(_components(env)),
        plan=plan_view(env, left, progress),
        conditions=conditions(env, now),
        operations=tuple(operation_view(env.id, operation) for operation in env.operations.values()),
        created_at=env.created_at,
        created_by=env.created_by,
        url=url(env),
        protected=env.desired.protected,
        suspended=env.desired.suspended,
        expires_at=env.desired.expires_at,
        destroy_at=departure.at if departure is not None else None,
        leftovers=tuple(
            f"{target}: {found.kind} {found.external_id}" for target, all_ in env.leftovers.items() for found in all_
        ),
        certificate=env.certificate,
    )


def destruction_view(env: Environment) -> DestructionView:
    """The certificate, or the leftovers with whoever can remove them."""
    return DestructionView(
        environment=env.id,
        project=env.project,
        name=env.name,
        status=status(env),
        certificate=env.certificate,
        leftovers=tuple(_leftovers(env)),
    )


def _leftovers(env: Environment) -> Iterator[LeftoverView]:
    for target, found in env.leftovers.items():
        failures = [
            failure
            for text, failure in env.failures.items()
            if (key := StepKey.parse(text)).verb == "sweep" and key.component == target
        ]
        failure = failures[0] if failures else None
        for each in found:
            yield LeftoverView(
                target=target,
                kind=each.kind,
                external_id=each.external_id,
                detail=each.detail,
                owner=(failure.owner if failure is not None else None) or "platform",
                mend=removal(env, [each]),
                removal=each.removal,
            )


def environment_summary(row: EntityRow, now: datetime) -> EnvironmentSummary:
    """One line of a list."""
    env: Environment = row.state
    return EnvironmentSummary(
        id=env.id,
        project=env.project,
        name=env.name,
        tier=env.tier,
        status=row.status,
        summary=summary(env, now),
        blueprint=str(env.desired.blueprint),
        labels=env.desired.labels,
        created_at=env.created_at,
        updated_at=row.updated_at,
        url=url(env),
        expires_at=env.desired.expires_at,
    )


def plan_view(env: Environment, left: Plan, progress: Mapping[str, str] | None = None) -> PlanView:
    """A plan with what each step waits for."""
    return PlanView(digest=left.digest, steps=tuple(_step(env, step, progress or {}) for step in left.steps))


def with_foreseen(view: PlanView, env: Environment, now: datetime) -> PlanView:
    """The plan with what follows once it is done."""
    follows = tuple(_step(env, step, {}) for step in foreseen(env, now))
    return msgspec.structs.replace(view, follows=follows) if follows else view


def with_previews(view: PlanView, previews: Mapping[str, Preview]) -> PlanView:
    """The plan with what its applies would change."""
    steps = (
        msgspec.structs.replace(step, preview=_preview(previews[step.key])) if step.key in previews else step
        for step in view.steps
    )
    return msgspec.structs.replace(view, steps=tuple(steps))


def _preview(preview: Preview) -> PreviewView:
    match preview.failure:
        case None:
            return PreviewView(changes=preview.changes)
        case FailedTransient(message=message):
            return PreviewView(error=PreviewError(kind="transient", message=message))
        case FailedBlocked(message=message, mend=mend):
            return PreviewView(error=PreviewError(kind="blocked", message=message, mend=mend))
        case FailedTerminal(message=message, field=field, mend=mend):
            return PreviewView(error=PreviewError(kind="terminal", message=message, field=field, mend=mend))


def _step(env: Environment, step: Step, progress: Mapping[str, str]) -> StepView:
    key = str(step.key)
    running, failure = env.running.get(key), env.failures.get(key)
    state: Literal["running", "ready", "waiting", "retrying", "blocked", "failed"]
    if running is not None:
        state = "running"
    elif failure is not None:
        state = _FAILURE_STATES[failure.kind]
    else:
        state = "waiting" if step.after or step.not_before or step.waits_for else "ready"
    return StepView(
        key=key,
        component=step.key.component,
        verb=step.key.verb,
        target=step.target,
        why=step.why,
        state=state,
        after=step.after,
        attempt=running.attempt if running is not None else env.attempts.get(key, 0),
        started_at=running.started_at if running is not None else None,
        not_before=step.not_before,
        waits_for=step.waits_for,
        progress=progress.get(key, "") if running is not None else "",
    )


_FAILURE_STATES: dict[str, Literal["retrying", "blocked", "failed"]] = {
    "transient": "retrying",
    "blocked": "blocked",
    "terminal": "failed",
}


def conditions(env: Environment, now: datetime) -> tuple[Condition, ...]:
    """What does not go well, worst first."""
    found = [_condition(env, StepKey.parse(key), failure, now) for key, failure in env.failures.items()]
    order = {"blocked": 0, "failed": 1, "stalled": 2, "retrying": 3}
    return tuple(sorted(found, key=lambda condition: (order[condition.kind], condition.since)))


def _condition(env: Environment, key: StepKey, failure: Failure, now: datetime) -> Condition:
    kind: Literal["retrying", "stalled", "blocked", "failed"] = "retrying"
    if failure.kind == "blocked":
        kind = "blocked"
    elif failure.kind == "terminal":
        kind = "failed"
    elif now - failure.first_at >= STALLED_AFTER:
        kind = "stalled"
    return Condition(
        kind=kind,
        component=key.component,
        verb=key.verb,
        message=failure.message,
        attempt=env.attempts.get(str(key), 0),
        since=failure.first_at,
        next_at=failure.next_at,
        block=failure.block,
        owner=failure.owner,
        field=failure.field,
        mend=failure.mend,
    )


def summary(env: Environment, now: datetime) -> str:
    """How it is, in one line that names who can mend it and how."""
    found = conditions(env, now)
    if not found:
        return _calm(env, status(env), now)
    worst, word = found[0], str(status(env))
    if word not in ("destroying", "destroyed"):
        word = {"blocked": "blocked", "failed": "failed"}.get(worst.kind, word)
    head = f"{word} {_ago(now - worst.since)} at {worst.component}: {_sentence(worst.message)}"
    if worst.kind == "blocked":
        mend = (worst.mend or "").rstrip(".")
        resolve = "" if "twin retry" in mend else f", then: twin blocks resolve {worst.block}"
        return f"{head} Owner: {worst.owner}. Mend: {mend}{resolve}"
    if worst.kind == "failed":
        mend = worst.mend or f"send an update with a right value, or: twin retry {env.project}/{env.name}"
        where = f" Field: {worst.field}." if worst.field else ""
        return f"{head}{where} Mend: {mend}"
    wait = max(0.0, (worst.next_at - now).total_seconds()) if worst.next_at is not None else 0.0
    return f"{head} Attempt {worst.attempt + 1} in {wait:.0f} s ({worst.kind})"


def _calm(env: Environment, word: str, now: datetime) -> str:
    departure = env.desired.departure
    if departure is not None and not departure.begun:
        return f"{word}; will be destroyed in {_ago(departure.at - now)} unless that is cancelled"
    running = sorted(f"{step.key.verb} {step.key.component}" for step in env.running.values())
    text = f"{word}: {', '.join(running)}" if running else word
    if env.desired.expires_at is not None and word not in ("destroying", "destroyed"):
        text += f"; expires in {_ago(env.desired.expires_at - now)}"
    return text


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _ago(span: timedelta) -> str:
    seconds = max(0, int(span.total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def url(env: Environment) -> str | None:
    """Where a person can open it: the first component that has an address, and that none with an address stands before,
    as a route before the app that it leads to."""
    addresses = {}
    for name in env.desired.components:
        instance = env.current(name)
        address = instance.outputs.get("url") if instance is not None and not instance.suspended else None
        if isinstance(address, str) and address.startswith("http"):
            addresses[name] = address
    behind = {need for name in addresses for need in env.desired.components[name].needs}
    return next((address for name, address in addresses.items() if name not in behind), None)


def _components(env: Environment) -> list[ComponentView]:
    views = [_component(env, name, wanted, env.current(name)) for name, wanted in env.desired.components.items()]
    for instance in env.instances.values():
        wanted = env.desired.components.get(instance.component)
        if wanted is None or wanted.incarnation != instance.incarnation:
            views.append(_component(env, instance.component, None, instance))
    return views


def _component(env: Environment, name: str, wanted: Component | None, instance: Instance | None) -> ComponentView:
    if wanted is not None:
        type_, target, incarnation, inputs = wanted.type, wanted.target, wanted.incarnation, wanted.inputs
    elif instance is not None:
        type_, target, incarnation, inputs = instance.type, instance.placement.target, instance.incarnation, {}
    else:  # pragma: no cover - callers give one of the two
        raise ValueError(name)
    return ComponentView(
        name=name,
        type=type_,
        target=target,
        incarnation=incarnation,
        state=_state(env, name, wanted, instance),
        inputs=inputs,
        applied=instance.inputs if instance is not None and instance.digest is not None else None,
        external_id=instance.external_id if instance is not None else "",
        outputs=instance.outputs if instance is not None else {},
        needs=wanted.needs if wanted is not None else (),
        drift=instance.drift if instance is not None else {},
        applied_at=instance.applied_at if instance is not None else None,
    )


def _state(env: Environment, name: str, wanted: Component | None, instance: Instance | None) -> Any:
    own = f"{name}@{wanted.incarnation if wanted is not None else instance.incarnation if instance else 0}:"
    kinds = {failure.kind for key, failure in env.failures.items() if key.startswith(own)}
    if "blocked" in kinds:
        return "blocked"
    if "terminal" in kinds:
        return "failed"
    if wanted is None or env.departing:
        return "removing" if instance is not None else "absent"
    if instance is None:
        return "absent"
    if instance.digest is None:
        return "applying"
    if instance.suspended:
        return "suspended"
    if instance.drift:
        return "drifted"
    return "applied" if instance.digest == target_digest(env, name) else "changing"


def operation_view(environment: str, operation: Operation) -> OperationView:
    """An operation that has not ended."""
    return OperationView(
        id=operation.id,
        environment=environment,
        signal=operation.signal,
        arguments=operation.arguments,
        status="running",
        by=operation.by,
        accepted_at=operation.accepted_at,
        request_id=operation.request_id,
    )


def operation_row_view(row: OperationRow) -> OperationView:
    """An operation, ended or not."""
    view = operation_view(row.entity, row.body)
    if row.end is None:
        return view
    end: OperationEnded = row.end
    return msgspec.structs.replace(
        view, status=end.outcome, ended_at=row.ended_at, error=end.error, ended_by=end.by_operation
    )
