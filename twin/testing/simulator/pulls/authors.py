"""People at the forge: they open, push, draft, label, rename, command, close, merge and reopen; and an operator who
configures the sources."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from twin.domain.errors import Problem
from twin.domain.previews.config import CloneFrom, SourceConfig
from twin.ports.deliveries import Comment
from twin.service.principals import Principal, Request
from twin.testing.simulator.journal import Journal
from twin.testing.simulator.process import Died, Process
from twin.testing.simulator.pulls.mail import Mail
from twin.testing.simulator.pulls.truth import TARGET, ForgeTruth, Key
from twin.testing.simulator.setting import Fate, Setting
from twin.testing.simulator.virtual_loop import spawn

_OPERATOR = Principal("olga", (("*", "admin"),))

_COMMANDS = (
    *("/twin redeploy", "/twin redeploy", "/twin extend 2d", "/twin protect", "/twin unprotect", "/twin destroy"),
    *("/twin status", "/twin logs app", "/twin fly", "well done", "/twin"),
)


def sources(setting: Setting) -> dict[str, SourceConfig]:
    """Two repositories: one whose previews are made of a blueprint, and of forks too; one whose are clones. All is
    reconciled some hundred times in a life, for each costs."""
    every = min(max(300.0, setting.days * 86_400.0 / 300.0), 12 * 3600.0)
    web = SourceConfig(
        forge=TARGET,
        repository="acme/web",
        project="shop",
        blueprint="guestbook@1.0.0",
        inputs={"greeting": "${pr.branch}"},
        excluded_labels=("no-preview",),
        forks="allow",
        max_live=2,
        ttl=3 * 86_400.0,
        idle_ttl=2 * 86_400.0,
        reconcile_every=every,
    )
    clone = CloneFrom(environment="shop/env-0", data="full")
    return {
        "web": web,
        "store": replace(
            web,
            repository="acme/store",
            blueprint=None,
            clone_from=clone,
            prefix="store",
            max_live=1,
            ttl=None,
            inputs={},
        ),
    }


class Authors:
    """As many as the setting has pull requests; each works at one at a time."""

    def __init__(
        self,
        setting: Setting,
        processes: Callable[[], Process],
        truth: ForgeTruth,
        mail: Mail,
        fate: Fate,
        journal: Journal,
    ) -> None:
        self.sources = sources(setting) if setting.pull_requests else {}
        self._setting = setting
        self._process = processes
        self._truth = truth
        self._mail = mail
        self._fate = fate
        self._journal = journal
        self._works_at: list[Key | None] = [None] * setting.pull_requests
        self._requests = 0

    async def live(self) -> None:
        """Configure the sources; then visit pull requests, each as often as the setting's pace says."""
        for name, config in self.sources.items():
            await self.configure(name, config)
        pause = self._setting.pace / 3 / max(1, len(self._works_at)) * 86_400.0
        for place in range(len(self._works_at)):
            spawn(None, self._visit(place))
        while True:
            await asyncio.sleep(self._fate.random.expovariate(1 / pause))
            spawn(None, self._visit(self._fate.random.randrange(len(self._works_at))))
            if self._fate.random.random() < 0.03:
                spawn(None, self._operate())

    async def configure(self, name: str, config: SourceConfig) -> None:
        """Put a source, and do not rest before it is."""
        await self._done(lambda process, request: process.works.sources.put(name, config, request))
        self.sources[name] = config

    async def remove(self, name: str) -> None:
        """End a source."""
        await self._done(lambda process, request: process.works.sources.remove(name, request))

    async def come_back(self) -> None:
        """No source is away any more."""
        for name, config in list(self.sources.items()):
            await self.configure(name, config)

    def close_all(self) -> None:
        """Everybody goes home; of every other one nothing is heard."""
        for count, (key, pull) in enumerate(sorted(self._truth.pulls.items())):
            if not pull.is_over:
                self._truth.change(key, state="merged" if count % 3 else "closed")
                if count % 2:
                    self._mail.post(key, "pull_request.closed")

    async def _operate(self) -> None:
        """The operator changes a source, or takes it away for a while."""
        random = self._fate.random
        name = random.choice(sorted(self.sources))
        config = self.sources[name]
        if random.random() < 0.3:
            self._journal.note("source removed", name)
            await self.remove(name)
            await asyncio.sleep(random.choice((1.0, 600.0, 20_000.0)) * random.random())
            if not self._fate.calm:
                await self.configure(name, config)
            return
        self._journal.note("source changed", name)
        await self.configure(name, replace(config, max_live=random.choice((1, 2, 3))))

    async def _done(self, ask: Callable[[Process, Request], Any]) -> None:
        self._requests += 1
        while True:
            process = self._process()
            request = Request(_OPERATOR, f"operator-{self._requests}", None)
            asking = spawn(process.tasks, _asked(ask(process, request)))
            await asyncio.wait([asking], timeout=20.0)
            if asking.done() and not asking.cancelled() and asking.result():
                return
            await asyncio.sleep(self._fate.random.uniform(0.1, 20.0))

    async def _visit(self, place: int) -> None:
        """Work at a pull request for a while."""
        random = self._fate.random
        key = self._works_at[place]
        if key is None or key not in self._truth.pulls or (self._truth.pulls[key].is_over and random.random() < 0.6):
            key = self._works_at[place] = self._open()
        for _ in range(random.choice((1, 1, 2, 3, 5))):
            await asyncio.sleep(random.choice((0.0, 0.1, 3.0, 30.0, 600.0)) * random.random())
            if key not in self._truth.pulls or self._fate.calm:
                return
            self._act(key)

    def _open(self) -> Key:
        random = self._fate.random
        repository = random.choice([each.repository for each in self.sources.values()])
        fork = random.random() < 0.5 and repository == "acme/web"
        pull = self._truth.open(
            repository, self._sha(), fork=fork, file=self._file(), draft=random.random() < 0.1, title="A change"
        )
        key = (repository, pull.number)
        self._tell(key, "opened")
        return key

    def _act(self, key: Key) -> None:
        """One of the things that people do."""
        random, pull = self._fate.random, self._truth.pulls[key]
        roll = random.random()
        if roll < (0.45 if pull.is_fork else 0.3):
            return self._comment(key)
        if pull.is_over:
            if pull.state == "closed" and roll < 0.8:
                self._change(key, "reopened", state="open")
            return None
        if roll < 0.55:
            return self._push(key)
        if roll < 0.62:
            return self._change(key, "edited", title=pull.title[:20] + "!", base_branch=random.choice(("main", "next")))
        if roll < 0.7:
            return self._change(key, "converted", draft=not pull.draft)
        if roll < 0.77:
            return self._change(key, "labeled", labels=() if pull.labels else (random.choice(("no-preview", "x")),))
        if roll < 0.78:
            self._truth.delete(key)
            return self._tell(key, "deleted")
        if roll < 0.95:
            return self._change(key, "closed", state=random.choice(("closed", "closed", "merged")))
        return self._tell(key, "looked at")

    def _comment(self, key: Key) -> None:
        random, pull = self._fate.random, self._truth.pulls[key]
        text = random.choice(_COMMANDS)
        if pull.is_fork and random.random() < 0.7:
            text = random.choice(("/twin allow", f"/twin allow {pull.head_sha[:12]}"))
        author = random.choice(("ada", "bo", "bo", "eve"))
        written = self._truth.write(key, author, text)
        if text.startswith("/twin"):
            # What is delivered lies of all but the id: the forge is asked.
            comment = Comment(id=str(written.id), author="bo", text="/twin destroy")
            self._mail.post(key, "issue_comment.created", comment)
        if pull.is_fork and random.random() < 0.2:  # and at once something else
            self._push(key)

    def _push(self, key: Key) -> None:
        self._truth.push(key, self._sha(), self._file())
        self._tell(key, "synchronize")

    def _change(self, key: Key, what: str, **fields: Any) -> None:
        self._truth.change(key, **fields)
        self._tell(key, what)

    def _tell(self, key: Key, what: str) -> None:
        self._journal.note("at the forge", f"{key[0]}#{key[1]} {what}")
        self._mail.post(key, f"pull_request.{what}")

    def _sha(self) -> str:
        return self._fate.random.randbytes(20).hex()

    def _file(self) -> bytes | None:
        """A repository's own file: seldom there, now and then wrong."""
        return self._fate.random.choice((None, None, None, None, None, None, b"max_live: 1\n", b"ttl: [\n"))


async def _asked(asking: Any) -> bool:
    try:
        await asking
    except (Problem, Died):
        return False
    return True
