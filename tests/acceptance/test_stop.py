"""`make stop`: the apps end with the service and the local servers, and come back when the twin looks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.acceptance.blueprints import folder
from tests.acceptance.catalogues import Opened, look
from tests.acceptance.conftest import Start

PROJECT = Path(__file__).parent.parent.parent


def test_make_stop_ends_the_apps_too(make_service: Start, opened: tuple[Opened, ...], tmp_path: Path) -> None:
    service = make_service()
    process = service.serve()
    app = {"command": ["python", "-I", "-S", "app.py"], "env": {"DATABASE_URL": ""}, "replicas": 2, "stop_grace": 2}
    service.publish(folder(tmp_path / "apps", {"app": {"type": "process.service", "inputs": app}}, name="apps"))
    accepted = service.create("dev", "apps")
    service.succeeded(accepted)
    environment = accepted["environment_id"]
    service.stop(process)
    assert len(look(opened, environment).replicas) == 2, "the end of the service alone ends no app"

    stopped = subprocess.run(
        [sys.executable, "tools/run.py", "stop"],
        cwd=PROJECT,
        env=service.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert "processes of apps" in stopped.stdout
    assert look(opened, environment).processes == 0

    service.serve()
    service.succeeded(service.signal(environment, "detect_drift"))
    service.reaches(environment, "ready")
    assert len(look(opened, environment).replicas) == 2
    service.succeeded(service.signal(environment, "destroy"))
    assert look(opened, environment).empty
