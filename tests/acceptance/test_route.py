"""A route before an app that changes: of requests that never cease, none is lost, with real servers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import httpx
import pytest

from providers.local import LocalServers
from tests.acceptance.blueprints import folder
from tests.acceptance.conftest import Opened, Start
from tests.acceptance.service import Json, Service
from tests.acceptance.visitors import Visitors
from tests.providers.caddy_world import admin, routes_path
from tests.waiting import eventually
from twin.domain.targets import Target

APP = '''
"""Answers with its greeting once its cache has answered; what is under way at SIGTERM is finished."""

import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import redis


class Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128


class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        with redis.Redis.from_url(os.environ["REDIS_URL"]) as cache:
            cache.set(os.environ["REDIS_PREFIX"] + "asked", "yes")
        if self.path == "/slow":
            time.sleep(0.3)
        said = f"{os.environ['GREETING']} {os.environ['REPLICA']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *arguments):
        pass


server = Server(("127.0.0.1", int(os.environ["PORT"])), Page)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever(poll_interval=0.05)
server.server_close()
'''

INPUTS = {"properties": {"greeting": {"type": "string", "default": "hello"}}}


def blueprint(path: Path) -> Path:
    """A cache, an app that uses it, and a route before the app."""
    components: Json = {
        "cache": {"type": "redis.keyspace"},
        "app": {
            "type": "process.service",
            "inputs": {
                "command": ["python", "app.py"],
                "replicas": 2,
                "env": {
                    "REDIS_URL": "${cache.secrets.url}",
                    "REDIS_PREFIX": "${cache.outputs.prefix}",
                    "GREETING": "${inputs.greeting}",
                },
                "stop_grace": 20,
            },
        },
        "web": {"type": "caddy.route", "inputs": {"host": "${env.name}--routed", "to": "${app.outputs.urls}"}},
    }
    made = folder(path, components, name="routed", inputs=INPUTS)
    (made / "app.py").write_text(APP)
    return made


@pytest.fixture
def caddy(opened: tuple[Opened, ...]) -> Target:
    """The shared Caddy's target."""
    return next(target for target, _ in opened if target.provider == "caddy")


def verbs(service: Service, environment: str, component: str) -> Counter[str]:
    done = service.events(environment, "step_succeeded")
    return Counter(each["data"]["key"]["verb"] for each in done if each["data"]["key"]["component"] == component)


def test_no_request_is_lost_while_the_app_is_scaled_changed_and_given_other_credentials(
    make_service: Start, tmp_path: Path, caddy: Target
) -> None:
    service = make_service()
    process = service.serve()
    service.publish(blueprint(tmp_path / "folder"))
    created = service.create("pr-42", "routed")
    service.succeeded(created)
    environment = created["environment_id"]
    view = service.reaches(environment, "ready")
    host = "pr-42--routed.localhost"
    assert view["url"] == f"http://{host}:{caddy.config['port']}", "the route stands before the app"
    assert "drain" not in verbs(service, environment, "app"), "at first there is nothing to end"

    def change(done: Json) -> None:
        service.succeeded(done)
        service.reaches(environment, "ready")

    with Visitors(f"http://127.0.0.1:{caddy.config['port']}", host) as visitors:
        visitors.goes_on()
        change(service.signal(environment, "scale", component="app", to={"replicas": 4}))
        visitors.sees("hello 3")
        change(service.signal(environment, "scale", component="app", to={"replicas": 1}))
        visitors.goes_on()
        change(service.signal(environment, "update", inputs={"greeting": "bye"}))
        visitors.sees("bye 0")
        change(service.signal(environment, "rotate_credentials", component="cache", grace="0s"))
        visitors.goes_on()
        changed = service.signal(environment, "update", inputs={"greeting": "again"})
        service.kill(process)
        service.serve()
        change(changed)
        visitors.sees("again 0")
        visitors.goes_on()

    assert visitors.failures == [], f"of {visitors.count} requests"
    assert visitors.count > 100
    # Caddy swaps its server with each change of a route; who has come and not asked yet at that moment asks again.
    assert visitors.repeated <= verbs(service, environment, "web")["apply"]
    assert verbs(service, environment, "app")["drain"] >= 4
    order = [
        f"{each['data']['key']['component']}:{each['data']['key']['verb']}"
        for each in service.events(environment, "step_succeeded")
    ]
    retired = order.index("cache:retire")
    assert order[retired - 3 : retired] == ["app:apply", "web:apply", "app:drain"], "nobody is asked who is shut out"
    service.succeeded(service.signal(environment, "destroy"))
    assert not service.environment(environment)["leftovers"]
    with admin(caddy) as client:
        assert host not in client.get(routes_path(caddy)).text


def test_a_route_changed_by_hand_is_mended(make_service: Start, tmp_path: Path, caddy: Target) -> None:
    service = make_service()
    service.serve()
    service.publish(blueprint(tmp_path / "folder"))
    created = service.create("hand", "routed")
    service.succeeded(created)
    environment = created["environment_id"]
    host = "hand--routed.localhost"

    def answers() -> bool:
        url = f"http://127.0.0.1:{caddy.config['port']}/"
        return httpx.get(url, headers={"Host": host}, trust_env=False, timeout=30).text.startswith("hello")

    assert answers()
    with admin(caddy) as client:
        client.patch(routes_path(caddy), json=_without(client.get(routes_path(caddy)).json(), host)).raise_for_status()
    assert not answers()
    service.succeeded(service.signal(environment, "detect_drift"))
    service.reaches(environment, "ready")
    assert answers()


def test_the_embedded_caddy_knows_the_domain_of_the_settings_and_whom_to_ask(
    make_service: Start, tmp_path: Path
) -> None:
    service = make_service(local="on", targets_file="", preview_domain="preview.test")
    try:
        service.serve()
        service.publish(Path(__file__).parents[2] / "examples" / "route")
        created = service.create("pr-42", "route", inputs={"access": "token"})
        service.succeeded(created)
        view = service.reaches(created["environment_id"], "ready")
        url = httpx.URL(view["url"])
        assert url.host == "pr-42--shop.preview.test"
        named = {"Host": url.netloc.decode()}
        here = url.copy_with(host="127.0.0.1")
        assert httpx.get(here, headers=named, trust_env=False, timeout=30).status_code == httpx.codes.UNAUTHORIZED
        shown = {**named, "Authorization": service.api.headers["Authorization"]}
        answer = httpx.get(here, headers=shown, trust_env=False, timeout=30)
        assert answer.text.startswith("Hello from replica")
    finally:
        service.close()
        LocalServers(service.directory / "local").remove()


def _without(routes: list[Json], host: str) -> list[Json]:
    return [each for each in routes if [host] not in [match.get("host") for match in each.get("match", [])]]


def test_the_example_asks_for_its_password_and_takes_two_while_it_is_rotated(
    make_service: Start, caddy: Target
) -> None:
    service = make_service()
    service.serve()
    service.publish(Path(__file__).parents[2] / "examples" / "route")
    created = service.create("hello", "route", inputs={"access": "basic"})
    service.succeeded(created)
    environment = created["environment_id"]
    service.reaches(environment, "ready")

    def shown() -> tuple[str, str]:
        (web,) = [each for each in service.environment(environment)["components"] if each["name"] == "web"]
        revealed = service.post(f"/v1/environments/{environment}/credentials/reveal", {"reason": "to look"})
        return web["outputs"]["user"], revealed["variables"]["WEB_PASSWORD"]

    def answers(login: tuple[str, str] | None) -> bool:
        url = f"http://127.0.0.1:{caddy.config['port']}/"
        named = {"Host": "hello--shop.localhost"}
        answer = httpx.get(url, headers=named, auth=login, trust_env=False, timeout=30)
        assert answer.text.startswith("Hello from replica") or answer.status_code == httpx.codes.UNAUTHORIZED
        return answer.is_success

    old = shown()
    assert answers(old)
    assert not answers(None)
    service.signal(environment, "rotate_credentials", component="web", grace="1h")
    eventually(lambda: shown()[0] != old[0])
    assert answers(old), "for those who do not know it yet"
    assert answers(shown())
    service.signal(environment, "acknowledge_credential", component="web", version=2)
    eventually(lambda: not answers(old))
    assert answers(shown())

    service.succeeded(service.signal(environment, "update", inputs={"access": "none"}))
    assert answers(None)
    refused = service.api.post(
        f"/v1/environments/{environment}/signals", json={"signal": "rotate_credentials", "component": "web"}
    )
    assert "without access: basic" in refused.json()["detail"], "there is nothing to rotate"
    service.succeeded(service.signal(environment, "update", inputs={"access": "basic"}))
    assert not answers(None)
    assert not answers(old)
    assert answers(shown())
    for each in (old, shown()):
        assert each[1] not in service.log.read_text()
