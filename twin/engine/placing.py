"""Placements: is this still the place where the component was put? A changed one is Blocked, never "absent"."""

from __future__ import annotations

from twin.domain.digest import digest
from twin.domain.errors import Blocked
from twin.domain.identity import Placement
from twin.domain.targets import Target


def configured(target: Target) -> Placement:
    """Where a target's configuration points, before any contact: stands in the intent."""
    config = target.config
    if "host" in config and "port" in config:
        endpoint = f"{config['host']}:{config['port']}"
    else:
        endpoint = str(config.get("directory") or digest(config))
    return Placement(target=target.name, endpoint=endpoint)


def check(was: Placement | None, now: Placement) -> None:
    """Raise `Blocked` if `now`, with its identity known, is another place than `was`.

    The identity decides where both are known, so a server may move. Where the first contact never came to an end the
    endpoint decides: something half made may stand at the old one.
    """
    if was is None:
        return
    if was.identity is not None and now.identity is not None:
        same, told = was.identity == now.identity, f"server {now.identity}, not {was.identity}"
    else:
        same, told = was.endpoint == now.endpoint, f"at {now.endpoint}, not {was.endpoint}"
    if not same:
        raise Blocked(
            f"target {now.target} is now {told}: what stands at the old place cannot be seen from here",
            key=f"{now.target}/placement",
            mend=f"Point {now.target} back to its old server (twin target add …), or, if that is gone for good, "
            "twin abandon",
        )
