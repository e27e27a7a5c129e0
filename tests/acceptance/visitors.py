"""People who look at a page all the time, and notice whether it is ever away."""

from __future__ import annotations

import threading
from collections import Counter

import httpx

from tests.waiting import eventually


class Visitors:
    """Threads that ask one after the other, each time on a connection of its own, and count what they are answered.

    A connection that is closed before anything was answered is no failure yet: the server had not taken the request,
    and whoever speaks HTTP asks once more (RFC 9112, 9.3.1). These are counted apart.
    """

    def __init__(self, url: str, host: str) -> None:
        self._url, self._host = url, host
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._visit, args=(path,)) for path in ("/", "/", "/slow")]
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self.repeated = 0

    def __enter__(self) -> Visitors:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    @property
    def count(self) -> int:
        return sum(self.answers.values())

    def goes_on(self, more: int = 20) -> None:
        """Until so many more have been answered."""
        before = self.count
        eventually(lambda: self.count >= before + more, within=60, why=lambda: self.failures[:5])

    def sees(self, said: str) -> None:
        """Until somebody is answered so."""
        eventually(lambda: self.answers[said], within=60, why=lambda: (self.answers, self.failures[:5]))

    def _visit(self, path: str) -> None:
        while not self._end.is_set():
            try:
                try:
                    answer = self._ask(path)
                except httpx.RemoteProtocolError:
                    self.repeated += 1
                    answer = self._ask(path)
            except httpx.HTTPError as error:
                self.failures.append(repr(error))
                continue
            if answer.status_code == httpx.codes.OK:
                self.answers[answer.text] += 1
            else:
                self.failures.append(f"{answer.status_code} {answer.text}")

    def _ask(self, path: str) -> httpx.Response:
        return httpx.get(self._url + path, headers={"Host": self._host}, trust_env=False, timeout=30)
