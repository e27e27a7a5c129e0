"""remove_members: their access ends, and with it their open sessions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from msgspec.structs import replace

from twin.domain.decider import Context
from twin.domain.desire import desire
from twin.domain.environment import Environment
from twin.domain.errors import Invalid, NotFound
from twin.domain.events import Event
from twin.domain.near import near_misses
from twin.domain.signals.base import Signal


class RemoveMembers(Signal, tag="remove_members", frozen=True, kw_only=True):
    """`names` are those of the environment's own members; a project's members are removed from the project."""

    role: ClassVar[str] = "operator"

    names: tuple[str, ...]


def decide(env: Environment, remove: RemoveMembers, context: Context) -> Iterator[Event]:
    """Desired: without them."""
    if not remove.names:
        raise Invalid("names is empty", field="names", mend="Name at least one person.")
    for name in remove.names:
        if name not in env.desired.members:
            of_project = name in env.desired.project_members
            near = () if of_project else near_misses(name, env.desired.members)
            look = None if near else f"See who is: twin member ls {env.project}/{env.name}"
            raise NotFound(
                f"{name!r} is no member of {env.project}/{env.name} itself"
                + (f", but of project {env.project}" if of_project else ""),
                field="names",
                near=near,
                mend=f"Remove {name} from the project: twin member rm --project {env.project} {name}"
                if of_project
                else look,
            )
    left = {name: each for name, each in env.desired.members.items() if name not in remove.names}
    yield from desire(env, replace(env.desired, members=left), signal=remove, context=context)
