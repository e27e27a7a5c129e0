"""Restate's side of the service: a virtual object per entity, whose handler runs one durable step and keeps a state."""

from __future__ import annotations

from restate import ObjectContext, VirtualObject, app

entity = VirtualObject("Entity")


async def act() -> None:
    """The no-op step."""


@entity.handler()
async def receive(ctx: ObjectContext, number: int) -> int:
    """A signal, to its result."""
    await ctx.run_typed("act", act)
    ctx.set("number", number)
    return number


service = app([entity])
