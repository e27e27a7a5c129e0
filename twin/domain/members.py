"""Members: who has access of their own, and what of it is still to be taken away or given."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct

from twin.domain.digest import digest
from twin.domain.durations import parse_duration
from twin.domain.environment import Environment, Instance, Membership, Role
from twin.domain.errors import Invalid

UNSURE = ""
"""The `access` of an instance of which nobody knows whom it admits, as it was mended, or as a grant was begun and not
seen to succeed, or as it was suspended. No set of members has this digest: it is granted anew."""

_BY_POWER: tuple[Role, ...] = ("viewer", "developer", "operator", "admin")

LONGEST_NAME = 200
"""Characters of a person's name."""

ME = "me"
"""Whoever asks: nobody is called so."""

SECRET = "password"  # noqa: S105 - the name of a secret, not one
"""What we mint for each member; other secrets of theirs come back from a grant."""


class SyncMembers(Struct, frozen=True):
    """To an environment: these are the members that its project has now."""

    members: dict[str, Membership]


def members(env: Environment) -> dict[str, Membership]:
    """Everybody with a place here: what the environment says of a person wins over what the project says."""
    return dict(sorted({**env.desired.project_members, **env.desired.members}.items()))


class Grant(Struct, frozen=True):
    """Whom an instance is to admit next, with which role. `takes`: others may have access now, or more of it, and
    nobody of these gets any by it; so it waits for nothing that has to stand first."""

    members: dict[str, Role]
    takes: bool

    @property
    def digest(self) -> str:
        """Names these people and their rights."""
        return digest_of(self.members)


def digest_of(roles: Mapping[str, Role]) -> str:
    """Names a set of people and their rights; how long they last is no part of it."""
    return digest([[name, role] for name, role in sorted(roles.items())])


NOBODY = digest_of({})


def entitled(env: Environment) -> dict[str, Role]:
    """Who is to have access: all members, and nobody once destruction has begun."""
    return {} if env.departing else {name: each.role for name, each in members(env).items()}


def next_grant(env: Environment, instance: Instance) -> Grant | None:
    """What comes next on the way to exactly the members; None if these are who was granted access.

    What is too much is taken away first: that must not wait until what is lacking can be given.
    """
    wanted = entitled(env)
    if instance.access is None:
        return Grant(wanted, takes=False) if wanted else None
    if instance.access == digest_of(wanted):
        return None
    if instance.admits is None:
        return Grant(wanted, takes=True)
    kept = {name: _lesser(role, wanted[name]) for name, role in instance.admits.items() if name in wanted}
    return Grant(wanted, takes=False) if kept == instance.admits else Grant(kept, takes=True)


def perhaps_admitted(instance: Instance, also: Mapping[str, Role]) -> dict[str, Role] | None:
    """Whom an instance may admit once a grant to `also` has begun; None if nobody knows."""
    if instance.access is not None and instance.admits is None:
        return None
    before = instance.admits or {}
    more = {name: _greater(role, before.get(name, role)) for name, role in also.items()}
    return {**before, **more}


def only_takes(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether of two plain forms of memberships the second gives nobody anything."""
    return all(
        name in before and _lesser(each["role"], before[name]["role"]) == each["role"] for name, each in after.items()
    )


def _lesser(one: Role, other: Role) -> Role:
    return min(one, other, key=_BY_POWER.index)


def _greater(one: Role, other: Role) -> Role:
    return max(one, other, key=_BY_POWER.index)


def access_of(instance: str) -> str:
    """Under which component the secrets of an instance's members are kept, as `<person>/<secret>`."""
    return f"{instance}/access"


def next_end(given: Mapping[str, Membership]) -> datetime | None:
    """When the next of these memberships ends."""
    return min((each.until for each in given.values() if each.until is not None), default=None)


def without_ended(given: Mapping[str, Membership], now: datetime) -> dict[str, Membership]:
    """Those that have not ended."""
    return {name: each for name, each in given.items() if each.until is None or each.until > now}


def check_person(name: str, field: str) -> None:
    """Raise `Invalid` for what is no name of a person: empty, too long, with what cannot be printed or with a slash,
    which parts names from secrets and stands in no path."""
    if name == ME:
        raise Invalid(f"{field}: {ME!r} is whoever asks, and nobody's name", field=field, mend="Give the name itself.")
    if "/" in name:
        raise Invalid(f"{field} is {name!r}; it must have no slash", field=field, mend="For example: ada@example.com.")
    if not name.strip() or name != name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise Invalid(
            f"{field} is {name!r}; it must be 1 to {LONGEST_NAME} printable characters, without blanks around them",
            field=field,
            mend="Give the name that the person signs in with, such as ada@example.com.",
        )


def ends_at(until: str | float | None, now: datetime, field: str) -> datetime | None:
    """A time as given: an instant (ISO 8601), or a span from now such as `8h`. Raises `Invalid` if it is past."""
    if until is None:
        return None
    try:
        at = datetime.fromisoformat(until) if isinstance(until, str) else None
    except ValueError:
        at = None
    if at is None:
        try:
            at = now + timedelta(seconds=parse_duration(until, field))
        except Invalid:
            raise Invalid(
                f"{field} is {until!r}, which is neither a time nor how long from now",
                field=field,
                mend="Write it like 2030-03-01T12:00:00Z, or like 8h, 30m or 7d.",
            ) from None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    if at <= now:
        raise Invalid(f"{field} is {until}, which is past", field=field, mend="Give a time to come, or a span: 8h.")
    return at
