"""What a follower of a log gets: each line once and in order, however fast they are written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from threading import Semaphore, Thread

import pytest

from providers.process import logs, supervisor
from providers.process.supervisor import Log

AHEAD = 100  # lines that the writer may be ahead of the reader: less than a file
PER_FILE = 150


@pytest.fixture(autouse=True)
def small_and_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LOG_BYTES", PER_FILE * len("2026-01-01T00:00:00.000+00:00 00000\n"))
    monkeypatch.setattr(logs, "POLL", 0.001)


class Writer:
    """Writes numbers to a log from a thread, at most AHEAD of who reads them."""

    def __init__(self, path: Path, first: int, end: int) -> None:
        self.log = Log(str(path), [])
        self.room = Semaphore(AHEAD)
        self.thread = Thread(target=self._write, args=(first, end))

    def _write(self, first: int, end: int) -> None:
        for number in range(first, end):
            assert self.room.acquire(timeout=30), "somebody reads"
            self.log.take(b"%05d\n" % number)
        self.log.close()


async def numbers(following: AsyncIterator[logs.LogLine], writer: Writer, last: int) -> list[int]:
    seen = []
    async for line in following:
        seen.append(int(line.text))
        writer.room.release()
        if seen[-1] == last:
            break
    return seen


@pytest.mark.parametrize("attempt", range(8))
async def test_a_followed_log_repeats_and_omits_nothing(tmp_path: Path, attempt: int) -> None:
    before = Log(str(tmp_path / "0-abc.log"), [])
    before.take(b"".join(b"%05d\n" % number for number in range(attempt * 40)))
    before.close()
    writer = Writer(tmp_path / "0-abc.log", attempt * 40, 1500)
    writer.thread.start()
    async with aclosing(logs.follow(tmp_path, 20)) as following:
        async with asyncio.timeout(60):
            seen = await numbers(following, writer, 1499)
    writer.thread.join()
    assert seen == list(range(seen[0], 1500))


async def test_two_rotations_between_two_looks_lose_nothing(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "0-abc.log"), [])
    log.take(b"00000\n")
    async with aclosing(logs.follow(tmp_path, 5)) as following:
        assert (await anext(following)).text == "00000"
        for number in range(1, 2 * PER_FILE + 20):
            log.take(b"%05d\n" % number)
        seen = [int((await anext(following)).text) for _ in range(1, 2 * PER_FILE + 20)]
    log.close()
    assert seen == list(range(1, 2 * PER_FILE + 20))


async def test_a_replica_that_starts_later_is_followed_from_its_first_line(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "0-abc.log"), [])
    log.take(b"old\nolder\n")
    log.close()
    async with aclosing(logs.follow(tmp_path, 1)) as following:
        assert (await anext(following)).text == "older"
        log = Log(str(tmp_path / "1-def.log"), [])
        log.take(b"new\nnewer\n")
        log.close()
        assert [(await anext(following)).text for _ in range(2)] == ["new", "newer"]


def test_a_line_is_what_the_app_ended_with_a_newline(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "0-abc.log"), [])
    log.take("one\x0cline\u2028and \x1c no more\n".encode())
    log.close()
    (line,) = logs.tail(tmp_path, 10)
    assert line.text == "one\x0cline\u2028and \x1c no more"
    assert logs.tail(tmp_path, 0) == []
