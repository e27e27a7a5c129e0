"""A route that asks the twin who may enter: browsers, programs, and who must stay out; with a real Caddy and app."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.acceptance.blueprints import folder
from tests.acceptance.browser import PAGE, Browser, asks
from tests.acceptance.conftest import Opened, Start
from tests.acceptance.service import Json, Service
from tests.waiting import eventually

APP = '''
"""Tells what it was sent."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        told = {"path": self.path, "headers": dict(self.headers.items()), "body": body}
        said = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_POST = do_GET

    def log_message(self, *arguments):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Page).serve_forever()
'''


class Scene:
    """A twin with an environment behind a door."""

    def __init__(self, service: Service, process: subprocess.Popen[bytes]) -> None:
        self.service = service
        self.process = process
        self.environment, self.url = self.another()

    def another(self) -> tuple[str, str]:
        """An environment's id and link. All tests share the Caddy, and what they leave there."""
        created = self.service.create(f"doors-{uuid.uuid4().hex[:8]}", "doors")
        self.service.succeeded(created)
        return created["environment_id"], self.service.reaches(created["environment_id"], "ready")["url"]

    def token(self, name: str, *roles: tuple[str, str]) -> str:
        made = self.service.post("/v1/tokens", {"name": name, "roles": [list(pair) for pair in roles]})
        return str(made["token"])

    def facts(self, what: str) -> list[Json]:
        found = self.service.get("/v1/audit", type="fact", limit=1000)["items"]
        return [each["data"] for each in found if each["data"].get("what") == what]


@pytest.fixture
def scene(make_service: Start, tmp_path: Path, opened: tuple[Opened, ...]) -> Scene:
    service = make_service()
    process = service.serve()
    caddy = next(target for target, _ in opened if target.provider == "caddy")
    there = {"name": caddy.name, "provider": "caddy", "config": {**caddy.config, "twin": service.url}}
    service.post("/v1/targets", there)
    components: Json = {
        "app": {"type": "process.service", "inputs": {"command": ["python", "app.py"]}},
        "web": {"type": "caddy.route", "inputs": {"to": "${app.outputs.urls}", "access": "token"}},
    }
    made = folder(tmp_path / "folder", components, name="doors")
    (made / "app.py").write_text(APP)
    service.publish(made)
    return Scene(service, process)


@pytest.fixture
def browser() -> Iterator[Browser]:
    opened = Browser()
    yield opened
    opened.client.close()


def told(answer: httpx.Response) -> dict[str, Any]:
    """What the app was sent."""
    assert answer.status_code == httpx.codes.OK, (answer.status_code, answer.text)
    found: dict[str, Any] = json.loads(answer.text)
    return found


def test_a_browser_enters_by_a_token_that_it_shows_to_the_twin_alone(scene: Scene, browser: Browser) -> None:
    service, url = scene.service, scene.url
    ada, stranger = scene.token("ada", ("shop", "viewer")), scene.token("stranger", ("other", "admin"))

    # To the twin, and not into the app.
    sent = browser.goes(f"{url}/page?x=1&y=%2F", follow=False)
    assert sent.status_code == httpx.codes.FOUND
    assert sent.headers["Location"].startswith(f"{service.url}/doors/{scene.environment}/web?")
    (nonce,) = sent.headers.get_list("Set-Cookie")
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(nonce.split("; "))
    assert "Domain" not in nonce
    page = browser.goes(sent.headers["Location"])
    assert urlsplit(url).netloc in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]

    # Who has no token, or no place there, stays out.
    assert browser.sends("twin_guessed").status_code == httpx.codes.UNAUTHORIZED
    assert "unknown or expired" in browser.answer.text
    assert browser.sends(stranger).status_code == httpx.codes.FORBIDDEN
    assert "twin member add shop/doors-" in browser.answer.text
    assert any("stranger may not enter" in each["details"]["reason"] for each in scene.facts("request_refused"))

    # Who has comes in, to what was asked for.
    back = browser.sends(ada, follow=False)
    assert back.status_code == httpx.codes.SEE_OTHER
    assert back.headers["Location"].startswith(f"{url}/.twin/login?code=")
    code = parse_qs(urlsplit(back.headers["Location"]).query)["code"][0]
    assert asks(back.headers["Location"]).status_code == httpx.codes.UNAUTHORIZED, "another browser's"
    kept_nonce = browser.cookie("twin-door-nonce")
    entered = browser.goes(back.headers["Location"], follow=False)
    assert (entered.status_code, entered.headers["Location"]) == (httpx.codes.SEE_OTHER, "/page?x=1&y=%2F")
    session_cookie = entered.headers.get_list("Set-Cookie")[0]
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(session_cookie.split("; "))
    assert "Domain" not in session_cookie
    browser.client.cookies.set("mine", "1", domain=urlsplit(url).hostname or "")
    there = told(browser.goes(f"{url}/page?x=1&y=%2F"))
    assert there["path"] == "/page?x=1&y=%2F"
    assert there["headers"]["X-Twin-User"] == "ada"
    assert there["headers"]["Cookie"] == "mine=1", "the app keeps its own"
    posted = told(browser.client.post(f"{url}/form", data={"a": "b"}, headers={"Authorization": "Basic eDp5"}))
    assert posted["body"] == "a=b", "what was asked of the twin took nothing of the request"
    assert "Authorization" not in posted["headers"]
    (fact,) = scene.facts("route_entered")
    assert (fact["component"], fact["details"]["environment"]) == ("web", scene.environment)

    # A code is good once, and a session for one door alone, and not for the API.
    again = {"Cookie": f"twin-door-nonce={kept_nonce}"}
    assert asks(f"{url}/.twin/login?code={code}", headers=again).status_code == httpx.codes.UNAUTHORIZED
    session = browser.cookie("twin-door")
    assert session is not None
    other = {"Cookie": f"twin-door={session}"}
    assert asks(scene.another()[1], headers=other).status_code == httpx.codes.UNAUTHORIZED
    assert asks(f"{url}/", headers={"Cookie": f"twin-door={session[:-4]}AAAA"}).status_code == 401
    for shown in (session, code):
        asked = httpx.get(f"{service.url}/v1/me", headers={"Authorization": f"Bearer {shown}"}, trust_env=False)
        assert asked.status_code == httpx.codes.UNAUTHORIZED

    # The end of the token is the end of the session.
    assert service.api.delete("/v1/tokens/ada").is_success
    assert browser.goes(f"{url}/", follow=False).status_code == httpx.codes.FOUND

    written = service.log.read_bytes() + b"".join(
        each.read_bytes() for each in service.directory.glob("twin.db*") if each.is_file()
    )
    for secret in (ada, stranger, session, code, kept_nonce):
        assert secret is not None
        assert secret.encode() not in written, "in no log and no table"


def test_a_program_shows_its_token_and_a_member_goes_with_their_place(scene: Scene) -> None:
    service, url = scene.service, scene.url
    guest = scene.token("guest", ("other", "viewer"))

    def shows(token: str, **headers: str) -> httpx.Response:
        return asks(url, headers={"Authorization": f"Bearer {token}", **headers})

    refused = asks(url)
    assert refused.status_code == httpx.codes.UNAUTHORIZED
    assert refused.json()["code"] == "unauthenticated"
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")
    assert shows("twin_wrong").status_code == httpx.codes.UNAUTHORIZED
    assert shows(guest).status_code == httpx.codes.FORBIDDEN
    eventually(lambda: any("guest may not" in each["details"]["reason"] for each in scene.facts("request_refused")))

    # A member, whatever their token's roles.
    assert service.api.put("/v1/projects/shop/members/guest", json={"role": "viewer"}).is_success
    eventually(lambda: shows(guest).is_success)
    seen = told(shows(guest, **{"X-Twin-User": "admin", "Upgrade": "websocket", "Connection": "Upgrade"}))
    assert seen["headers"]["X-Twin-User"] == "guest", "nobody gives themselves a name"
    assert seen["headers"]["Upgrade"] == "websocket"
    assert "Authorization" not in seen["headers"]
    assert guest not in str(seen)
    assert service.api.delete("/v1/projects/shop/members/guest").is_success
    eventually(lambda: shows(guest).status_code == httpx.codes.FORBIDDEN)


def test_without_the_twin_the_door_is_shut(scene: Scene, browser: Browser) -> None:
    service, url = scene.service, scene.url
    browser.goes(f"{url}/")
    told(browser.sends((service.directory / "token").read_text().strip()))
    service.kill(scene.process)
    for headers in (PAGE, {}):
        answer = browser.client.get(f"{url}/", headers=headers)
        assert answer.status_code == httpx.codes.BAD_GATEWAY
        assert "path" not in answer.text
    service.serve()
    told(browser.goes(f"{url}/"))


def test_nobody_is_sent_elsewhere(scene: Scene, browser: Browser) -> None:
    service, url = scene.service, scene.url
    token = (service.directory / "token").read_text().strip()
    login = f"{service.url}/doors/{scene.environment}/web"
    for to in ("//evil.example", "/\\evil.example", "https://evil.example", "/a\r\nSet-Cookie: a=b", "javascript:x"):
        answer = asks(login, "POST", data={"token": token, "to": to, "browser": "x"})
        where = urlsplit(answer.headers["Location"])
        assert f"{where.scheme}://{where.netloc}" == url
        assert parse_qs(where.query)["to"] == ["/"]
        code = parse_qs(where.query)["code"][0]
        assert asks(answer.headers["Location"]).status_code == httpx.codes.UNAUTHORIZED, code
    browser.goes(f"{url}//evil.example/")
    assert told(browser.sends(token))["path"] == "/"
    assert asks(f"{service.url}/doors/{scene.environment}/app").status_code == httpx.codes.NOT_FOUND
    assert asks(f"{service.url}/doors/env_%00/web").status_code == httpx.codes.NOT_FOUND
