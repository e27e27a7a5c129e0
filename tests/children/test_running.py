"""What runs under the guard sees nothing of the worker, gets its secrets by pipe, and dies with the worker."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from tests.waiting import soon
from twin.children.environment import clean, marks
from twin.children.processes import marked
from twin.children.running import Output, run
from twin.domain.identity import ComponentRef, EnvironmentId

REF = ComponentRef(EnvironmentId("env_01CHILDREN0000000000000000"), "job", 1, "x.y", "shop", "dev", "one")
PROJECT = Path(__file__).parent.parent.parent
# leaves its process group, as plugins do, and tells who it is
LEAVER = "import os, subprocess, sys; p = subprocess.Popen(['sleep', '600'], start_new_session=True); print(p.pid)"


async def no_beat() -> None:
    """Nobody wants to know."""


async def alive() -> set[int]:
    """The processes with our mark."""
    return {process.pid for process in marked(REF.mark)}


async def none_alive() -> bool:
    """Whether all have ended."""
    return not await alive()


async def python(code: str, tmp: Path, **more: object) -> Output:
    """A Python child with the clean environment."""
    mine = marks(REF, "test")
    return await run(
        [sys.executable, "-u", "-c", code],
        cwd=tmp,
        env=clean(str(tmp), tmp, mine),
        marks=mine,
        deadline=datetime.now(UTC) + timedelta(seconds=60),
        beat=no_beat,
        **more,  # type: ignore[arg-type]
    )


async def test_it_sees_nothing_of_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWIN_VAULT_KEY", "the-key-of-the-vault")
    code = (
        "import json, os\n"
        "def read(name): return open(f'/proc/{os.getppid()}/{name}').read()\n"
        "print(json.dumps([dict(os.environ), read('environ'), read('cmdline')]))"
    )
    output = await python(code, tmp_path)
    assert "the-key-of-the-vault" not in output.text, "neither in its own environment nor in its guard's, nor any argv"
    own = json.loads(output.text)[0]
    assert {name for name in own if not name.startswith(("TWIN_", "LC_"))} <= {"PATH", "HOME", "LANG", "TMPDIR"}


async def test_a_secret_comes_by_stdin_and_lines_go_out_as_they_come(tmp_path: Path) -> None:
    lines: list[str] = []
    code = "import sys; word = sys.stdin.read(); print('one'); print('two'); print('said ' + word, file=sys.stderr)"
    output = await python(code, tmp_path, input="geheimnis", on_line=lines.append, secrets=["geheimnis"])
    assert lines == ["one", "two"]
    assert output == Output(0, "said •••\n"), "stderr is the output, without the secret"


async def test_what_left_the_group_ends_with_the_command(tmp_path: Path) -> None:
    output = await python(LEAVER, tmp_path)
    assert not psutil.pid_exists(int(output.text)), "no plugin goes on when its program has ended"


async def test_cancelling_kills_all_of_it(tmp_path: Path) -> None:
    told = asyncio.Event()
    running = asyncio.create_task(
        python(LEAVER + "; import time; time.sleep(600)", tmp_path, on_line=lambda line: told.set())
    )
    await asyncio.wait_for(told.wait(), 30)
    assert len(await alive()) >= 3, "guard, command and what left its group"
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not await alive()


async def test_a_killed_worker_takes_all_of_it_along(tmp_path: Path) -> None:
    code = (
        "import asyncio, pathlib\n"
        "from tests.children.test_running import LEAVER, python\n"
        f"asyncio.run(python(LEAVER + '; import time; time.sleep(600)', pathlib.Path({str(tmp_path)!r}),\n"
        "                    on_line=lambda line: print(line, flush=True)))"
    )
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, cwd=PROJECT, stdout=asyncio.subprocess.PIPE
    )
    assert worker.stdout is not None
    leaver = int(await worker.stdout.readline())
    assert leaver in await alive(), "found by its mark while it lives"
    os.kill(worker.pid, signal.SIGKILL)
    await worker.wait()
    await soon(none_alive)
    assert not psutil.pid_exists(leaver)


async def test_limits_hold_for_it_and_for_what_it_starts(tmp_path: Path) -> None:
    write = "import pathlib; pathlib.Path('large').write_bytes(bytes(20_000))"
    code = (
        "import resource, subprocess, sys\n"
        "try: resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))\n"
        "except (ValueError, PermissionError): pass\n"
        f"sys.exit(subprocess.call([sys.executable, '-c', {write!r}], stderr=subprocess.DEVNULL))"
    )
    limits = {"FSIZE": 10_000, "NO_SUCH_LIMIT": 1}
    if os.geteuid() == 0:  # root may raise even hard limits
        code = code.replace("30_000, 30_000", "10_000, 10_000")
    assert (await python(code, tmp_path, limits=limits)).code != 0
    assert (tmp_path / "large").stat().st_size <= 10_000
    assert (await python(write, tmp_path, limits={"FSIZE": 30_000})).code == 0
