"""No secret leaves in what a step says, whoever wrote it: the provider, a library, a traceback."""

from __future__ import annotations

import pytest

from twin.domain.errors import Blocked, Terminal, Transient
from twin.domain.targets import Target
from twin.ports.store import Tx
from twin.testing.world import World

ADMIN = "the-admins-password"


@pytest.mark.parametrize(
    "error",
    [
        Transient(f"refused: postgres://twin:{ADMIN}@db"),
        Blocked(f"refused with {ADMIN}", key="data-1/credentials", mend=f"set {ADMIN} anew"),
        Terminal(f"bad url {ADMIN}", field="url", mend=f"not {ADMIN}"),
        RuntimeError(f"connect({ADMIN!r})"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_the_targets_credentials_are_covered(
    world: World, error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    def keep(tx: Tx) -> None:
        tx.put_target(Target(name="data-1", provider="data"))
        tx.put_secret("platform", "data-1", 1, "password", world.vault.seal("platform", "data-1", 1, "password", ADMIN))

    await world.store.transact(keep)
    world.outside.fail("db.apply", error)
    env = await world.create()
    await world.engine.run_due()
    view = await world.view(env)
    assert "•••" in view.summary, "what went wrong is told"
    history = b"".join(each.body for each in await world.events(env))
    assert ADMIN not in repr(view)
    assert ADMIN.encode() not in history
    out, err = capsys.readouterr()
    assert ADMIN not in out + err, "nor is it in the log, with or without a traceback"
