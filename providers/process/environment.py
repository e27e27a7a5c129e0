"""The clean environment of code that is not ours, and the marks by which its processes are found again."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from providers.process.layout import ServiceDirectory
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


def loader() -> dict[str, str]:
    """What the twin's own interpreter may need to start at all; for our supervisors, not for what they start."""
    return {name: os.environ[name] for name in _LOADER if name in os.environ}


def marks(ref: ComponentRef, slot: str) -> dict[str, str]:
    """The variables that every process of a service carries, inherited by all that it starts."""
    return {COMPONENT: ref.name, ENVIRONMENT: ref.mark, SLOT: slot}


def clean(ref: ComponentRef, home: str, directory: ServiceDirectory, slot: str) -> dict[str, str]:
    """Nothing of the worker's own environment, which may hold the key of the vault."""
    return {"PATH": PATH, "HOME": home, "LANG": "C.UTF-8", "TMPDIR": str(directory.tmp), **marks(ref, slot)}


def of_replica(
    ref: ComponentRef, home: str, directory: ServiceDirectory, slot: str, index: int, env: Mapping[str, str]
) -> dict[str, str]:
    """The environment of a replica; PORT is added by the supervisor, who chooses it."""
    return {**clean(ref, home, directory, slot), **env, "REPLICA": str(index), **marks(ref, slot)}
