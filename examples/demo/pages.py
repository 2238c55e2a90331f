"""The demo's own pages, under a policy that lets in nothing from elsewhere and no inline script."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.requests import HTTPConnection
from fastapi.responses import Response
from fastapi.templating import Jinja2Templates

templates = Jinja2Templates(Path(__file__).parent / "templates")

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    # Not "no-referrer": browsers would then send "Origin: null" with our own forms.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def page(request: Request, name: str, *, status: int = 200, **values: Any) -> Response:
    """A page; each template sees the `session`, or None."""
    values["session"] = request.state.session
    return templates.TemplateResponse(request, name, values, status_code=status, headers=HEADERS)


def error_page(request: Request, status: int, headers: Mapping[str, str] | None = None) -> Response:
    """A page for who came to a wrong address, with `headers` that the status wants."""
    response = page(request, "error.html", status=status)
    response.headers.update(headers or {})
    return response


def wants_page(connection: HTTPConnection) -> bool:
    """Whether a person asks, with a browser; WebSockets, which are refused like requests, want none."""
    return connection.scope["type"] == "http" and "text/html" in connection.headers.get("accept", "")


def local_path(wanted: str) -> str:
    """Where to go after a sign-in: the path that was asked for, or the private page.

    Anybody can write a link to our form.  Browsers leave the site at ``//``, ``/\\`` and even a slash, a tab and a
    slash, so what may stand in a path is named, not what may not.
    """
    return wanted if re.fullmatch(r"(/[A-Za-z0-9_-]+)+", wanted) else "/private"
