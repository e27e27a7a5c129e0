"""An upgrade with work in flight: `twin db upgrade` beside a worker, and rows that a newer version has written."""

from __future__ import annotations

from pathlib import Path

import psycopg

from api.cli.exits import Exit
from tests.acceptance.blueprints import folder
from tests.acceptance.catalogues import Opened, look
from tests.acceptance.conftest import Start


def test_an_old_worker_leaves_alone_what_a_newer_one_has_written(
    database: str, make_service: Start, opened: tuple[Opened, ...], tmp_path: Path
) -> None:
    service = make_service(database_url=database, lease="2s")
    service.twin("db", "upgrade")
    serving = service.start("serve", "--no-worker")
    service.work(1)
    service.wait_until_ready(serving)
    service.publish(folder(tmp_path / "single", {"it": {"type": "redis.keyspace"}}, name="single"))
    old, new = (service.create(name, "single") for name in ("old", "new"))
    service.twin("db", "upgrade")  # while it works
    for each in (old, new):
        service.succeeded(each)

    with psycopg.connect(database, autocommit=True) as connection:

        def written_by(change: int) -> None:
            connection.execute(
                "UPDATE entities SET schema_v = schema_v + %s WHERE id = %s", (change, new["environment_id"])
            )

        going = service.signal(new["environment_id"], "destroy")
        written_by(+1)
        refused = service.api.post(
            f"/v1/environments/{new['environment_id']}/signals", json={"signal": "extend", "ttl": "1h"}
        )
        assert (refused.status_code, refused.json()["code"]) == (503, "newer_schema"), "nothing is guessed"
        before = connection.execute("SELECT snapshot FROM entities WHERE id = %s", (new["environment_id"],)).fetchone()
        service.succeeded(service.signal(old["environment_id"], "destroy"))
        after = connection.execute("SELECT snapshot FROM entities WHERE id = %s", (new["environment_id"],)).fetchone()
        assert before == after, "left alone, while all others go on"
        written_by(-1)
        connection.execute("UPDATE tasks SET due_at = 0 WHERE entity = %s AND due_at IS NOT NULL", (_id(new),))
        third = service.create("third", "single")  # which wakes the worker
        service.succeeded(going, within=120)
        assert look(opened, _id(new)).empty

        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        again = service.start("worker")
        assert again.wait(60) == Exit.NO_SERVICE
        assert "Install the version of the twin that upgraded it" in service.last_lines()
        service.succeeded(third)
        service.succeeded(service.signal(_id(third), "destroy"))
        assert look(opened, _id(third)).empty, "the one that runs goes on"
    assert service.verify()["findings"] == []


def _id(accepted: dict[str, str]) -> str:
    return accepted["environment_id"]
