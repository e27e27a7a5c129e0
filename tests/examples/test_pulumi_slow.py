"""examples/pulumi/slow: twelve parts that need each other, in a cloud of files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.examples.conftest import Bare, Json


def things(cloud: Path) -> list[Json]:
    return [json.loads(path.read_text()) | {"id": path.stem} for path in cloud.glob("part-*.json")]


def done(cloud: Path) -> Counter[str]:
    return Counter(json.loads(line)["what"] for line in (cloud / "journal").read_text().splitlines())


def test_the_life_of_a_stack(make_bare: Callable[..., Bare], tmp_path: Path) -> None:
    cloud = tmp_path / "cloud"
    stack = make_bare("slow", "parts.stack:main")
    settings = {"cloud": str(cloud), "seconds": "0.05"}

    assert stack.run("preview", **settings)["changes"] == {"create": 13}
    assert not cloud.exists(), "a preview changes nothing"

    stack.run("up", **settings)
    made = {each["name"]: each for each in things(cloud)}
    assert sorted(made) == [f"part-{number:02}" for number in range(1, 13)]
    assert done(cloud) == {"create": 12}, "each once"
    assert [len(made[f"part-{number:02}"]["needs"]) for number in (1, 2, 5, 9, 12)] == [0, 1, 3, 4, 3]

    assert stack.run("up", **settings, label="b")["changes"] == {"same": 1, "update": 12}
    assert {each["label"] for each in things(cloud)} == {"b"}

    (cloud / f"{made['part-12']['id']}.json").unlink()
    assert stack.run("refresh", **settings, label="b")["changes"] == {"same": 12, "delete": 1}
    assert stack.run("up", **settings, label="b")["changes"] == {"same": 12, "create": 1}
    assert len(things(cloud)) == 12

    stack.run("destroy", **settings)
    assert things(cloud) == []
