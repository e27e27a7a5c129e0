"""A worker that dies: applies to a directory and is killed by the kernel after so many seconds.

python process_driver.py DIRECTORY ENVIRONMENT SECONDS INPUTS
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

from tests.providers.process_world import open_provider, step
from twin.domain.identity import EnvironmentId
from twin.testing.steps import make_ref


async def main(directory: str, environment: str, seconds: float, inputs: str) -> None:
    """Print `ready`, then apply; the alarm's default action ends the process as SIGKILL does, without clean-up."""
    provider = open_provider(Path(directory))
    ref = make_ref("app", type="process.service", environment=EnvironmentId(environment))
    print("ready", flush=True)  # noqa: T201
    signal.setitimer(signal.ITIMER_REAL, seconds)
    await provider.apply(ref, step(json.loads(inputs)))
    signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4]))
