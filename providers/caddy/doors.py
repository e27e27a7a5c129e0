"""A door that asks the twin: every request is first put to it, and comes to the app once it has said yes.

The twin's word is 204 with the door's own name: neither its absence nor anybody else at its address opens. What shows
who comes in, the token or the cookie, is taken away before the app.
"""

from __future__ import annotations

from typing import Any

from providers.caddy.spec import Route, dialled
from twin.domain.identity import ComponentRef

Json = dict[str, Any]

LOGIN_PATH = "/.twin/login"
"""The path of the route's host that is the twin's and not the app's."""

USER = "X-Twin-User"
"""By which the app learns who has come in. Nobody else sends it that."""

DISGUISES = ["X_Twin_User", "X-Twin_User", "X_Twin-User"]
"""What an app may take for that header: of CGI's and WSGI's variables, nobody can tell."""

_COOKIES = r"(^|;\s*)(?:__Host-)?twin-door(?:-nonce)?=[^;]*"


def handlers(ref: ComponentRef, route: Route) -> list[Json]:
    """What stands before the app."""
    door = f"{ref.environment}/{ref.component}"
    return [_login(door, route.twin), _question(door, route.twin, route.login.rstrip("/"))]


def hidden() -> Json:
    """Operations on a request's headers: the app is told neither token nor cookie."""
    return {
        "delete": ["Authorization", *DISGUISES],
        "replace": {"Cookie": [{"search_regexp": _COOKIES, "replace": ""}, {"search_regexp": r"^;\s*", "replace": ""}]},
    }


def _login(door: str, twin: str) -> Json:
    """The way back from the twin's login page."""
    asked = _twin(twin, f"/doors/{door}/session?{{http.request.uri.query}}", {})
    return {
        "handler": "subroute",
        "routes": [{"match": [{"path": [LOGIN_PATH]}], "handle": [asked], "terminal": True}],
    }


def _question(door: str, twin: str, login: str) -> Json:
    told = {
        "X-Forwarded-Method": ["{http.request.method}"],
        "X-Forwarded-Uri": ["{http.request.orig_uri}"],
        "X-Twin-Login": [login],
    }
    entered = {"handler": "headers", "request": {"set": {USER: [f"{{http.reverse_proxy.header.{USER}}}"]}}}
    return _twin(twin, f"/doors/{door}/pass?", told) | {
        "handle_response": [
            {"match": {"status_code": [204], "headers": {"X-Twin-Door": [door]}}, "routes": [{"handle": [entered]}]},
            # A success that is not the twin's: nobody is let in by it, nor shown it.
            {
                "match": {"status_code": [2]},
                "routes": [{"handle": [{"handler": "static_response", "status_code": 502}]}],
            },
        ]
    }


def _twin(twin: str, uri: str, told: Json) -> Json:
    address, secure = dialled(twin) or ("", False)
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": address}],
        "rewrite": {"method": "GET", "uri": uri},
        "headers": {
            "request": {
                # It is a question about the request, and no upgrade of a connection itself.
                "delete": ["Upgrade", "Connection"],
                "set": {"Host": ["{http.reverse_proxy.upstream.hostport}"], **told},
            }
        },
        **({"transport": {"protocol": "http", "tls": {}}} if secure else {}),
    }
