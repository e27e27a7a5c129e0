"""Running the simulator as people do: in a process of its own, so that no run touches the tests' own settings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parent.parent.parent


def simulator(*arguments: str, tree: Path = PROJECT, timeout: float = 280.0) -> subprocess.CompletedProcess[str]:
    """The command's outcome, run on the sources in `tree`. Nothing of it outlives the timeout, in seconds."""
    env = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-W", "error", "-m", "twin.testing.simulator", *arguments]
    with subprocess.Popen(
        command, cwd=tree, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        try:
            said, wrong = running.communicate(timeout=timeout)
        except BaseException:
            os.killpg(running.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, running.returncode, said, wrong)
