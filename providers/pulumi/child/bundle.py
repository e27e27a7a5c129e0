"""Importing from a bundle, so that what its modules define travels by value and reads the same everywhere.

Dynamic providers are kept, pickled, in the state of the stack. Pickled by reference they could not be read without
the bundle (a removal, another worker), and with the bundle's path in them they would differ from worker to worker,
which Pulumi takes for a change of every resource.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import os
import sys
from collections.abc import Callable
from types import CodeType
from typing import Any, cast

import dill._dill


class HookMissing(Exception):
    """The bundle has no such function."""


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles under the name that the file has within the bundle, and leaves no cache in it."""

    root = ""

    def get_code(self, fullname: str) -> CodeType | None:
        path = self.get_filename(fullname)
        name = "bundle/" + os.path.relpath(path, self.root).replace(os.sep, "/")
        return compile(self.get_data(path), name, "exec", dont_inherit=True)


def use(tree: str) -> None:
    """Have imports look in `tree` first, and pickle whatever comes from there by value."""
    root = os.path.realpath(tree)
    loader = type("_BundleLoader", (_Loader,), {"root": root})

    def hook(path: str) -> importlib.machinery.FileFinder:
        if os.path.commonpath([root, os.path.realpath(path)]) != root:
            raise ImportError
        return importlib.machinery.FileFinder(path, (loader, [".py"]))

    sys.path_hooks.insert(0, hook)
    sys.path.insert(0, root)
    sys.path_importer_cache.clear()
    os.environ["PYTHONPATH"] = root  # for what the pickles still name: modules that are imported as a whole
    by_reference = dill._dill._locate_function

    def located(thing: Any, *rest: Any) -> bool:
        module = sys.modules.get(getattr(thing, "__module__", None) or "")
        if isinstance(getattr(module, "__loader__", None), _Loader):
            return False
        return bool(by_reference(thing, *rest))

    dill._dill._locate_function = located


def function(name: str) -> Callable[..., Any]:
    """The function `package.module:function`. Raises HookMissing if the bundle has none; what the module itself raises
    goes through."""
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as missing:
        if missing.name and (module_name == missing.name or module_name.startswith(missing.name + ".")):
            raise HookMissing(f"The bundle has no module {module_name!r}.") from None
        raise
    found = getattr(module, attribute, None)
    if not callable(found):
        raise HookMissing(f"The module {module_name!r} of the bundle has no function {attribute!r}.")
    return cast("Callable[..., Any]", found)
