"""Paths into desired: what a signal changed, field by field, so that operations can be judged and taken back.

`components.app.inputs.replicas`, `components.app` (a whole component came or went), `suspended`, `expires_at` …
A component's incarnation and identity follow from the rest and are no paths; its credential's version only rises, so
that nothing ever puts one back.
"""

from __future__ import annotations

from typing import Any

import msgspec

from twin.domain.environment import Desired

_DERIVED = frozenset({"incarnation", "identity", "credential_version"})


def as_builtins(desired: Desired) -> dict[str, Any]:
    """Desired as what its JSON decodes to, so that values compare alike before and after they were stored."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(desired))
    return plain


def differences(old: Desired, new: Desired) -> tuple[dict[str, Any], dict[str, Any]]:
    """(before, after) by path; None stands for "not there"."""
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    was, now = _flat(old), _flat(new)
    came = {name for name in now if name.count(".") == 1 and name.startswith("components.") and name not in was}
    went = {name for name in was if name.count(".") == 1 and name.startswith("components.") and name not in now}
    for path in sorted(was.keys() | now.keys()):
        whole = ".".join(path.split(".")[:2])
        if (whole in came or whole in went) and path != whole:
            continue
        if was.get(path) != now.get(path) and (path in came or path in went or not is_component(path)):
            before[path], after[path] = was.get(path), now.get(path)
    return before, after


def value_at(desired: Desired, path: str) -> Any:
    """The value at a path; None if there is none."""
    return _flat(desired).get(path)


def with_values(desired: Desired, values: dict[str, Any]) -> Desired:
    """Desired with these values at these paths; None takes the field or component away."""
    plain = as_builtins(desired)
    for path, value in values.items():
        _put(plain, path.split("."), value)
    return msgspec.convert(plain, Desired)


def component_of(path: str) -> str | None:
    """The component that a path is about."""
    parts = path.split(".")
    return parts[1] if parts[0] == "components" else None


def _flat(desired: Desired) -> dict[str, Any]:
    plain = as_builtins(desired)
    components: dict[str, dict[str, Any]] = plain.pop("components", {})
    flat = dict(plain)
    for name, component in components.items():
        flat[f"components.{name}"] = component
        for field, value in component.items():
            if field == "inputs":
                flat.update({f"components.{name}.inputs.{key}": inner for key, inner in value.items()})
            elif field not in _DERIVED:
                flat[f"components.{name}.{field}"] = value
    return flat


def is_component(path: str) -> bool:
    """Whether the path is a whole component, not a field of one."""
    return path.startswith("components.") and path.count(".") == 1


def _put(plain: dict[str, Any], parts: list[str], value: Any) -> None:
    # An input's name may itself hold dots; component names and fields may not.
    if parts[:1] == ["components"] and parts[2:3] == ["inputs"]:
        parts = [*parts[:3], ".".join(parts[3:])]
    for part in parts[:-1]:
        plain = plain.setdefault(part, {})
    if value is None:
        plain.pop(parts[-1], None)
    else:
        plain[parts[-1]] = value
