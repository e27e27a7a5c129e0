"""What GitHub really sends: the payloads that the npm package `@octokit/webhooks-examples` has collected.

Fetched with npm once, into .tools, and only in the version whose digest stands here.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest

PACKAGE = "@octokit/webhooks-examples"
VERSION = "7.6.1"
INTEGRITY = "sha512-De6U3XB6O3DtCa7bKgCMzTHdeopqqZ6SNivMYJnK65ierKL1AnNIA0tkRYCRS7lwGT792d+Ps1WbfHlso6MynQ=="

_KEPT = Path(__file__).parents[3] / ".tools" / "webhooks-examples" / f"{VERSION}.tgz"
_SECONDS = 240
SERVERS = ("api.github.com", "ghes-35", "ghes-34", "ghes-33", "ghes-32", "ghes-31")


def examples(*events: str) -> list[tuple[str, str, dict[str, Any]]]:
    """All payloads of these events, of GitHub itself and of its servers for enterprises: server, event, payload."""
    found = []
    with tarfile.open(_package()) as package:
        for server in SERVERS:
            member = package.extractfile(f"package/{server}/index.json")
            assert member is not None
            found += [
                (server, told["name"], payload)
                for told in json.load(member)
                if told["name"] in events or not events
                for payload in told["examples"]
            ]
    return found


def _package() -> Path:
    if not (_KEPT.is_file() and _digest(_KEPT) == INTEGRITY):
        _fetch()
    return _KEPT


def _fetch() -> None:
    if shutil.which("npm") is None:
        pytest.fail(f"npm is needed to fetch {PACKAGE}: apt-get install npm")
    _KEPT.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_KEPT.parent) as folder:
        command = ["npm", "pack", f"{PACKAGE}@{VERSION}", "--pack-destination", folder, "--silent"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False)
        if done.returncode != 0:
            pytest.fail(f"npm could not fetch {PACKAGE}: {done.stderr or done.stdout}")
        (fetched,) = Path(folder).glob("*.tgz")
        assert _digest(fetched) == INTEGRITY, "not the package that these tests were written for"
        fetched.replace(_KEPT)  # whole or not at all, also beside another run


def _digest(path: Path) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
