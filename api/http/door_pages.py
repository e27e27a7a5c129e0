"""The two pages of a login. Plain: the twin's answers let no style, script or picture in."""

from __future__ import annotations

from html import escape
from urllib.parse import urlsplit

from twin.domain.errors import Problem
from twin.service.doors import Door

HTML = "text/html"

_FRAME = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title></head>
<body><main>
<h1>{title}</h1>
{body}
</main></body>
</html>
"""


def login_page(door: Door, to: str, browser: str, problem: Problem | None = None) -> str:
    """A form that takes a token, for what was asked for at a route."""
    host = urlsplit(door.url).netloc
    said = f'<p role="alert"><strong>{_told(problem)}</strong></p>\n' if problem is not None else ""
    body = f"""{said}<p>{escape(host)} belongs to {escape(door.name)} and lets in who has a place there.
Show your token of the twin; it stays here.</p>
<form method="post">
<input type="hidden" name="to" value="{escape(to)}">
<input type="hidden" name="browser" value="{escape(browser)}">
<p><label>Token <input type="password" name="token" autocomplete="off" required autofocus></label>
<button>Enter {escape(host)}</button></p>
</form>"""
    return _FRAME.format(title=f"Enter {escape(host)}", body=body)


def refused_page(to: str, problem: Problem) -> str:
    """Why a login did not come to its end, and how to begin anew."""
    body = f'<p>{_told(problem)}</p>\n<p><a href="{escape(to)}">Try again</a></p>'
    return _FRAME.format(title="Not let in", body=body)


def _told(problem: Problem) -> str:
    text = problem.message[:1].upper() + problem.message[1:]
    return escape(f"{text}. {problem.mend or ''}".strip())
