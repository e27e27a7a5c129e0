"""The README's way to a preview, with the words that stand there; no webhook is set up."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.acceptance.conftest import Start
from tests.acceptance.github_scene import OnGitHub
from tests.providers.github_hub import Hub
from tests.waiting import eventually

PROJECT = Path(__file__).parents[2]
EXAMPLE = PROJECT / "examples" / "preview"


def commands() -> list[list[str]]:
    """Those for GitHub, from the publication on: the target is the scene's."""
    section = (PROJECT / "README.md").read_text().partition("## Ten minutes to a preview")[2].partition("\n## ")[0]
    found = [shlex.split(line) for line in re.findall(r"^ +\$ twin (.*)$", section, re.MULTILINE)]
    return [words for words in found if words[:2] != ["target", "add"]]


def test_the_way_that_the_readme_shows(make_service: Start, hub: Hub) -> None:
    service = make_service()
    service.serve()
    scene = OnGitHub(service, hub)
    changed = (EXAMPLE / "app.py").read_text().replace('TITLE = "Hello"', 'TITLE = "Good evening"')
    number, sha = scene.pull({"app.py": changed}, title="Another title")
    publish, follow, show = commands()
    assert (publish[0], follow[:2], show[:2]) == ("publish", ["preview", "set"], ["preview", "show"])
    service.twin("publish", str(PROJECT / publish[1]))
    service.twin(*(scene.repository.full_name if word == "YOU/YOURS" else word for word in follow))

    eventually(lambda: re.search(rf"#{number} +ready ", service.twin(*show)), within=90, why=service.last_lines)
    name = f"default/pr-{number}"
    view = service.get(f"/v1/projects/default/environments/pr-{number}")
    service.environments.append(view["id"])
    assert re.search(rf"#{number} +ready +{name} +{re.escape(view['url'])} +Another title +ada", service.twin(*show))
    assert re.match(rf"http://pr-{number}--default\.localhost:\d+$", view["url"])
    page = scene.opened(view["url"])
    assert page is not None
    assert f"<h1>Good evening from {name}</h1>" in page
    eventually(lambda: scene.is_said_ready(number, sha), within=60, why=lambda: scene.comment(number))
    assert view["url"] in scene.comment(number)
