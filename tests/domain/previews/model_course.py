"""How the model of previews goes on by itself, and comes to rest."""

from __future__ import annotations

from datetime import timedelta

from tests.domain.previews.model import World
from tests.domain.previews.model_parts import NUMBERS, origin
from twin.domain.previews.inputs import Hint
from twin.domain.previews.source import Reconciled


def run(world: World, most: int) -> None:
    """So many things go well, one after the other."""
    for _ in range(most):
        if world.webhooks:
            world.deliver(0)
        elif due := world.due():
            if (lease := world.begin(*due[0])) is not None:
                world.finish(lease)
        elif not (world.wake() | world.settle()):
            return


def reconcile(world: World) -> None:
    """What was missed is found: every pull request that is known or listed is looked at."""
    assert world.source is not None
    for number in sorted({*world.forge, *world.states}):
        given = Hint(origin=origin(number), delivery=f"reconciliation-{world.fresh('r')}", what="reconciliation")
        world.give(number, given)
    world.give_source(Reconciled(generation=world.source.generation))


def rest(world: World) -> None:
    """Everything works, nothing new happens: until nothing is left to be done."""
    world.blocked = False
    for lease in [*world.leases.values()]:
        world.lose(lease)
    for zombie in world.zombies:
        if zombie.key != "look":
            world.finish(zombie)
    world.zombies.clear()
    reconcile(world)
    for _ in range(300):
        busy = world.wake() | world.settle()
        for number, key in world.due():
            busy = True
            if (number, key) in world.due() and (lease := world.begin(number, key)) is not None:
                world.finish(lease)
        if not busy:
            later = [task.due for number in NUMBERS for task in world.tasks(number) if task.due is not None]
            later = [due for due in later if due < world.now + timedelta(hours=1)]
            if not later:
                return
            world.now = max(world.now, *later)
    raise AssertionError("it does not come to rest")
