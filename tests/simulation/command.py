"""Running the simulator as people do: in a process of its own, so that no run touches the tests' own settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parent.parent.parent


def simulator(*arguments: str, tree: Path = PROJECT, timeout: float = 280.0) -> subprocess.CompletedProcess[str]:
    """The command's outcome, run on the sources in `tree`."""
    env = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "twin.testing.simulator", *arguments],
        cwd=tree,
        env=env,
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
