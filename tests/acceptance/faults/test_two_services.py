"""Two services on one SQLite file, or at one port: the second one refuses, says why, and harms nobody."""

from __future__ import annotations

import json

from api.cli.exits import Exit
from tests.acceptance.conftest import Start


def test_the_second_service_refuses_and_names_the_first(make_service: Start) -> None:
    service = make_service()
    first = service.serve()
    before = service.log.stat().st_size
    second = service.start("--output", "json", "serve", "--port", "0")
    assert second.wait(60) == Exit.NO_SERVICE
    said = service.log.read_text()[before:]
    problem = next(json.loads(line) for line in said.splitlines() if "database_in_use" in line)
    assert problem["code"] == "database_in_use"
    assert f"{service.directory / 'twin.db'} is in use by process {first.pid}" in said
    assert f"Stop process {first.pid}" in problem["mend"]
    assert "Twin is at" not in said, "it never listened"
    assert service.get("/v1/me")["name"] == "admin", "the first one serves on"
    service.kill(first)
    service.serve()


def test_a_taken_port_is_told_in_words(make_service: Start) -> None:
    first, second = make_service(), make_service()
    first.serve()
    refused = second.start("serve", "--port", str(first.port))
    assert refused.wait(60) == Exit.NO_SERVICE
    said = second.log.read_text()
    assert f"cannot listen at 127.0.0.1:{first.port}: another process listens there" in said
    assert "--port 0" in said
    assert "Traceback" not in said
    assert first.get("/v1/me")["name"] == "admin", "the first one serves on"
    second.serve()


def test_an_address_of_another_machine_is_told_in_words(make_service: Start) -> None:
    service = make_service(host="192.0.2.1")
    refused = service.start("serve")
    assert refused.wait(60) == Exit.NO_SERVICE
    assert "no such address" in service.log.read_text()
    assert "Traceback" not in service.log.read_text()
