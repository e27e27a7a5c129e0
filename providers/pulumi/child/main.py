"""Read the order from stdin, do it, answer; whatever fails is told as data, for the worker to judge."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from .bundle import HookMissing
from .operations import Failed, Leftovers, Operations, StillOpen
from .pipe import Pipe
from .recovery import Elsewhere, Questions
from .stack import CliFailed, CliMissing, SourceWrong


def main() -> None:
    """The whole of the child's life."""
    pipe = Pipe()
    order: dict[str, Any] = json.loads(sys.stdin.read())
    os.chdir(Path(order["workspace"]).parent)
    operations: Operations | None = None

    def fail(reason: str, said: str, **more: Any) -> None:
        secrets = [] if operations is None else operations.secrets()
        pipe.say("failure", reason=reason, said=said, secrets=secrets, **more)

    try:
        operations = Operations(order, pipe)
        pipe.say("result", **operations.run())
    except Failed as failed:
        fail("engine", str(failed), errors=failed.errors)
    except CliFailed as failed:
        fail("engine", str(failed), errors=[])
    except CliMissing as missing:
        fail("cli", str(missing))
    except Elsewhere as elsewhere:
        fail("elsewhere", str(elsewhere), until=elsewhere.until)
    except Questions as questions:
        fail("questions", str(questions), questions=questions.questions)
    except Leftovers as leftovers:
        fail("leftovers", str(leftovers), left=leftovers.left)
    except StillOpen:
        fail("still-open", "")
    except SourceWrong as wrong:
        fail("source", str(wrong))
    except HookMissing as missing:
        fail("program", str(missing))
    except Exception:
        fail("raised", traceback.format_exc())
    # threads of the engine's servers and of programs may still run; nothing of them is wanted any more
    sys.stderr.flush()
    os._exit(0)
