"""Names tell whether the process behind a worker is certainly dead."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.waiting import eventually
from twin.engine.embedded.names import new_name, proven_dead

_CHILD = "import sys; from twin.engine.embedded.names import new_name; print(new_name(), flush=True); sys.stdin.read()"


@pytest.fixture
def child() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process with a worker's name."""
    with subprocess.Popen(
        [sys.executable, "-c", _CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.kill()


def test_two_workers_of_one_process_have_two_names() -> None:
    assert new_name() != new_name()


def test_we_live() -> None:
    assert not proven_dead(new_name())


def test_a_killed_process_is_proven_dead_also_while_nobody_reaps_it(child: tuple[subprocess.Popen[str], str]) -> None:
    process, name = child
    assert not proven_dead(name)
    process.kill()
    assert eventually(lambda: proven_dead(name)), "a zombie acts no more"
    process.wait()
    assert proven_dead(name)


@pytest.mark.parametrize(
    ("change", "dead", "reason"),
    [
        ({0: "elsewhere.example"}, False, "nothing is known of another machine's processes"),
        ({0: f"{socket.gethostname()}.000000000000"}, False, "nor of another container's with our hostname"),
        ({2: "12345"}, True, "the pid is another process's by now"),
        ({1: "no-pid"}, False, "what cannot be read proves nothing"),
    ],
)
def test_only_what_is_certain_counts(change: dict[int, str], dead: bool, reason: str) -> None:
    parts = new_name().split("/")
    assert parts[0].startswith(f"{socket.gethostname()}.")
    for position, text in change.items():
        parts[position] = text
    assert proven_dead("/".join(parts)) is dead, reason
