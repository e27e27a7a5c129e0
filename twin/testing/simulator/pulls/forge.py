"""The forge as one process sees it: it fails, asks for patience, refuses the token, lists half, is slow, and does what
it was asked without saying so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Protocol

from twin.domain.errors import Blocked, Transient
from twin.domain.previews.narrowing import FILE
from twin.domain.pulls import Permission, Pull, Repository
from twin.domain.targets import Target
from twin.forges import sticky
from twin.forges.listing import Mark, Page, whole
from twin.forges.sticky import Comment
from twin.ports.forge import Comment as Written
from twin.ports.forge import Listing, Report
from twin.testing.simulator.journal import Journal
from twin.testing.simulator.pulls.truth import HOST, MEMBERS, ONE_OF_US, TARGET, ForgeTruth, Key, denies, id_of
from twin.testing.simulator.setting import Fate
from twin.testing.simulator.worlds import Caller, Worlds

TOKEN = f"{TARGET}/token"
"""The block while the forge refuses the token."""

_PAGE = 2
"""Pull requests on a page: few, so that there are many pages."""


class Watch(Protocol):
    """What the oracle hears before something is said of a commit."""

    def reports(self, repository: str, sha: str, caller: Caller) -> None: ...


class SimulatedForge:
    """See `twin.ports.forge.Forge`."""

    def __init__(
        self, caller: Caller, truth: ForgeTruth, worlds: Worlds, fate: Fate, journal: Journal, watch: Watch
    ) -> None:
        self._caller = caller
        self._truth = truth
        self._worlds = worlds
        self._fate = fate
        self._journal = journal
        self._watch = watch

    async def pull(self, repository: str, number: int) -> Pull | None:
        """As it is. Never wrong: what is not known is an error."""
        await self._pass(f"pull {number}")
        key = (repository, number)
        found = self._truth.pulls.get(key)
        if found is None or denies(found):
            self._truth.denied(key)
        await self._caller.passage("an answer")
        return found

    async def repository(self, repository: str) -> Repository:
        """Each is always the same."""
        await self._pass(f"repository {repository}")
        return Repository(id=id_of(repository), name=repository)

    async def open_pulls(self, repository: str, mark: str | None = None) -> Listing:
        """Over pages; now and then a part of it, or nothing, that looks whole."""
        hidden = self._hidden(repository)

        async def page(number: int) -> Page[Pull]:
            await self._pass(f"page {number}")
            pulls = self._open(repository, hidden)
            shown = tuple(pulls[(number - 1) * _PAGE : number * _PAGE])
            if self._fate.strikes("cut", 0.05):
                self._journal.note("a page is cut", f"{repository} {number}")
                shown = shown[:-1]
            return Page(items=shown, total=len(pulls))

        pulls, _ = await whole(f"pull requests of {repository}", page, lambda pull: pull.number)
        new = Mark.of(pulls).text()
        return Listing(pulls=None if new == mark else pulls, mark=new)

    async def changed_paths(self, repository: str, number: int) -> tuple[str, ...] | None:
        """Always the same."""
        await self._pass(f"paths of {number}")
        return ("app.py",)

    async def comment(self, repository: str, number: int, comment: int) -> Written | None:
        """As it stands there."""
        await self._pass(f"comment {comment}")
        found = self._truth.written((repository, number), comment)
        await self._caller.passage("an answer")
        return found

    async def permission(self, repository: str, login: str) -> Permission:
        """Members write."""
        await self._pass(f"permission of {login}")
        return "write" if login in MEMBERS else "read"

    async def content(self, repository: str, path: str, sha: str) -> bytes | None:
        """The one file that anybody asks for."""
        await self._pass(f"content of {sha[:8]}")
        if (commit := self._truth.commits.get(sha)) is None:
            raise Transient(f"there is no commit {sha}")
        return commit.file if path == FILE else None

    async def put_comment(self, repository: str, number: int, marker: str, body: str) -> str:
        """By the logic that all forges share."""
        return await sticky.put(_Comments(self, (repository, number)), marker, body)

    async def report(self, repository: str, sha: str, report: Report) -> None:
        """The status of a commit."""
        self._watch.reports(repository, sha, self._caller)

        def effect() -> None:
            self._truth.statuses[repository, sha, report.context] = report

        await self.change(f"status of {sha[:8]}: {report.outcome}", effect)

    async def deploy(self, repository: str, sha: str, environment: str, report: Report) -> None:
        """The deployment of a commit, not made to be inactive alone."""
        self._watch.reports(repository, sha, self._caller)
        place = (repository, sha, environment)

        def effect() -> None:
            if report.outcome != "inactive" or place in self._truth.deployments:
                self._truth.deployments[place] = report

        await self.change(f"deployment of {sha[:8]}: {report.outcome}", effect)

    def clone_url(self, repository: str) -> str:
        """Where git would fetch from."""
        return f"https://{HOST}/{repository}.git"

    async def close(self) -> None:
        """Nothing is open."""

    # -- of comments

    async def ours(self, key: Key) -> tuple[Comment, ...]:
        """Our comments, in the order in which they were written."""
        await self._pass(f"comments of {key[1]}")
        found = self._truth.ours(key)
        await self._caller.passage("an answer")
        return found

    async def create(self, key: Key, body: str) -> Comment:
        """One more comment."""
        made: list[int] = []

        def effect() -> None:
            made.append(self._truth.write(key, ONE_OF_US, body).id)

        await self.change(f"comment on {key[1]}", effect)
        return next(each for each in self._truth.ours(key) if each.id == made[-1])

    async def edit(self, key: Key, comment: int, body: str) -> bool:
        """Another body."""
        done: list[bool] = []
        await self.change(f"edit of {comment}", lambda: done.append(self._truth.edit(key, comment, body)))
        return done[-1]

    async def erase(self, key: Key, comment: int) -> None:
        """One comment less."""
        await self.change(f"deletion of {comment}", lambda: self._truth.erase(key, comment))

    # -- troubles

    async def change(self, what: str, effect: Callable[[], None]) -> None:
        """A request and its reply. What the dead have sent takes effect, or not; an answer may be lost."""
        await self._pass(what)
        loop = asyncio.get_running_loop()
        reply = loop.create_future()

        def arrives() -> None:
            effect()
            if not reply.done():
                reply.set_result(None)

        sent = loop.call_later(self._fate.work() / 4, arrives)
        try:
            await self._caller.passage("before an effect")
            await reply
            await self._caller.passage("after an effect")
        except BaseException:
            if not reply.done():
                sent.cancel()
                if self._fate.strikes("late", 0.5):  # it was on its way, and comes before whatever is sent later
                    self._journal.note("done at the forge, and nobody knows", what)
                    effect()
            raise
        if self._fate.strikes("forge_lost", 0.06):
            self._journal.note("the forge's answer is lost", what)
            raise Transient("the connection broke before the answer")

    async def _pass(self, what: str) -> None:
        """What may go wrong before the forge takes a request."""
        self._worlds.calls += 1
        await self._caller.passage("a call")
        if self._fate.strikes("forge", 0.1):
            self._journal.note("the forge fails", what)
            raise Transient("the forge answers 502")
        if self._fate.strikes("forge_limit", 0.04):
            seconds = self._fate.random.choice((30.0, 240.0, 1800.0))
            self._journal.note("the forge limits", f"{what}, {seconds:.0f} s")
            raise Transient("too many requests", retry_after=timedelta(seconds=seconds))
        if self._fate.strikes("forge_refuses", 0.004):
            self._worlds.quotas.add(TOKEN)
        if TOKEN in self._worlds.quotas:
            self._journal.note("the forge refuses the token", what)
            raise Blocked("the token is refused", key=TOKEN, mend="Give another one.")
        if self._fate.strikes("forge_slow", 0.02):
            self._journal.note("the forge is slow", what)
            await asyncio.sleep(self._fate.random.choice((20.0, 100.0, 400.0)))
            await self._caller.passage("a read")

    def _open(self, repository: str, hidden: frozenset[int]) -> list[Pull]:
        pulls = [each for (place, _), each in self._truth.pulls.items() if place == repository and not each.is_over]
        return [each for each in pulls if each.number not in hidden]

    def _hidden(self, repository: str) -> frozenset[int]:
        """What a listing leaves out: a part, or all."""
        if not self._fate.strikes("cut", 0.1):
            return frozenset()
        numbers = [each.number for each in self._open(repository, frozenset())]
        if self._fate.random.random() < 0.5:
            numbers = numbers[: len(numbers) // 2]
        self._journal.note("a listing lacks", f"{repository} {numbers}")
        return frozenset(numbers)


class _Comments:
    """See `twin.forges.sticky.Comments`."""

    def __init__(self, forge: SimulatedForge, key: Key) -> None:
        self._forge = forge
        self._key = key

    async def ours(self) -> tuple[Comment, ...]:
        return await self._forge.ours(self._key)

    async def create(self, body: str) -> Comment:
        return await self._forge.create(self._key, body)

    async def edit(self, comment: int, body: str) -> bool:
        return await self._forge.edit(self._key, comment, body)

    async def delete(self, comment: int) -> None:
        await self._forge.erase(self._key, comment)


class SimulatedForgeKind:
    """See `twin.ports.forge.ForgeKind`."""

    name = TARGET.partition("/")[0]

    def __init__(self, forge: SimulatedForge) -> None:
        self._forge = forge

    def check(self, target: Target, credentials: Mapping[str, str]) -> None:
        """Everything goes."""

    def open(self, target: Target, credentials: Mapping[str, str]) -> SimulatedForge:
        """A way to the forge."""
        return self._forge
