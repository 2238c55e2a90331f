"""Every Python block of the README and the docs runs, in order, as it stands."""

from __future__ import annotations

import ast
import asyncio
import inspect
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fastapi import Depends, FastAPI
from starlette.testclient import TestClient, WebSocketDenialResponse

import ductape_asgi
from ductape_asgi import (
    CookiePolicy,
    DuctapeError,
    DuctapeMiddleware,
    IssuedSession,
    Session,
    Sessions,
    TagPolicy,
    new_access_key,
)
from ductape_fastapi import require_role

ROOT = Path(__file__).parent.parent
# By Litestar 2.25, for the form that all versions take.
pytestmark = pytest.mark.filterwarnings("ignore:.*Inferred dependency field")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> Iterator[str]:
    for found in re.finditer(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        line = page.read_text()[: found.start()].count("\n") + 1
        yield "\n" * line + found[1]


async def run(page: Path, names: dict[str, Any]) -> None:
    """Run the blocks of a page in one namespace; they may `await`, as in a notebook."""
    for block in blocks(page):
        # `dont_inherit`: not with this module's annotations, which are text.
        code = compile(block, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
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


def test_the_pages_and_the_socket_of_the_readme_are_for_whom_it_says(names: dict[str, Any]) -> None:
    asyncio.run(run(PAGES[0], names))
    home = "https://testserver"
    with TestClient(names["app"], base_url=home, headers={"Origin": home}) as client:
        given = {"name": "bob", "password": "maple-syrup-42"}
        assert client.get("/auth/dashboard").status_code == 401
        assert client.post("/auth/login", json={**given, "password": "wrong"}).status_code == 401
        for odd in ({"password": "maple-syrup-42"}, {**given, "name": ["bob"]}, ["bob"]):
            assert client.post("/auth/login", json=odd).status_code == 401
        assert client.post("/auth/login", json=given).status_code == 200
        assert "bob" in client.get("/auth/dashboard").text
        assert client.get("/operators/").status_code == 403
        cookies = {"Cookie": f"{ACCESS}={client.cookies[ACCESS]}"}  # the client sends no Secure cookie over ws://
        with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect("/live", headers=cookies):
            raise AssertionError("somebody without the role was let in")
        assert denied.value.status_code == 403
        admin = client.post("/login", headers={"Cookie": ""}).json()["token"]
        headers = {"Authorization": f"Bearer {admin}"}
        assert client.get("/operators/", headers=headers).status_code == 200
        with client.websocket_connect("/live", headers=headers) as live:
            live.send_text("hello")
            assert live.receive_text() == "hello"


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


def test_the_app_of_the_docs_goes_on_without_an_access_cookie(browser: TestClient) -> None:
    browser.post("/login", data=LOGIN)
    browser.cookies.delete(ACCESS)
    assert browser.get("/me").json() == "you are ann"
    assert ACCESS in browser.cookies


PERSON = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def test_a_person_is_led_to_the_form_and_back_to_a_page(browser: TestClient) -> None:
    browser.follow_redirects = True
    form = browser.get("/", headers=PERSON)
    assert (form.url.path, '<form method="post" action="/login">' in form.text) == ("/login", True)
    page = browser.post("/login", data=LOGIN, headers=PERSON)
    assert (page.url.path, '<form method="post" action="/logout">' in page.text) == ("/", True)
    assert browser.post("/logout", headers=PERSON).url.path == "/login"


def test_a_page_opened_late_is_served_with_new_cookies(browser: TestClient) -> None:
    browser.post("/login", data=LOGIN)
    browser.cookies.delete(ACCESS)
    browser.follow_redirects = True
    assert browser.get("/me", headers=PERSON).json() == "you are ann"
    assert ACCESS in browser.cookies


def test_a_cookie_refused_for_another_reason_is_not_renewed_for_ever(browser: TestClient) -> None:
    browser.post("/login", data=LOGIN)
    refresh = browser.cookies.get(f"{ACCESS}-refresh")
    browser.cookies.clear()
    cookies = f"{ACCESS}=junk; {ACCESS}-refresh={refresh}"
    answer = browser.get("/me", headers={**PERSON, "Cookie": cookies})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert "set-cookie" not in answer.headers


def test_a_form_of_the_docs_carries_a_token_of_its_session(names: dict[str, Any]) -> None:
    asyncio.run(run(ROOT / "docs" / "cookies.md", names))
    issued = asyncio.run(names["strict"].start(tag="user-session", data={"userId": "ann"}))
    (token,) = re.findall(r'name="csrf_token" value="([^"]+)"', names["order_form"](issued))
    names["strict"].context().csrf_tokens.check(issued.session_id, (token,))


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
    browser.cookies.delete(ACCESS)
    assert browser.get("/me").status_code == 401


@pytest.mark.parametrize("path", ["/login", "/logout"])
@pytest.mark.parametrize("expired", [False, True])
def test_the_handlers_of_the_docs_answer_no_other_site(browser: TestClient, path: str, expired: bool) -> None:
    browser.post("/login", data=LOGIN)
    if expired:
        browser.cookies.delete(ACCESS)
    answer = browser.post(path, data=LOGIN, headers={"Origin": "https://evil.example"})
    assert (answer.status_code, answer.json()["code"]) == (403, "csrf_rejected")
    assert browser.get("/me").json() == "you are ann"


def test_the_plain_asgi_answer_of_the_docs_signs_in(browser: TestClient, names: dict[str, Any]) -> None:
    answer = TestClient(names["callback"], follow_redirects=False).get("/")
    assert (answer.status_code, answer.headers["cache-control"]) == (303, "no-store")
    assert browser.get("/me", headers={"Cookie": f"{ACCESS}={answer.cookies[ACCESS]}"}).json() == "you are ann"


def bearer(issued: IssuedSession) -> dict[str, str]:
    return {"Authorization": f"Bearer {issued.token}"}


def test_the_def_handler_and_the_typed_handler_of_the_docs_work(names: dict[str, Any]) -> None:
    asyncio.run(run(ROOT / "docs" / "sessions.md", names))
    with TestClient(names["threaded"]) as client:
        start = names["sessions"].start
        headers = bearer(client.portal.call(lambda: start(tag="user-session", data={"userId": "bob"})))
        assert client.post("/sign-out-everywhere", headers=headers).json() == 1
        assert client.post("/sign-out-everywhere", headers=headers).status_code == 401
    with TestClient(names["shop"]) as client:
        start = names["typed"].start
        issued = client.portal.call(lambda: start(tag="shopper", data={"userId": "bob", "cart": ["tape"]}))
        assert client.get("/cart", headers=bearer(issued)).json() == ["tape"]


@pytest.fixture
def people(names: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Headers of an admin, of a clerk who may write orders, and of nobody, for the apps of the page on middleware."""
    asyncio.run(run(ROOT / "docs" / "middleware.md", names))

    async def start(**data: Any) -> dict[str, str]:
        return bearer(await names["sessions"].start(tag="user-session", data=data))

    return {
        "admin": asyncio.run(start(userId="ann", role="admin")),
        "clerk": asyncio.run(start(userId="bob", permissions=["orders:write"])),
        "nobody": {},
    }


@pytest.mark.parametrize(
    ("app", "path", "statuses"),
    [
        ("guarded_app", "/", (200, 403, 401)),
        ("starlette_app", "/books", (200, 403, 401)),
        ("starlette_app", "/orders", (403, 200, 403)),
    ],
)
def test_the_guards_of_the_docs_let_pass_whom_the_page_says(
    names: dict[str, Any], people: dict[str, dict[str, str]], app: str, path: str, statuses: tuple[int, ...]
) -> None:
    with TestClient(names[app]) as client:
        answers = [client.get(path, headers=headers) for headers in people.values()]
        assert tuple(answer.status_code for answer in answers) == statuses
        assert (answers[-1].text == "Forbidden") is (path == "/orders")


def test_the_socket_of_the_docs_is_for_sessions(names: dict[str, Any], people: dict[str, dict[str, str]]) -> None:
    with TestClient(names["api"]) as client:
        with client.websocket_connect("/chat", headers=people["clerk"]) as socket:
            assert socket.receive_text() == "hello, bob"
        with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect("/chat"):
            raise AssertionError("a socket without a session was opened")
        assert refused.value.status_code == 401
        cookie = people["clerk"]["Authorization"].replace("Bearer ", f"{ACCESS}=")
        with (
            pytest.raises(WebSocketDenialResponse) as refused,
            client.websocket_connect("/chat", headers={"Cookie": cookie}),
        ):
            raise AssertionError("a cookie without an origin was accepted")
        assert refused.value.status_code == 403


def test_a_preflight_of_the_docs_lets_json_be_posted(names: dict[str, Any]) -> None:
    asyncio.run(run(ROOT / "docs" / "middleware.md", names))
    asking = {
        "Origin": "https://app.example.com",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    assert TestClient(names["closed"]).options("/orders", headers=asking).status_code == 200


def test_the_rolling_of_keys_in_the_docs_loses_no_key_on_the_way(names: dict[str, Any]) -> None:
    add, promote, retire = re.findall(r"^\$ (NEXT=.*)$", (ROOT / "docs" / "keys.md").read_text(), re.MULTILINE)
    script = "\n".join(f"{step}; echo $DUCTAPE_ACCESS_KEY" for step in (add, add, promote, retire))
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    answer = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, env=environment)
    old = os.environ["DUCTAPE_ACCESS_KEY"]
    both, again, promoted, retired = answer.stdout.split()
    assert both.startswith(f"{old},dak_")
    assert (again, promoted, retired) == (both, f"{retired},{old}", both.removeprefix(f"{old},"))


def rows(page: str, head: str) -> list[list[str]]:
    """The names in the first two columns of the table under `head`."""
    table = (ROOT / "docs" / page).read_text().split(head)[1].split("\n\n")[0]
    lines = [line.split("|")[1:3] for line in table.splitlines()[2:]]
    return [[*re.findall(r"`(\w+)(?:\(\))?`", first), second.strip()] for first, second in lines]


@pytest.mark.parametrize("kind", [IssuedSession, Session])
def test_the_page_on_sessions_has_every_field(kind: type) -> None:
    named = [name for row in rows("sessions.md", f"| `{kind.__name__}` | is |") for name in row[:-1]]
    assert sorted(named) == sorted(name for name in dir(kind) if not name.startswith("_"))


def test_the_page_on_sessions_has_every_error_and_its_status() -> None:
    named = {row[0]: int(row[-1]) for row in rows("sessions.md", "| error | status | when |")}
    errors = [kind for kind in vars(ductape_asgi).values() if isinstance(kind, type) and issubclass(kind, DuctapeError)]
    assert named == {kind.__name__: kind.status for kind in errors if kind is not DuctapeError}


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
