"""Names of workers: they tell whether the process behind one is certainly dead."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
from pathlib import Path

import psutil


def new_name() -> str:
    """`place/pid/start/random`; the start time, in milliseconds, tells a pid from its later reuse."""
    started = int(psutil.Process().create_time() * 1000)
    return f"{_place()}/{os.getpid()}/{started}/{secrets.token_hex(4)}"


def proven_dead(name: str) -> bool:
    """Whether the worker's process certainly runs no more: it was in this very place, and is not there."""
    try:
        place, pid, started, _ = name.split("/")
        if place != _place():
            return False
        process = psutil.Process(int(pid))
        same = abs(int(process.create_time() * 1000) - int(started)) < 1000
        return not same or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except (ValueError, psutil.Error):
        return False


def _place() -> str:
    """Where a pid means what it meant: this host, since this boot, in this pid namespace. Two containers may well have
    one hostname, and in each the other's worker would look dead."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:  # not Linux: there the boot has to do
        boot, namespace = str(int(psutil.boot_time())), ""
    known = hashlib.sha256(f"{boot} {namespace}".encode()).hexdigest()[:12]
    return f"{socket.gethostname()}.{known}"
