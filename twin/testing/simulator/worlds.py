"""The worlds behind the targets: what stands, who may enter it, what is being copied, and what is on its way.

What they promise is what `twin.ports.provider` asks of providers: idempotent by name; an attempt that has ended in a
living process acts no more; what a dead caller has sent takes effect within the deadline and the settle time.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import msgspec
from msgspec import Struct, field

from twin.testing.simulator.journal import Journal
from twin.testing.simulator.setting import Fate

_GIVEN = re.compile(r"sim://(tw_[a-z0-9_]+):([0-9a-zA-Z]+)@")


class Thing(Struct):
    """One thing that stands. `refers`: names of others in its inputs. `data`: what it holds and where that came from;
    `writes` counts what its users have written. `stray`: made by an attempt that had ended."""

    name: str
    instance: str
    target: str
    inputs: dict[str, Any]
    refers: frozenset[str]
    data: str
    writes: int = 0
    suspended: bool = False
    stray: bool = False

    @property
    def content(self) -> str:
        """What a snapshot of it shows."""
        return f"{self.data}+{self.writes}"

    def logins(self) -> list[tuple[str, str]]:
        """Where it logs in, and with what password: what it was given."""
        return _GIVEN.findall(msgspec.json.encode(self.inputs).decode())


class Copying(Struct):
    """A copy that nobody may enter. `attempt` tells it from another's under the same name; `parts` are what was read
    of the source; `finished` is the mark. `late`: begun by an attempt that had ended."""

    target: str
    attempt: str
    parts: tuple[str, ...]
    finished: bool = False
    late: bool = False


class Logins(Struct):
    """Who may enter a thing, with which password: `roles` by the credential's version, `people` by name (their role,
    their password). `ended`: passwords that were ended, by version; `retired`: those of them whose end the twin has
    seen."""

    target: str
    roles: dict[int, str] = field(default_factory=dict)
    people: dict[str, tuple[str, str]] = field(default_factory=dict)
    ended: dict[int, str] = field(default_factory=dict)
    retired: set[str] = field(default_factory=set)


class Caller(Protocol):
    """The process that calls: its calls pass `passage`, and end for good when it has died. `provable`: its machine can
    tell its death."""

    name: str
    provable: bool

    @property
    def dead(self) -> bool: ...

    async def passage(self, when: str) -> None: ...


class Request(Struct, eq=False):
    """A request on its way. `latest` is the loop's time after which it has no effect any more."""

    caller: Caller
    effect: Callable[[bool], None]
    latest: float
    settle: float
    timer: asyncio.TimerHandle | None = None
    done: bool = False


class Worlds:
    """All that stands, by environment and name, and all that is on its way.

    `strayed`: environments whose world was changed behind the twin's back.
    """

    def __init__(self, fate: Fate, journal: Journal) -> None:
        self.standing: dict[str, dict[str, Thing]] = {}
        self.copies: dict[str, dict[str, Copying]] = {}
        self.doors: dict[str, dict[str, Logins]] = {}
        self.strayed: set[str] = set()
        self.told: dict[str, tuple[str, float]] = {}
        self.quotas: set[str] = set()
        self.calls = 0
        self._fate = fate
        self._journal = journal
        self._on_the_way: dict[Request, None] = {}

    # -- what there is

    def of(self, environment: str) -> dict[str, Thing]:
        """What stands with the mark of an environment."""
        return self.standing.get(environment, {})

    def marked(self, environment: str) -> Iterator[tuple[str, str]]:
        """Everything with the mark of an environment, and its target: things, half-made copies, those who may enter."""
        for name, thing in self.of(environment).items():
            yield name, thing.target
        for name, copy in self.copies.get(environment, {}).items():
            yield f"{name} (copy)", copy.target
        for name, logins in self.doors.get(environment, {}).items():
            for who in (*logins.roles, *logins.people):
                yield f"{name} (login of {who})", logins.target

    def who(self, environment: str, name: str) -> Logins:
        """Who may enter a thing, to be read."""
        return self.doors.get(environment, {}).get(name, Logins(""))

    def logins(self, environment: str, name: str, target: str) -> Logins:
        """Who may enter a thing, to be changed."""
        return self.doors.setdefault(environment, {}).setdefault(name, Logins(target))

    # -- what is on its way

    def send(self, request: Request, after: float) -> None:
        """Have it take effect."""
        self._on_the_way[request] = None
        request.timer = asyncio.get_running_loop().call_later(after, self._arrives, request)

    def withdraw(self, request: Request) -> None:
        """The caller lives and has ended its attempt: what has not happened does not happen any more."""
        if not request.caller.dead and request.timer is not None:
            request.timer.cancel()
            self._on_the_way.pop(request, None)

    def bereave(self, caller: Caller) -> None:
        """A process died: what it had sent happens never, soon, or late, or even twice."""
        loop = asyncio.get_running_loop()
        for request in [each for each in self._on_the_way if each.caller is caller]:
            if request.timer is not None:
                request.timer.cancel()
            self._on_the_way.pop(request)
            for _ in range(self._fate.random.choice((0, 1, 1, 1, 2)) if "late" in self._fate.rates else 1):
                bound = min(loop.time() + request.settle * 0.9, request.latest)
                if not caller.provable and self._fate.random.random() < 0.5:
                    bound = request.latest
                wait = (bound - loop.time()) * self._fate.random.random()
                if wait > 0:
                    self.send(msgspec.structs.replace(request), wait)

    def _arrives(self, request: Request) -> None:
        self._on_the_way.pop(request, None)
        request.done = True
        request.effect(request.caller.dead)

    # -- what requests do

    def put(self, environment: str, thing: Thing, passwords: Mapping[int, str]) -> None:
        """Create or update it, with every password of it valid. What stands keeps its data; what is new opens the copy
        that was made for it, if there is one."""
        here = self.standing.setdefault(environment, {})
        copies = self.copies.get(environment, {})
        if (there := here.get(thing.name)) is not None:
            thing.data, thing.writes = there.data, there.writes
        elif (copy := copies.pop(thing.name, None)) is not None:
            whole = copy.finished and len(copy.parts) == 2 and len(set(copy.parts)) == 1
            self._journal.must(whole, "somebody enters a copy that is not whole", f"{thing.name}: {copy}", environment)
            thing.data = copy.parts[0]
        here[thing.name] = thing
        for version, password in passwords.items():
            self.admit(environment, thing.name, thing.target, version, password)
        if thing.stray:
            self.stray(environment, f"apply of {thing.instance}")
            back = [given for given, password in thing.logins() if password in self.who(environment, given).retired]
            self._journal.must(not back, "a late effect needs what was retired", f"{thing.name}: {back}", environment)
        else:
            self.enter(environment, thing)

    def admit(self, environment: str, name: str, target: str, version: int, password: str) -> None:
        """Make a password valid. It is set once and never again, as a server does that has it by its own."""
        must, logins = self._journal.must, self.logins(environment, name, target)
        known = logins.roles.get(version, password) == password
        must(known, "adoption meets an unknown password", f"{version} of {name}", environment)
        must(password not in logins.retired, "a retired password lives again", f"{version} of {name}", environment)
        logins.roles[version] = password
        must(len(logins.roles) <= 2, "three credentials live", f"{name}: {sorted(logins.roles)}", environment)

    def expel(self, environment: str, name: str, version: int) -> None:
        """End a password. Whoever was given it and runs is refused from now on."""
        logins = self.doors.get(environment, {}).get(name)
        if logins is None or version not in logins.roles:
            return
        logins.ended[version] = logins.roles.pop(version)
        self._journal.must(logins.roles, "no credential lives", f"{name} without {version}", environment)
        for thing in self.of(environment).values():
            if not thing.suspended:
                self.enter(environment, thing)

    def retire(self, environment: str, name: str, version: int) -> None:
        """The twin has seen it end: it must not come back."""
        logins = self.who(environment, name)
        self._journal.must(version not in logins.roles, "a retired password lives", f"{version} of {name}", environment)
        if version in logins.ended:
            logins.retired.add(logins.ended[version])

    def enter(self, environment: str, user: Thing) -> None:
        """Have a thing log in where it was told to, with what it was given."""
        if environment in self.strayed:
            return  # what it was given was changed behind the twin's back
        for name, password in user.logins():
            logins = self.doors.get(environment, {}).get(name)
            own = name in self.of(environment)
            self._journal.must(own, "a login leads to nothing of its own", f"{user.instance}: {name}", environment)
            valid = logins is None or password in logins.roles.values()
            self._journal.must(valid, "an authentication fails", f"{user.instance} at {name}", environment)

    def begin_copy(self, environment: str, name: str, copy: Copying) -> None:
        """Begin a new copy, unless one is finished. What another left half-done goes."""
        if self.copied(environment, name) is None:
            self.copies.setdefault(environment, {})[name] = copy

    def copied(self, environment: str, name: str) -> str | None:
        """What a finished copy holds, in use or not yet; None while there is none."""
        if (thing := self.of(environment).get(name)) is not None:
            return thing.data
        copy = self.copies.get(environment, {}).get(name)
        return copy.parts[0] if copy is not None and copy.finished else None

    def finish_copy(self, environment: str, name: str, attempt: str, *, readable: bool) -> None:
        """Read the rest, of the same snapshot, and set the mark: on one's own copy only."""
        copy = self.copies.get(environment, {}).get(name)
        if readable and copy is not None and copy.attempt == attempt and not copy.finished:
            copy.parts = (*copy.parts, copy.parts[0])
            copy.finished = True

    def take(self, environment: str, name: str, *, stray: bool) -> None:
        """Remove it wholly."""
        for part in (self.standing, self.copies, self.doors):
            part.get(environment, {}).pop(name, None)
        if stray:
            self.stray(environment, f"remove of {name}")

    def clear_by_hand(self, environment: str, target: str) -> None:
        """A human removes what an inventory has found."""
        for part in (self.standing, self.copies, self.doors):
            here = part.get(environment, {})
            for name in [name for name, each in here.items() if each.target == target]:
                del here[name]

    def stray(self, environment: str, what: str) -> None:
        """Something happened behind the twin's back."""
        self._journal.note("late effect", what, environment)
        self.strayed.add(environment)
