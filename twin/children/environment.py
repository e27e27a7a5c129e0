"""The clean environment of code that is not ours, and the marks by which its processes are found again."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from twin.domain.identity import ComponentRef

COMPONENT = "TWIN_COMPONENT"
ENVIRONMENT = "TWIN_ENVIRONMENT"
SLOT = "TWIN_SLOT"

# the interpreter's own directory first: `python` is then one with what the twin is installed with
PATH = os.pathsep.join(
    [
        os.path.dirname(sys.executable),
        "/opt/homebrew/bin",
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ]
)

# how the system's loader finds a shared libpython that lies in no usual place
_LOADER = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")

# what a program needs of the worker's environment to reach the network
_NETWORK = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy", "SSL_CERT_FILE",
            "SSL_CERT_DIR")  # fmt: skip


def loader() -> dict[str, str]:
    """What the twin's own interpreter may need to start at all; for our supervisors, not for what they start."""
    return {name: os.environ[name] for name in _LOADER if name in os.environ}


def network(*more: str) -> dict[str, str]:
    """The worker's proxies and certificates, and `more` of the same kind, as far as they are set."""
    return {name: os.environ[name] for name in (*_NETWORK, *more) if name in os.environ}


def marks(ref: ComponentRef, slot: str) -> dict[str, str]:
    """The variables that every process of a component carries, inherited by all that it starts. `slot` says which of
    its works it does."""
    return {COMPONENT: ref.name, ENVIRONMENT: ref.mark, SLOT: slot}


def clean(home: str, tmp: Path, marks: Mapping[str, str], first: Iterable[Path] = ()) -> dict[str, str]:
    """Nothing of the worker's own environment, which may hold the key of the vault. Programs are looked for in `first`
    before the usual places."""
    path = os.pathsep.join([*(str(folder) for folder in first), PATH])
    return {"PATH": path, "HOME": home, "LANG": "C.UTF-8", "TMPDIR": str(tmp), **marks}
