"""One operation of a stack, without the twin: `python bare.py < order`. Says what came of it as JSON, in the last line.

The order is an object: `operation` (up, preview, refresh, destroy), `program`, `bundle`, `stack`, `config`, `work`.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

from pulumi import automation


def main() -> None:
    """Do it."""
    order = json.load(sys.stdin)
    sys.path.insert(0, order["bundle"])
    module, _, function = order["program"].partition(":")
    stack = automation.create_or_select_stack(
        stack_name=order["stack"],
        project_name="bare",
        program=getattr(importlib.import_module(module), function),
        opts=automation.LocalWorkspaceOptions(
            work_dir=order["work"],
            project_settings=automation.ProjectSettings(
                name="bare", runtime="python", backend=automation.ProjectBackend(url=f"file://{order['state']}")
            ),
            stack_settings={
                order["stack"]: automation.StackSettings(
                    config={name if ":" in name else f"bare:{name}": value for name, value in order["config"].items()}
                )
            },
        ),
    )
    print(json.dumps(DOERS[order["operation"]](stack)))  # noqa: T201 - it is the answer


def _up(stack: automation.Stack) -> Any:
    done = stack.up()
    return {
        "outputs": {name: output.value for name, output in done.outputs.items()},
        "secrets": sorted(name for name, output in done.outputs.items() if output.secret),
        "changes": done.summary.resource_changes or {},
    }


def _preview(stack: automation.Stack) -> Any:
    return {"changes": {str(operation): count for operation, count in stack.preview().change_summary.items()}}


def _refresh(stack: automation.Stack) -> Any:
    return {"changes": stack.refresh().summary.resource_changes or {}}


def _destroy(stack: automation.Stack) -> Any:
    return {"changes": stack.destroy().summary.resource_changes or {}}


DOERS = {"up": _up, "preview": _preview, "refresh": _refresh, "destroy": _destroy}

if __name__ == "__main__":
    main()
