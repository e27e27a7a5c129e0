"""The program: layers of parts, each of which needs all of the layer before."""

from __future__ import annotations

import pulumi

from parts.part import Part

LAYERS = (1, 3, 4, 3, 1)
"""Twelve in all: alone, side by side, and alone again."""


def main() -> None:
    """Declare them. `seconds` is how long the cloud takes for each."""
    config = pulumi.Config()
    above: list[Part] = []
    number = 0
    for size in LAYERS:
        layer = []
        for _ in range(size):
            number += 1
            layer.append(
                Part(
                    f"part-{number:02}",
                    cloud=config.require("cloud"),
                    seconds=config.get_float("seconds") or 0.0,
                    stack=pulumi.get_stack(),
                    label=config.get("label") or "",
                    needs=[each.id for each in above],
                )
            )
        above = layer
    pulumi.export("last", above[0].id)
    pulumi.export("label", config.get("label") or "")
