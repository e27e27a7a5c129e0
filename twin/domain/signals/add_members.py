"""add_members: people with access of their own to this environment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from msgspec import Struct
from msgspec.structs import replace

from twin.domain.decider import Context
from twin.domain.desire import desire
from twin.domain.environment import Environment, Membership, Role
from twin.domain.errors import Invalid
from twin.domain.events import Event
from twin.domain.members import check_person, ends_at
from twin.domain.signals.base import Signal


class NewMember(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One person. `until`: a time, or how long from now, such as `8h`; without it, until removed."""

    name: str
    role: Role = "developer"
    until: str | float | None = None


class AddMembers(Signal, tag="add_members", frozen=True, kw_only=True):
    """Members get access of their own to the components that can give it. Who is one already gets the new role."""

    role: ClassVar[str] = "operator"

    members: tuple[NewMember, ...]


def decide(env: Environment, add: AddMembers, context: Context) -> Iterator[Event]:
    """Desired: with them."""
    if not add.members:
        raise Invalid("members is empty", field="members", mend="Name at least one person.")
    members = dict(env.desired.members)
    for index, each in enumerate(add.members):
        field = f"members[{index}]"
        check_person(each.name, f"{field}.name")
        until = ends_at(each.until, context.now, f"{field}.until")
        members[each.name] = Membership(role=each.role, until=until)
    yield from desire(env, replace(env.desired, members=members), signal=add, context=context)
