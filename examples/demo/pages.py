"""Pages without a line of script, under a policy that would allow none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from fastapi.templating import Jinja2Templates

templates = Jinja2Templates(Path(__file__).parent / "templates")

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    # Not "no-referrer": browsers would then send "Origin: null" with our own forms.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def page(request: Request, name: str, *, status: int = 200, **values: Any) -> Response:
    """A page; each template sees the `session`, or None."""
    values["session"] = request.state.session
    return templates.TemplateResponse(request, name, values, status_code=status, headers=HEADERS)


def error_page(request: Request, status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """A page that says what went wrong, with `headers` that the status wants."""
    heading = "Not allowed" if status == 403 else "Not found"
    response = page(request, "error.html", status=status, heading=heading, message=message)
    response.headers.update(headers or {})
    return response


def local_path(wanted: str) -> str:
    """Where to go after a sign-in: the path that was asked for, or the private page.

    Anybody can write a link to our form.  Browsers leave the site at ``//``, ``/\\`` and even a slash, a tab and a
    slash, so what may stand in a path is named, not what may not.
    """
    return wanted if re.fullmatch(r"(/[A-Za-z0-9_-]+)+", wanted) else "/private"
