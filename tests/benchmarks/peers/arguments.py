"""What every peer's program is told, and how it answers: one JSON object on stdout."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from load import in_flight, sequential


def parser() -> argparse.ArgumentParser:
    """The arguments of all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--directory", type=Path, required=True, help="scratch, removed by the caller")
    parser.add_argument("--signals", type=int, default=300)
    parser.add_argument("--entities", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--warm", type=float, default=3.0)
    return parser


async def measured(signal: Callable[[int], Awaitable[object]], told: argparse.Namespace) -> dict[str, Any]:
    """Both figures."""
    return {
        "sequential": await sequential(signal, count=told.signals),
        "loaded": await in_flight(
            signal, entities=told.entities, at_once=told.at_once, seconds=told.seconds, warm=told.warm
        ),
    }


def answer(result: dict[str, Any], *packages: str) -> None:
    """Print the result with the versions."""
    sys.stdout.write("\n" + json.dumps({**result, "versions": {name: version(name) for name in packages}}) + "\n")
