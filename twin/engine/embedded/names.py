"""Names of workers: they tell whether the process behind one is certainly dead."""

from __future__ import annotations

import os
import secrets
import socket

import psutil


def new_name() -> str:
    """`host/pid/start/random`; the start time, in milliseconds, tells a pid from its later reuse."""
    started = int(psutil.Process().create_time() * 1000)
    return f"{socket.gethostname()}/{os.getpid()}/{started}/{secrets.token_hex(4)}"


def proven_dead(name: str) -> bool:
    """Whether the worker's process certainly runs no more: it was on this machine, and is not there."""
    try:
        host, pid, started, _ = name.split("/")
        if host != socket.gethostname():
            return False
        process = psutil.Process(int(pid))
        same = abs(int(process.create_time() * 1000) - int(started)) < 1000
        return not same or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except (ValueError, psutil.Error):
        return False
