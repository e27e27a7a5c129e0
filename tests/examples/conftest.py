"""Pulumi's examples without the twin: their programs with the real CLI, each operation in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[2]
LONGEST = 120.0

Json = dict[str, Any]


class Refused(Exception):
    """The operation failed; the message is all that was said."""


class Bare:
    """One stack of an example, with a state of its own."""

    def __init__(self, example: str, program: str, directory: Path, variables: Mapping[str, str]) -> None:
        self.stack = f"tw_01_{example}_1"
        self._order = {
            "program": program,
            "bundle": str(PROJECT / "examples" / "pulumi" / example),
            "stack": self.stack,
            "work": str(directory / "work"),
            "state": str(directory / "state"),
        }
        for name in ("work", "state", "bin"):
            (directory / name).mkdir(parents=True)
        plugin = directory / "bin" / "pulumi-resource-pulumi-python"
        plugin.write_text(f'#!/bin/sh\nexec "{sys.executable}" -u -m pulumi.dynamic "$@"\n')
        plugin.chmod(0o755)
        path = os.pathsep.join([str(directory / "bin"), str(cli().parent), os.environ["PATH"]])
        self._environ = {
            **os.environ,
            **variables,
            "PATH": path,
            "PULUMI_HOME": str(directory / "home"),
            "PULUMI_CONFIG_PASSPHRASE": "of no secret",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PYTHONPATH": self._order["bundle"],  # where the provider's process finds the example's modules
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def run(self, operation: str, **config: str) -> Json:
        """Do it with this configuration and no other; what came of it. Raises Refused."""
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("bare.py"))],
            input=json.dumps({**self._order, "operation": operation, "config": config}),
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )
        if done.returncode:
            raise Refused(done.stderr)
        answer: Json = json.loads(done.stdout.splitlines()[-1])
        return answer


def cli() -> Path:
    """The CLI that `make tools` has built, or else the one on PATH."""
    found = shutil.which("pulumi", path=os.pathsep.join([str(PROJECT / ".tools"), os.environ["PATH"]]))
    assert found, "there is no pulumi: make tools"
    return Path(found)


@pytest.fixture
def make_bare(tmp_path: Path) -> Callable[..., Bare]:
    """Makes a stack of an example, with variables for its programs."""
    return lambda example, program, **variables: Bare(example, program, tmp_path / example, variables)
