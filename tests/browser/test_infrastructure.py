"""The tests' own tools find what they are there to find."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from .conftest import Window
from .looking import PHONE, barriers, overflow
from .serving import Site
from .watching import until

PAGE = '<!doctype html><html lang="en"><title>T</title><main><h1>T</h1>{}</main>'


def app(body: str, policy: str = "default-src 'none'; script-src 'unsafe-inline'") -> Starlette:
    async def page(_: Request) -> HTMLResponse:
        return HTMLResponse(PAGE.format(body), headers={"content-security-policy": policy})

    return Starlette(routes=[Route("/", page)])


def test_a_page_without_faults_has_no_complaints(serve: Callable[..., Site], window: Callable[..., Window]) -> None:
    page = window().open(serve(app("<p>Hello")).url)
    assert barriers(page) == []
    assert overflow(page) == 0


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("<script>console.error('oh')</script>", "error: oh"),
        ("<script>throw new Error('thrown')</script>", "uncaught: .*thrown"),
        ("<script>fetch('/nowhere').catch(() => {})</script>", "policy: connect-src"),
    ],
)
def test_complaints_of_the_browser_are_heard(
    serve: Callable[..., Site], window: Callable[..., Window], body: str, complaint: str
) -> None:
    watched = window()
    page = watched.open(serve(app(body)).url)
    until(page, lambda: re.search(complaint, "; ".join(watched.watch.complaints)))
    with pytest.raises(AssertionError, match=complaint):
        watched.watch.check()
    watched.watch.expect("")


def test_axe_finds_a_picture_without_a_text(serve: Callable[..., Site], window: Callable[..., Window]) -> None:
    page = window().open(serve(app("<img width=9 height=9>")).url)
    assert "image-alt" in " ".join(barriers(page))


def test_a_page_wider_than_a_phone_is_noticed(serve: Callable[..., Site], window: Callable[..., Window]) -> None:
    body = "<pre>" + "wide" * 200 + "</pre>"
    page = window(viewport=PHONE).open(serve(app(body)).url)
    assert overflow(page) > 0
