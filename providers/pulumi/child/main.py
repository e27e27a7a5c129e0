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
    try:
        pipe.say("result", **Operations(order, pipe).run())
    except Failed as failed:
        pipe.say("failure", reason="engine", said=str(failed), errors=failed.errors)
    except CliFailed as failed:
        pipe.say("failure", reason="engine", said=str(failed), errors=[])
    except CliMissing as missing:
        pipe.say("failure", reason="cli", said=str(missing))
    except Elsewhere as elsewhere:
        pipe.say("failure", reason="elsewhere", said=str(elsewhere), until=elsewhere.until)
    except Questions as questions:
        pipe.say("failure", reason="questions", said=str(questions), questions=questions.questions)
    except Leftovers as leftovers:
        pipe.say("failure", reason="leftovers", said=str(leftovers), left=leftovers.left)
    except StillOpen:
        pipe.say("failure", reason="still-open", said="")
    except SourceWrong as wrong:
        pipe.say("failure", reason="source", said=str(wrong))
    except HookMissing as missing:
        pipe.say("failure", reason="program", said=str(missing))
    except Exception:
        pipe.say("failure", reason="raised", said=traceback.format_exc())
    # threads of the engine's servers and of programs may still run; nothing of them is wanted any more
    sys.stderr.flush()
    os._exit(0)
