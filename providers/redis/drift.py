"""How a component's users differ from what they should be, in sentences for a person."""

from __future__ import annotations

from collections.abc import Mapping

from providers.redis.client import UserState
from providers.redis.spec import KeyspaceInputs
from providers.redis.users import Noted


def users_drift(
    component: str, states: Mapping[str, UserState], noted: Mapping[str, Noted], wanted: KeyspaceInputs
) -> dict[str, str]:
    """Per field, what is wrong with the app's users; about people's, all under `members`."""
    drift: dict[str, str] = {}
    if not any(each.role is None for each in noted.values()):
        if component not in states:
            return {"user": f'user "{component}" does not exist'}
        drift = _user_drift(component, states[component], None, wanted)
    for user, each in sorted(noted.items(), reverse=True):
        found = _user_drift(user, states.get(user), each, wanted)
        if each.role is None:
            drift |= found
        elif found and "suspended" not in drift:
            drift["members"] = next(iter(found.values()))
    return drift


def _user_drift(user: str, state: UserState | None, noted: Noted | None, wanted: KeyspaceInputs) -> dict[str, str]:
    if state is None:
        return {"user": f'user "{user}" does not exist'}
    drift = {}
    if not state.on:
        drift["suspended"] = f'user "{user}" is turned off'
    if state.digests is None or len(state.digests) != 1:
        has = "no password at all" if state.digests is None else f"{len(state.digests)} passwords"
        drift["password"] = f'user "{user}" has {has} instead of one'
    elif noted is not None and state.digests != {noted.digest}:
        drift["password"] = f'the password of user "{user}" is not the one that the twin gave it'
    if noted is None or state.rules != noted.rules:
        drift["rules"] = f'what user "{user}" may do is not as the twin left it'
    if noted is not None:
        for field in KeyspaceInputs.__struct_fields__:
            has_value, want = getattr(noted.inputs, field), getattr(wanted, field)
            if has_value != want:
                drift[field] = f"{field} is {has_value} instead of {want}"
    return drift
