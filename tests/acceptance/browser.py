"""A browser as far as logins go: it keeps cookies by host, goes where it is sent, and finds every host here."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import httpx

PAGE = {"Accept": "text/html,*/*;q=0.8", "Sec-Fetch-Mode": "navigate"}


class _ThisMachine(httpx.HTTPTransport):
    """Not every system's resolver knows that names below `localhost` are loopback, as browsers do."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        there = request.url.copy_with(host="127.0.0.1")
        return super().handle_request(
            httpx.Request(request.method, there, headers=request.headers, stream=request.stream)
        )


def asks(url: str, method: str = "GET", **more: Any) -> httpx.Response:
    """A program that asks once, keeps nothing and goes nowhere by itself."""
    with httpx.Client(transport=_ThisMachine(), trust_env=False, timeout=30) as client:
        return client.request(method, url, **more)


class Browser:
    """Somebody's; to be closed."""

    def __init__(self) -> None:
        self.client = httpx.Client(transport=_ThisMachine(), trust_env=False, timeout=30)
        self.answer = httpx.Response(httpx.codes.OK)

    def goes(self, url: str, *, follow: bool = True) -> httpx.Response:
        """To a page."""
        self.answer = self.client.get(url, headers=PAGE, follow_redirects=follow)
        return self.answer

    def sends(self, token: str, *, follow: bool = True) -> httpx.Response:
        """Fills in the form of the page that it is at."""
        fields = {
            unescape(name): unescape(value)
            for name, value in re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', self.answer.text)
        }
        at = self.answer.url
        self.answer = self.client.post(at, data={**fields, "token": token}, headers=PAGE, follow_redirects=follow)
        return self.answer

    def cookie(self, name: str) -> str | None:
        """What it keeps."""
        return next((each.value for each in self.client.cookies.jar if each.name == name), None)
