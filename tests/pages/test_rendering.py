"""What every page has: escaping, the headers that keep strangers out, and files beside it."""

from __future__ import annotations

import re
import sys

import pytest
from starlette.requests import Request

from ductape_asgi import ConfigurationError
from ductape_asgi.pages.assets import assets, serve_asset
from ductape_asgi.pages.rendering import Renderer
from ductape_asgi.pages.strings import EVERYWHERE

pytestmark = pytest.mark.anyio


def request(query: str = "", **headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "path": "/", "query_string": query.encode(), "headers": raw})


def test_a_page_is_kept_by_nobody_and_framed_by_nobody() -> None:
    headers = Renderer(EVERYWHERE).page(request(), "base.html", now=0).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "Cookie" in headers["vary"]


def test_the_policy_allows_our_own_files_and_nothing_else() -> None:
    policy = Renderer(EVERYWHERE).page(request(), "base.html", now=0).headers["content-security-policy"]
    rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";"))
    assert rules.pop("require-trusted-types-for") == "'script'"
    assert rules.pop("default-src") == "'none'"
    assert rules.pop("base-uri") == rules.pop("frame-ancestors") == "'none'"
    assert set(rules) == {"script-src", "style-src", "img-src", "connect-src", "form-action"}
    assert set(rules.values()) == {"'self'"}


@pytest.mark.parametrize(("accepted", "language"), [("de-CH", "de"), ("en", "en"), ("pl", "en")])
def test_a_page_is_in_the_language_of_the_reader(accepted: str, language: str) -> None:
    page = Renderer(EVERYWHERE).page(request(accept_language=accepted), "base.html", now=0)
    assert f'<html lang="{language}">'.encode() in page.body
    assert page.headers["content-language"] == language
    assert "Accept-Language" in page.headers["vary"]


def test_an_app_may_settle_on_one_language() -> None:
    page = Renderer(EVERYWHERE, "de").page(request(accept_language="en"), "base.html", now=0)
    assert b'<html lang="de">' in page.body


def test_a_language_that_no_page_speaks_is_refused_when_it_is_built() -> None:
    with pytest.raises(ConfigurationError, match="language='fr'"):
        Renderer(EVERYWHERE, "fr")


async def test_a_file_that_a_page_links_to_is_kept_for_ever() -> None:
    asset = assets()["pages.css"]
    response = await serve_asset(request(asset.link.partition("?")[2]), "pages.css")
    assert response.status_code == 200
    assert response.body == asset.body
    assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert response.headers["content-type"] == "text/css; charset=utf-8"
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("query", ["", "v=", "v=0123456789abcdef"])
async def test_a_file_of_another_version_is_not_kept(query: str) -> None:
    response = await serve_asset(request(query), "pages.css")
    assert response.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("name", ["", "..", "../rendering.py", "../templates/base.html", "/etc/passwd", "pages.css/"])
async def test_no_other_file_is_served(name: str) -> None:
    assert (await serve_asset(request(), name)).status_code == 404


def test_without_jinja2_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ConfigurationError, match=re.escape('the pages need jinja2: pip install "ductape-asgi[pages]"')):
        Renderer(EVERYWHERE)
