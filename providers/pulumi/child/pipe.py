"""What the child says to the worker: lines of JSON on the stdout that it was started with.

Programs print to where stdout pointed; that becomes stderr, so no print is taken for an answer.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

_BETWEEN = 1.0  # seconds between two reports of progress


class Pipe:
    """The way back to the worker."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        self._lock = threading.Lock()
        self._last = 0.0

    def say(self, kind: str, **values: Any) -> None:
        """One line. A worker that is gone is no error: its guard is about to end us."""
        with self._lock:
            self._out.write(json.dumps({"kind": kind, **values}) + "\n")
            self._out.flush()

    def progress(self, text: str) -> None:
        """Report progress, unless the last report is fresh."""
        now = time.monotonic()
        if now - self._last >= _BETWEEN:
            self._last = now
            self.say("progress", text=text)
