"""What the child says to the worker: lines of JSON on the stdout that it was started with.

Programs print to where stdout pointed; that becomes stderr, so no print is taken for an answer.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any


class Pipe:
    """The way back to the worker."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        self._lock = threading.Lock()
        self._told = ""

    def say(self, kind: str, **values: Any) -> None:
        """One line. A worker that is gone is no error: its guard is about to end us."""
        with self._lock:
            self._out.write(json.dumps({"kind": kind, **values}) + "\n")
            self._out.flush()

    def progress(self, text: str) -> None:
        """Report progress, if it is news. All of it, for the last of a burst stays true the longest: how much of it
        people see is up to the worker, which looks at the latest about once a second."""
        if text != self._told:
            self._told = text
            self.say("progress", text=text)
