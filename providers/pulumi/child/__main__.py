"""`python -I …/child < order`: load this folder as a package of another name, and do what the order says."""

from __future__ import annotations

import importlib
import os
import sys
import types

FOLDER = os.path.dirname(os.path.abspath(__file__))

if __name__ == "__main__":
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != FOLDER]
    package = types.ModuleType("_twin_pulumi_child")
    package.__path__ = [FOLDER]
    sys.modules[package.__name__] = package
    importlib.import_module(f"{package.__name__}.main").main()
