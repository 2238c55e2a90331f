"""Every Python block of the README and the docs runs, in order, as it stands."""

from __future__ import annotations

import ast
import asyncio
import inspect
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from starlette.testclient import TestClient

from ductape_asgi import CookiePolicy, DuctapeMiddleware, Sessions, TagPolicy, new_access_key
from ductape_fastapi import require_role

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> Iterator[str]:
    for found in re.finditer(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        line = page.read_text()[: found.start()].count("\n") + 1
        yield "\n" * line + found[1]


async def run(page: Path, names: dict[str, Any]) -> None:
    """Run the blocks of a page in one namespace; they may `await`, as in a notebook."""
    for block in blocks(page):
        code = compile(block, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, names)
        if inspect.isawaitable(result):
            await result


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What a reader has at hand who comes from the quickstart."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DUCTAPE_ACCESS_KEY", new_access_key())
    monkeypatch.setenv("DUCTAPE_PRODUCT", "shop")
    monkeypatch.setenv("DUCTAPE_ENV", "test")
    sessions = Sessions.from_env(tags=[TagPolicy("user-session")])
    given = {"Depends": Depends, "DuctapeMiddleware": DuctapeMiddleware, "require_role": require_role}
    page = ModuleType("page")  # a module, where annotations and dataclasses look up names
    monkeypatch.setitem(sys.modules, "page", page)
    page.__dict__.update(app=FastAPI(), sessions=sessions, **given)
    yield page.__dict__
    logging.getLogger("ductape_asgi.audit").setLevel(logging.NOTSET)  # the docs show how to raise it


@pytest.mark.filterwarnings(
    "ignore:.*Inferred dependency field"
)  # by Litestar 2.25, for the form that all versions take
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_runs_as_it_stands(page: Path, names: dict[str, Any]) -> None:
    asyncio.run(run(page, names))


def test_the_quickstart_does_what_the_readme_says(names: dict[str, Any]) -> None:
    asyncio.run(run(PAGES[0], names))
    with TestClient(names["app"]) as client:
        token = client.post("/login").json()["token"]
        headers = {"Authorization": f"Bearer {token}"}
        assert client.get("/me", headers=headers).json() == {"userId": "ann", "role": "admin"}
        assert client.get("/admin", headers=headers).json() == "hello, admin"
        assert client.get("/me").json()["code"] == "missing_token"


@pytest.fixture
def browser(names: dict[str, Any]) -> Iterator[TestClient]:
    """A browser at the app of the page on cookies."""
    asyncio.run(run(ROOT / "docs" / "cookies.md", names))
    home = "https://testserver"
    with TestClient(names["web"], base_url=home, headers={"Origin": home}, follow_redirects=False) as client:
        yield client


LOGIN = {"user_id": "ann", "password": "maple-syrup-42"}
ACCESS = "__Host-ductape"


def test_the_login_of_the_docs_sets_cookies_that_work(browser: TestClient) -> None:
    assert browser.post("/login", data={**LOGIN, "password": "wrong"}).status_code == 401
    assert browser.post("/login", data=LOGIN).status_code == 303
    assert browser.get("/me").json() == "you are ann"


def test_the_refresh_of_the_docs_works_without_an_access_cookie(browser: TestClient) -> None:
    browser.post("/login", data=LOGIN)
    browser.cookies.delete(ACCESS)
    assert browser.get("/me").status_code == 401
    assert browser.post("/refresh").status_code == 204
    assert browser.get("/me").json() == "you are ann"


@pytest.mark.parametrize("expired", [False, True])
def test_the_logout_of_the_docs_ends_the_session_itself(browser: TestClient, expired: bool) -> None:
    browser.post("/login", data=LOGIN)
    kept = dict(browser.cookies)
    if expired:
        browser.cookies.delete(ACCESS)
    assert browser.post("/logout").status_code == 303
    assert not browser.cookies
    browser.cookies.update(kept)
    assert browser.get("/me").status_code == 401
    assert browser.post("/refresh").status_code == 401


@pytest.mark.parametrize("path", ["/login", "/refresh", "/logout"])
@pytest.mark.parametrize("expired", [False, True])
def test_the_handlers_of_the_docs_answer_no_other_site(browser: TestClient, path: str, expired: bool) -> None:
    browser.post("/login", data=LOGIN)
    if expired:
        browser.cookies.delete(ACCESS)
    answer = browser.post(path, data=LOGIN, headers={"Origin": "https://evil.example"})
    assert (answer.status_code, answer.json()["code"]) == (403, "csrf_rejected")
    assert browser.post("/refresh").status_code == 204


@pytest.mark.parametrize("kind", [Sessions, TagPolicy, CookiePolicy, DuctapeMiddleware])
def test_the_page_on_settings_has_every_argument_and_no_other(kind: type) -> None:
    text = (ROOT / "docs" / "settings.md").read_text().split(f"## {kind.__name__}\n")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE)
    named = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    assert named == list(inspect.signature(kind).parameters)


def test_the_quickstart_is_short(names: dict[str, Any]) -> None:
    quickstart = next(block for block in blocks(PAGES[0]) if "new_access_key" in block)
    statements = [line for line in quickstart.splitlines() if line.strip()]
    assert len(statements) <= 20


@pytest.mark.parametrize("page", [*PAGES, *sorted(ROOT.glob("*.md"))], ids=lambda page: page.name)
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    assert not [target for target in targets if not (page.parent / target).exists()]
