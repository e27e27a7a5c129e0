"""An effect that comes after the certificate: the tombstone is reopened, the thing found and removed, proven again."""

from __future__ import annotations

from datetime import timedelta

from twin.domain.decider import Cause
from twin.domain.identity import TWIN
from twin.domain.steps import EndStep, StepKey, Succeeded
from twin.domain.twin import ENVIRONMENT
from twin.testing.inline import WORKER
from twin.testing.world import open_world


async def test_a_late_effect_reopens_the_tombstone() -> None:
    async with open_world() as world:
        world.outside.hold("db.apply")
        environment = await world.create()
        await world.engine.run_due()
        assert world.outside.held == 1
        (zombie,) = [task for task in await world.store.held(WORKER) if task.key.startswith("db@1")]
        (placement,) = (await world.env(environment)).placements.values()
        (late,) = [name for name, thing in world.outside.standing.items() if thing.component == "db"]
        thing = world.outside.standing.pop(late)  # its server takes its time
        await world.executor.lost(zombie, proven_dead=False)

        operation = await world.send(environment, "destroy")
        await world.run_until_quiet()
        world.clock.advance(timedelta(hours=1))
        await world.run_until_quiet()
        first = (await world.env(environment)).certificate
        assert first is not None, "no attempt could still act, as far as anybody could know"
        assert (await world.operation(operation)).status == "succeeded"

        world.outside.standing[late] = thing
        told = EndStep(
            key=StepKey.parse(zombie.key), epoch=zombie.epoch, result=Succeeded(placement=placement, external_id=late)
        )
        await world.store.transact(lambda tx: tx.transition(ENVIRONMENT.kind, environment, told, Cause(TWIN)))
        assert (await world.view(environment)).status == "destroying"
        await world.run_until_quiet()
        events = [event.type for event in await world.events(environment)]
        assert events.count("late_effect") == 1
        assert events.count("destroyed") == 2
        assert world.outside.standing == {}, "found and removed"
        second = (await world.env(environment)).certificate
        assert second is not None
        assert second != first, "proven again"
