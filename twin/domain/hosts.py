"""Hosts: the name by which people reach a component, when its blueprint chooses none.

It derives from the environment's name alone, so that a link stays the same whatever happens behind it, and it is chosen
once: a component that has one keeps it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256

from msgspec.structs import replace

from twin.domain.blueprint import ComponentSpec
from twin.domain.environment import Environment
from twin.domain.library import Library

LONGEST_LABEL = 63
"""Characters between two dots of a host's name (RFC 1035)."""

_HASH = 15
_HYPHENS = re.compile(r"-+")


def host_label(environment: str, project: str, component: str = "") -> str:
    """`pr-42--guestbook`, or `pr-42--guestbook--admin`: different for any two different places.

    Names too long for one label, ambiguous ones (with two hyphens in a row) and those that DNS keeps for its own
    purposes (`xn--…`: two hyphens at the third place) are shortened and end in a hash, which begins with a digit as no
    name does.
    """
    parts = [environment, project, component] if component else [environment, project]
    label = "--".join(parts)
    if len(label) <= LONGEST_LABEL and label[2:4] != "--" and not any("--" in part for part in parts):
        return label
    tail = "--0" + sha256("/".join(parts).encode()).hexdigest()[:_HASH]
    return _HYPHENS.sub("-", label)[: LONGEST_LABEL - len(tail)].rstrip("-") + tail


def with_hosts(env: Environment, specs: Mapping[str, ComponentSpec], library: Library) -> dict[str, ComponentSpec]:
    """The components, each with a host that needs one and says none: the environment's own for the first of them, and
    for others one that ends in their name."""
    chosen = dict(specs)
    others = [each for name, each in env.desired.components.items() if name not in specs]
    taken = {str(each.inputs.get(place)) for each in others if (place := _place(each.type, library)) is not None}
    open_: list[tuple[str, str]] = []
    for name, spec in specs.items():
        if (place := _place(spec.type, library)) is None:
            continue
        host = spec.inputs.get(place) or _kept(env, name, spec.type, place)
        if host is None:
            open_.append((name, place))
        else:
            taken.add(str(host))
            chosen[name] = replace(spec, inputs={**spec.inputs, place: host})
    for name, place in open_:
        host = host_label(env.name, env.project)
        if host in taken:
            host = host_label(env.name, env.project, name)
        taken.add(host)
        chosen[name] = replace(specs[name], inputs={**specs[name].inputs, place: host})
    return chosen


def without_host(env: Environment, name: str, spec: ComponentSpec, library: Library) -> ComponentSpec:
    """The component without the host that it has because it is in this environment: in another it gets another."""
    place = _place(spec.type, library)
    if place is None or spec.inputs.get(place) not in _defaults(env, name):
        return spec
    return replace(spec, inputs={field: value for field, value in spec.inputs.items() if field != place})


def _kept(env: Environment, name: str, type_: str, place: str) -> str | None:
    present = env.desired.components.get(name)
    host = present.inputs.get(place) if present is not None and present.type == type_ else None
    return host if host in _defaults(env, name) else None


def _defaults(env: Environment, name: str) -> tuple[str, str]:
    return host_label(env.name, env.project), host_label(env.name, env.project, name)


def _place(type_: str, library: Library) -> str | None:
    """The input that is the host."""
    found = library.types.get(type_)
    return found.host if found is not None else None
