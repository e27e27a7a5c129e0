"""Quotas: how many environments a project may have at once, in all and of a tier.

They are looked at when an environment is to be created, and at no other time: a lower one destroys nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from twin.domain.blueprint import TIERS
from twin.domain.errors import Invalid, Rejected
from twin.domain.near import suggestion

MOST = 1_000_000
"""The largest quota; what is to be unlimited has none."""


class Quotas(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of one project. `max_environments` None: as many as one likes. `tiers`: of each that is named, at most so
    many."""

    max_environments: int | None = None
    tiers: dict[str, int] = field(default_factory=dict)


class QuotaReached(Rejected):
    """A project has as many environments as it may. `block`: what is resolved once there may be room."""

    code = "quota_reached"

    def __init__(self, message: str, *, field: str, mend: str, block: str) -> None:
        super().__init__(message, field=field, mend=mend)
        self.block = block


def quota_block(project: str) -> str:
    """The key of the block that waits for room in a project."""
    return f"project/{project}/quota"


def check_quotas(quotas: Quotas) -> None:
    """Raise `Invalid` naming the field that is wrong."""
    for tier in quotas.tiers:
        if tier not in TIERS:
            raise Invalid(f"tiers names {tier!r}, which is not a tier", field="tiers", mend=suggestion(tier, TIERS))
    for name, most in {"max_environments": quotas.max_environments, **quotas.tiers}.items():
        if most is not None and not 0 <= most <= MOST:
            at = name if name == "max_environments" else f"tiers.{name}"
            raise Invalid(f"{at} is {most}", field=at, mend=f"Give 0 to {MOST}, or leave it out: then it is unlimited.")


def admit(quotas: Quotas, project: str, tier: str, living: Mapping[str, int]) -> None:
    """Raise `QuotaReached` if one more environment of the tier would be too many. `living`: how many there are, by
    tier; one counts until its destruction is proven."""
    of_tier, most = living.get(tier, 0), quotas.tiers.get(tier)
    if most is not None and of_tier >= most:
        raise _reached(project, f"{of_tier} of at most {most} {tier} environments", "tier", f"--tier {tier}={most + 1}")
    total, all_ = sum(living.values()), quotas.max_environments
    if all_ is not None and total >= all_:
        raise _reached(project, f"{total} of at most {all_} environments", "project", f"--max {all_ + 1}")


def _reached(project: str, told: str, field: str, raised: str) -> QuotaReached:
    return QuotaReached(
        f"project {project!r} has {told}",
        field=field,
        mend=f"Destroy one that is not needed (twin ls --project {project}), or have an admin raise it: "
        f"twin quota set {project} {raised}",
        block=quota_block(project),
    )
