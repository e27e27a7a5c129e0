"""What decide may look up besides the state: component types, targets and published blueprints."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

from twin.domain.blueprint import Blueprint
from twin.domain.component_type import ComponentType
from twin.domain.environment import BlueprintRef
from twin.domain.errors import Invalid, NotFound
from twin.domain.near import near_misses
from twin.domain.targets import Target


class Library(Struct, frozen=True):
    """A snapshot of what is on offer. `blueprints` gives a version (None = the latest), or None."""

    types: Mapping[str, ComponentType]
    targets: tuple[Target, ...]
    blueprints: Callable[[str, str | None], tuple[Blueprint, BlueprintRef] | None]

    def type(self, name: str, *, field: str) -> ComponentType:
        """The component type; raises `NotFound` with near misses."""
        if name not in self.types:
            raise NotFound(
                f"{field}: no provider offers the type {name!r}", field=field, near=near_misses(name, self.types)
            )
        return self.types[name]

    def blueprint(self, reference: str) -> tuple[Blueprint, BlueprintRef]:
        """`guestbook` (the latest) or `guestbook@1.0.0`; raises `NotFound`."""
        name, _, version = reference.partition("@")
        found = self.blueprints(name, version or None)
        if found is None:
            raise NotFound(
                f"blueprint {reference!r} is not published",
                field="blueprint",
                mend="Publish it (`twin publish DIR`), or see `twin blueprints` for what there is.",
            )
        return found

    def place(self, component: str, type_: ComponentType, wanted: str | None, project: str, tier: str) -> Target:
        """The target that a component goes to: the one it names, or the first default of its provider that takes this
        project and tier. Raises `Invalid` naming what would have to be mended."""
        field = f"components.{component}.target"
        offered = [target for target in self.targets if target.provider == type_.provider]
        if wanted is not None:
            named = next((target for target in self.targets if target.name == wanted), None)
            if named is None:
                raise NotFound(
                    f"{field}: there is no target {wanted!r}",
                    field=field,
                    near=near_misses(wanted, [t.name for t in offered]),
                )
            if named.provider != type_.provider:
                raise Invalid(
                    f"{field}: {wanted!r} is a {named.provider} target; {type_.name} needs a {type_.provider} one",
                    field=field,
                    mend=f"Name one of: {', '.join(t.name for t in offered) or 'none configured yet'}.",
                )
            if not named.allows(project, tier):
                raise Invalid(
                    f"{field}: target {wanted!r} does not take project {project!r} in tier {tier!r}",
                    field=field,
                    mend="Name another target, or have the platform team widen this one's projects and tiers.",
                )
            return named
        for target in offered:
            if target.default and target.allows(project, tier):
                return target
        raise Invalid(
            f"{field}: no default target of provider {type_.provider} takes project {project!r} in tier {tier!r}",
            field=field,
            mend=f"Have the platform team run: twin target add {type_.provider}/NAME …",
        )
