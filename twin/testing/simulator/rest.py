"""What must hold of a twin that is at rest, whatever it went through: who may enter what, and where its data are from.

It is about the world as the records show it, and looks at neither vault nor inputs: that is for the end of a life.
"""

from __future__ import annotations

from twin.domain.environment import Environment, Instance
from twin.domain.members import members
from twin.domain.planner import plan
from twin.domain.rotation import live
from twin.testing.simulator.journal import Journal
from twin.testing.simulator.worlds import Worlds


class Rest:
    """Looks at the world of a twin. `copied`: the instances that were seen to be copied, by environment."""

    def __init__(self, worlds: Worlds, journal: Journal) -> None:
        self.copied: dict[str, set[str]] = {}
        self._worlds = worlds
        self._journal = journal

    def reached(self, env: Environment) -> bool:
        """Whether nothing is left to do, and nothing was done behind the twin's back."""
        gone = env.departing or env.certificate is not None
        return not gone and not env.desired.suspended and env.id not in self._worlds.strayed and not plan(env).steps

    def entered(self, env: Environment) -> None:
        """The credentials and the people that may enter are exactly those of the records."""
        must = self._journal.must
        for instance, name in _current(env):
            logins = self._worlds.who(env.id, name)
            must(len(logins.roles) <= 1, "a rotation has no end", f"{instance.key}: {sorted(logins.roles)}", env.id)
            known = {each.version for each in live(instance)} if instance.traits.rotates else set()
            must(logins.roles.keys() == known, "other credentials live", f"{instance.key}: {logins.roles}", env.id)
            if instance.traits.grants:
                meant = {name: each.role for name, each in members(env).items()}
                entitled = {name: role for name, (role, _) in logins.people.items()}
                must(entitled == meant, "others have access than the members", f"{entitled} != {meant}", env.id)

    def taken_over(self, env: Environment) -> None:
        """What was copied holds the copy, of the kind and the moment that the records say; no half-made copy is left,
        but of who was late."""
        must, seed, copied = self._journal.must, env.desired.seed, self.copied.get(env.id, set())
        for instance, name in _current(env) if seed is not None else ():
            thing = self._worlds.of(env.id).get(name)
            if seed is not None and instance.key in copied and thing is not None:
                meant = env.seeded[instance.component].point
                right = thing.data == meant and meant.startswith(f"{seed.mode} ")
                must(right, "a clone lost its copy", f"{name} holds {thing.data!r}, not {meant!r}", env.id)
        left = sorted(name for name, copy in self._worlds.copies.get(env.id, {}).items() if not copy.late)
        must(not left, "a half-made copy is left", str(left), env.id)


def _current(env: Environment) -> list[tuple[Instance, str]]:
    """What stands as desired, and its name in the world."""
    found = [instance for name in env.desired.components if (instance := env.current(name)) is not None]
    return [(each, env.ref(each.component, each.incarnation, each.type).name) for each in found]
