"""A GitHub in a process of its own, which opens so many pull requests at once and records when each was told what.

    python -m tests.benchmarks.hub PULLS

It says where it is in a line of JSON; opens them when it is sent a line; and says, once each pull request has its
comment, status and deployment saying that the preview is ready, what it has recorded. It ends with its stdin. Moments
are of `time.monotonic`, which all processes of the machine share.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from typing import Any

from tests.providers.github_pulls import comments_on, open_pull, status_of
from tests.providers.github_server import GitHub, Json
from twin.testing.loopback import Answer, Call

REPOSITORY, US = "acme/shop", "twin-bot"


class Hub(GitHub):
    """One repository, and us."""

    def __init__(self) -> None:
        super().__init__()
        self.repository = self.add(REPOSITORY, readers=("*",))
        self.commits: dict[int, str] = {}
        self.commented: dict[int, float] = {}
        self.settled = asyncio.Event()

    def open(self, pulls: int) -> None:
        """So many; what was called before does not count."""
        self.record.clear()
        self.commits = {number: open_pull(self.repository, number) for number in range(1, pulls + 1)}

    async def _handle(self, call: Call) -> Answer:
        answer = await super()._handle(call)
        if call.method != "GET":
            self._look()
        return answer

    def _look(self) -> None:
        """Who has been told by now."""
        for number in self.commits.keys() - self.commented.keys():
            if any("Preview: ready" in body for body in comments_on(self.repository, number, US)):
                self.commented[number] = time.monotonic()
        if self.commits and len(self.commented) == len(self.commits) and self._all_said():
            self.settled.set()

    def _all_said(self) -> bool:
        made = self.repository["deployments"].values()
        deployed = {each["sha"] for each in made if each["said"] and each["said"][-1]["state"] == "success"}
        said = (status_of(self.repository, sha)[0] for sha in self.commits.values())
        return deployed >= {*self.commits.values()} and all(each == "success" for each in said)

    def recorded(self) -> Json:
        """What came of it all."""
        methods = Counter(each.call.method for each in self.record)
        return {"commented": self.commented, "settled": time.monotonic(), "calls": methods.total(), **methods}


async def main() -> None:
    async with Hub() as hub:
        _say({"url": hub.url, "token": hub.token(US), "home": hub.repository["id"]})
        if not await asyncio.to_thread(sys.stdin.readline):
            return
        hub.open(int(sys.argv[1]))
        _say({"opened": time.monotonic()})
        left = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
        settled = asyncio.create_task(hub.settled.wait())
        await asyncio.wait({left, settled}, return_when=asyncio.FIRST_COMPLETED)
        if settled.done():
            _say(hub.recorded())
        settled.cancel()
        await left


def _say(told: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
