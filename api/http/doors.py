"""Doors: what the proxy before a preview asks about each request, and the way of a browser from there to the twin,
where a token is shown, and back.

The proxy sends what it was asked for (`pass`), and `/.twin/login` of its own host (`session`). Whatever else answers
than `pass`, and by anything but 204 with the door's name, keeps the door shut.
"""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import parse_qs, urlencode, urlsplit

from litestar import Controller, Request, Response, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import HeaderParameter, PathParameter, QueryParameter
from litestar.status_codes import HTTP_200_OK, HTTP_204_NO_CONTENT, HTTP_302_FOUND, HTTP_303_SEE_OTHER

from api.http.bodies import read_body
from api.http.description import Answer, Body, Content, described
from api.http.door_pages import HTML, login_page, refused_page
from api.http.problems import Malformed
from api.services import Services
from twin.domain.errors import Forbidden, Unauthenticated
from twin.service.doors import SESSION, Door, browser_of, fresh_nonce
from twin.service.principals import Request as Asked

COOKIE = "twin-door"
"""What a browser shows; with `__Host-` before it where people come in by https. The proxy takes it from the app."""

NONCE_COOKIE = "twin-door-nonce"
"""What a browser alone knows from when it is sent to the twin until it comes back."""

NONCE_SECONDS = 15 * 60
"""How long a person has to find their token."""

FORM = "application/x-www-form-urlencoded"

_NONCE = re.compile(r"[-_A-Za-z0-9]{43}")
_LOCAL = re.compile(r"/(?![/\\])[!-~]{0,2000}")

EnvironmentPath = Annotated[str, PathParameter(description="For example env_01JZX4T2M8Q3V5W7Y9A1B3C5D7")]
ComponentPath = Annotated[str, PathParameter(description="The route, for example web")]
To = Annotated[str, QueryParameter(description="The path, with its query, that was asked for at the route")]
Browser = Annotated[str, QueryParameter(description="Names the browser that was sent here; made by the door")]
ForwardedUri = Annotated[str, HeaderParameter(name="X-Forwarded-Uri", description="What is asked for")]
ForwardedMethod = Annotated[str, HeaderParameter(name="X-Forwarded-Method", description="The method, GET if none")]
LoginAt = Annotated[
    str | None,
    HeaderParameter(name="X-Twin-Login", description="Where browsers reach the twin; without it nobody is sent there"),
]

_PAGE = Content(type=str, example="<!doctype html>…", media_type=HTML)
_ENTERED = {"X-Twin-Door": "Which door is open", "X-Twin-User": "Who enters"}


class DoorController(Controller):
    """`/doors/{environment_id}/{component}`"""

    path = "/doors/{environment_id:str}/{component:str}"
    tags = ("doors",)

    @get(
        "/pass",
        opt=described(
            {
                204: Answer(says="They may enter", headers=_ENTERED),
                302: Answer(says="To the login; for browsers that go to a page", headers={"Location": "The login"}),
            },
            problems=(401, 403, 503),
            public=True,
        ),
    )
    async def may_pass(
        self,
        request: Request[Any, Any, Any],
        services: NamedDependency[Services],
        environment_id: EnvironmentPath,
        component: ComponentPath,
        uri: ForwardedUri = "/",
        method: ForwardedMethod = "GET",
        login: LoginAt = None,
    ) -> Response[None]:
        """Whether somebody may pass a door: by the cookie of a login there, or by a token. Asked by the route's proxy
        with the headers of the request that it has."""
        door = await services.doors.door(environment_id, component)
        entering = await services.doors.by_session(door, request.cookies.get(_named(COOKIE, door), ""))
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if entering is None and scheme.casefold() == "bearer":
            entering = await services.tokens.authenticate(token.strip())
            request.scope["user"] = entering  # whose refusal is recorded
            services.doors.check(door, entering)
        if entering is not None:
            request.scope["state"]["principal"] = entering.name
            headers = {"X-Twin-Door": f"{environment_id}/{component}", "X-Twin-User": entering.name}
            return Response(None, status_code=HTTP_204_NO_CONTENT, headers=headers)
        if login is None or urlsplit(login).scheme not in ("http", "https") or not _navigates(request, method):
            raise Unauthenticated(
                "this route asks for a token of the twin",
                field="Authorization",
                mend="Send Authorization: Bearer TOKEN, or open the link in a browser.",
            )
        nonce = request.cookies.get(_named(NONCE_COOKIE, door), "")
        if not _NONCE.fullmatch(nonce):  # else another tab is on its way
            nonce = fresh_nonce()
        query = urlencode({"to": _local(uri), "browser": browser_of(nonce)})
        return Response(
            None,
            status_code=HTTP_302_FOUND,
            headers={"Location": f"{login.rstrip('/')}/doors/{environment_id}/{component}?{query}"},
            cookies=[_cookie(NONCE_COOKIE, door, nonce, NONCE_SECONDS)],
        )

    @get(
        "/",
        opt=described(
            {200: Answer(says="A form that takes a token", contents=(_PAGE,))}, problems=(422, 503), public=True
        ),
    )
    async def show_login(
        self,
        services: NamedDependency[Services],
        environment_id: EnvironmentPath,
        component: ComponentPath,
        to: To = "/",
        browser: Browser = "",
    ) -> Response[str]:
        """The page on which a person shows their token."""
        door = await services.doors.door(environment_id, component)
        return Response(login_page(door, _local(to), browser), status_code=HTTP_200_OK, media_type=HTML)

    @post(
        "/",
        status_code=HTTP_303_SEE_OTHER,
        opt=described(
            {
                303: Answer(says="Back to the route, with a code that is good once", headers={"Location": "There"}),
                401: Answer(says="The form again: no such token", contents=(_PAGE,)),
                403: Answer(says="The form again: they may not enter", contents=(_PAGE,)),
            },
            body=Body(type=None, media_type=FORM),
            problems=(503,),
            public=True,
        ),
    )
    async def log_in(
        self,
        request: Request[Any, Any, Any],
        services: NamedDependency[Services],
        environment_id: EnvironmentPath,
        component: ComponentPath,
    ) -> Response[Any]:
        """Take the token, which goes no further. Only the browser that came from the door gets anything of it."""
        door = await services.doors.door(environment_id, component)
        token, to, browser = _given(await read_body(request, FORM), "token", "to", "browser")
        try:
            entering = await services.tokens.authenticate(token.strip())
            request.scope["state"]["principal"] = entering.name
            services.doors.check(door, entering)
        except (Unauthenticated, Forbidden) as problem:
            request.scope["state"]["problem"] = problem.code
            if isinstance(problem, Forbidden):
                asked = Asked(entering, request.scope["state"]["request_id"])
                await services.refusals.record(asked, f"POST {request.scope['path']}", problem.message)
            page = login_page(door, _local(to), browser, problem)
            return Response(page, status_code=problem.status, media_type=HTML)
        query = urlencode({"code": services.doors.code(door, token.strip(), browser), "to": _local(to)})
        return Response(None, status_code=HTTP_303_SEE_OTHER, headers={"Location": f"{door.url}/.twin/login?{query}"})

    @get(
        "/session",
        status_code=HTTP_303_SEE_OTHER,
        opt=described(
            {
                303: Answer(says="In; to what was asked for at first", headers={"Location": "A path of the route"}),
                401: Answer(says="A page that says why not", contents=(_PAGE,)),
            },
            problems=(503,),
            public=True,
        ),
    )
    async def enter(
        self,
        request: Request[Any, Any, Any],
        services: NamedDependency[Services],
        environment_id: EnvironmentPath,
        component: ComponentPath,
        code: Annotated[str, QueryParameter(description="What the login gave")] = "",
        to: To = "/",
    ) -> Response[Any]:
        """The end of a login: `/.twin/login` of the route's host, which its proxy sends here. Sets the cookie there."""
        door = await services.doors.door(environment_id, component)
        nonce = request.cookies.get(_named(NONCE_COOKIE, door), "")
        try:
            session = await services.doors.enter(door, code, nonce, request.scope["state"]["request_id"])
        except Unauthenticated as problem:
            request.scope["state"]["problem"] = problem.code
            return Response(refused_page(_local(to), problem), status_code=problem.status, media_type=HTML)
        return Response(
            None,
            status_code=HTTP_303_SEE_OTHER,
            headers={"Location": _local(to)},
            cookies=[
                _cookie(COOKIE, door, session, int(SESSION.total_seconds())),
                _cookie(NONCE_COOKIE, door, "", 0),
            ],
        )


def _navigates(request: Request[Any, Any, Any], method: str) -> bool:
    """Whether a person's browser goes to a page, and does not fetch something for one."""
    mode = request.headers.get("Sec-Fetch-Mode")
    html = mode == "navigate" if mode is not None else HTML in request.headers.get("Accept", "")
    return html and method in ("GET", "HEAD")


def _given(form: bytes, *names: str) -> list[str]:
    try:
        fields = parse_qs(form.decode("latin-1"), max_num_fields=20)
    except ValueError:
        raise Malformed("the form has too many fields", mend="Send the form as it was shown.") from None
    return [fields.get(name, [""])[0] for name in names]


def _local(uri: str) -> str:
    """A path of the same host, whatever is given: no browser is sent elsewhere."""
    return uri if _LOCAL.fullmatch(uri) else "/"


def _named(cookie: str, door: Door) -> str:
    return f"__Host-{cookie}" if door.url.startswith("https://") else cookie


def _cookie(name: str, door: Door, value: str, seconds: int) -> Cookie:
    """One that the route's host alone gets back, and no script of the app reads."""
    return Cookie(
        key=_named(name, door),
        value=value,
        max_age=seconds,
        path="/",
        httponly=True,
        samesite="lax",
        secure=door.url.startswith("https://"),
    )
