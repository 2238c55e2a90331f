"""The example app as people meet it: a server of its own, real cookies, a real SQLite file."""

from __future__ import annotations

import itertools
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

DEMO = Path(__file__).parent.parent / "examples" / "demo"


@dataclass
class Server:
    url: str
    folder: Path
    banner: str
    clients: list[httpx.Client] = field(default_factory=list)

    def browser(self, agent: str = "Mozilla/5.0 (X11; Linux) Firefox/140.0") -> httpx.Client:
        """A client with cookies of its own that says where its requests come from, as browsers do."""
        headers = {"User-Agent": agent, "Origin": self.url, "Accept": "text/html,*/*;q=0.8"}
        client = httpx.Client(base_url=self.url, headers=headers, follow_redirects=True)
        self.clients.append(client)
        return client

    def signed_in(self, name: str, agent: str = "Mozilla/5.0 (X11; Linux) Firefox/140.0") -> httpx.Client:
        browser = self.browser(agent)
        assert sign_in(browser, name, self.password_of(name)).url.path == "/private"
        return browser

    def password_of(self, name: str) -> str:
        found = re.search(rf"{name} / (\S+)", self.banner)
        assert found is not None
        return found[1]


def sign_in(browser: httpx.Client, name: str, password: str) -> httpx.Response:
    return browser.post("/sign-in", data={"user_id": name, "password": password})


def sign_out(browser: httpx.Client) -> httpx.Response:
    return browser.post("/auth/dashboard", data={"action": "sign_out"})


def session_id_of(browser: httpx.Client) -> str:
    session_id: str = browser.get("/auth/session").json()["sessionId"]
    return session_id


def open_socket(browser: httpx.Client) -> ClientConnection:
    """The WebSocket of the private page, as this browser opens it."""
    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    url = str(browser.base_url.join("/live").copy_with(scheme="ws"))
    return connect(url, origin=browser.headers["Origin"], additional_headers={"Cookie": cookies})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


#: The last line of what the demo prints at its start.
_LAST = "  Stop      Ctrl-C\n"


@contextmanager
def running(command: list[str], port: int, folder: Path) -> Iterator[Server]:
    """The demo, until it has ended; what it prints at its start is the banner."""
    with subprocess.Popen([*command, "--port", str(port)], cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        banner = "".join(itertools.takewhile(lambda line: line != _LAST, process.stdout))
        assert process.poll() is None, "the demo did not start"
        server = Server(f"http://127.0.0.1:{port}", folder, banner)
        try:
            with httpx.Client(transport=httpx.HTTPTransport(retries=10)) as probe:
                probe.get(server.url)
            yield server
        finally:
            for client in server.clients:
                client.close()
            process.send_signal(signal.SIGINT)
            process.wait(timeout=20)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running([sys.executable, str(DEMO)], free_port(), tmp_path_factory.mktemp("demo")) as server:
        yield server


def test_it_prints_what_to_open_and_what_to_sign_in_with(demo: Server) -> None:
    assert demo.url in demo.banner
    assert {demo.password_of("ann"), demo.password_of("bob")} < set(demo.banner.split())


def test_anybody_may_open_the_home_page(demo: Server) -> None:
    answer = demo.browser().get("/")
    assert (answer.status_code, answer.url.path) == (200, "/")


def test_the_private_page_leads_to_the_sign_in_form(demo: Server) -> None:
    answer = demo.browser().get("/private")
    assert (answer.status_code, answer.url.path) == (200, "/sign-in")


@pytest.mark.parametrize("path", ["/auth/dashboard", "/operators/"])
def test_the_pages_of_the_library_have_a_link_to_the_sign_in_form(demo: Server, path: str) -> None:
    answer = demo.browser().get(path)
    assert (answer.status_code, 'href="/sign-in"' in answer.text) == (401, True)


def test_signing_in_opens_the_private_page(demo: Server) -> None:
    answer = demo.signed_in("bob").get("/private")
    assert answer.status_code == 200
    assert "<dd>bob</dd>" in answer.text


def test_signing_in_opens_the_page_that_was_asked_for(demo: Server) -> None:
    browser = demo.browser()
    there = "/auth/dashboard"
    assert f'name="then" value="{there}"' in browser.get("/sign-in", params={"then": there}).text
    signing_in = {"user_id": "ann", "password": "wrong", "then": there}
    assert f'value="{there}"' in browser.post("/sign-in", data=signing_in).text
    answer = browser.post("/sign-in", data={**signing_in, "password": demo.password_of("ann")})
    assert (answer.status_code, answer.url.path) == (200, there)


ELSEWHERE = [
    "https://evil.example/",
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "/private\n",
    "/private/..//evil.example",
    "javascript:alert(1)",
    "evil.example",
    "",
]


@pytest.mark.parametrize("there", ELSEWHERE)
def test_signing_in_leads_to_no_other_site(demo: Server, there: str) -> None:
    browser = demo.browser()
    browser.follow_redirects = False
    assert 'name="then" value="/private"' in browser.get("/sign-in", params={"then": there}).text
    form = {"user_id": "bob", "password": demo.password_of("bob"), "then": there}
    answer = browser.post("/sign-in", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/private")
    answer = browser.get("/sign-in", params={"then": there})
    assert (answer.status_code, answer.headers["location"]) == (303, "/private")


def test_the_form_is_not_shown_to_whom_is_signed_in(demo: Server) -> None:
    browser = demo.signed_in("ann")
    assert browser.get("/sign-in").url.path == "/private"
    assert browser.get("/sign-in", params={"then": "/auth/dashboard"}).url.path == "/auth/dashboard"
    browser.cookies.delete("ductape")
    assert browser.get("/sign-in").url.path == "/private"


@pytest.mark.parametrize(("name", "password"), [("ann", "wrong"), ("nobody", "wrong"), ("ann", "é")])
def test_a_wrong_password_shows_the_form_again(demo: Server, name: str, password: str) -> None:
    browser = demo.browser()
    answer = sign_in(browser, name, password)
    assert answer.status_code == 401
    assert "Wrong name or password" in answer.text
    assert not browser.cookies


def test_passwords_are_not_tried_without_end(demo: Server) -> None:
    browser, name = demo.browser(), f"somebody-{uuid4()}"
    answers = [sign_in(browser, name, f"guess-{number}") for number in range(11)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    wait = answers[-1].headers["retry-after"]
    assert 1 <= int(wait) <= 30
    assert f"Try again in {wait} seconds" in answers[-1].text
    assert not browser.cookies
    assert demo.signed_in("ann").get("/private").status_code == 200  # others may


def test_another_site_cannot_sign_a_visitor_in(demo: Server) -> None:
    browser = demo.browser()
    browser.headers["Origin"] = "https://evil.example"
    answer = sign_in(browser, "bob", demo.password_of("bob"))
    assert (answer.status_code, answer.json()["code"]) == (403, "csrf_rejected")
    assert not browser.cookies


def test_another_site_cannot_sign_a_visitor_out(demo: Server) -> None:
    browser = demo.signed_in("bob")
    answer = browser.post("/auth/dashboard", data={"action": "sign_out"}, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert browser.get("/private").url.path == "/private"


def test_the_operators_page_is_for_ann_only(demo: Server) -> None:
    ann, bob = demo.signed_in("ann"), demo.signed_in("bob")
    assert (ann.get("/operators/").status_code, bob.get("/operators/").status_code) == (200, 403)
    page = ann.get("/operators/user", params={"identifier": "bob"})
    assert session_id_of(bob) in page.text


def test_an_operator_ends_the_sessions_of_somebody_else(demo: Server) -> None:
    ann, bob = demo.signed_in("ann"), demo.signed_in("bob")
    assert ann.post("/operators/user?identifier=bob", data={"action": "end_all"}).status_code == 200
    assert bob.get("/private").url.path == "/sign-in"
    assert ann.get("/private").url.path == "/private"


@pytest.mark.parametrize("path", ["/nope", "/static/nope.css", "/docs", "/redoc"])
def test_what_is_not_there_is_a_page_with_the_way_back(demo: Server, path: str) -> None:
    answer = demo.browser().get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "<h1>Not found</h1>" in answer.text
    assert '<a class="brand" href="/">' in answer.text


def test_a_method_that_an_address_does_not_take_is_told_what_it_takes(demo: Server) -> None:
    answer = demo.browser().post("/private")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


def test_programs_get_no_pages(demo: Server) -> None:
    answer = httpx.get(f"{demo.url}/nope")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})
    answer = httpx.get(f"{demo.url}/private")
    assert (answer.status_code, answer.json()["code"]) == (401, "missing_token")


def test_signing_out_ends_the_session_itself(demo: Server) -> None:
    browser = demo.signed_in("bob")
    stolen = dict(browser.cookies)
    assert "You are signed out" in sign_out(browser).text
    assert not browser.cookies
    thief = demo.browser()
    thief.cookies.update(stolen)
    assert thief.get("/private").url.path == "/sign-in"


def test_signing_out_ends_the_session_when_the_access_token_is_over(demo: Server) -> None:
    browser = demo.signed_in("bob")
    stolen = dict(browser.cookies)
    browser.cookies.delete("ductape")
    assert "You are signed out" in sign_out(browser).text
    thief = demo.browser()
    thief.cookies.update(stolen)
    assert thief.get("/private").url.path == "/sign-in"


def test_a_page_is_served_when_only_the_access_token_is_over(demo: Server) -> None:
    browser = demo.signed_in("bob")
    session_id = session_id_of(browser)
    browser.cookies.delete("ductape")
    answer = browser.get("/private")
    assert (answer.url.path, answer.history) == ("/private", [])
    assert session_id in answer.text
    assert "ductape" in browser.cookies


def test_a_cookie_refused_for_another_reason_leads_to_the_form(demo: Server) -> None:
    refresh = demo.signed_in("bob").cookies["ductape-refresh"]
    headers = {"Cookie": f"ductape=junk; ductape-refresh={refresh}"}
    answer = demo.browser().get("/private", headers=headers)
    assert (answer.status_code, answer.url.path) == (200, "/sign-in")
    assert "set-cookie" not in answer.history[0].headers


def test_signing_in_again_replaces_the_session(demo: Server) -> None:
    browser = demo.signed_in("bob")
    earlier = dict(browser.cookies)
    sign_in(browser, "bob", demo.password_of("bob"))
    thief = demo.browser()
    thief.cookies.update(earlier)
    assert thief.get("/private").url.path == "/sign-in"


def test_a_device_is_listed_by_its_name(demo: Server) -> None:
    browser = demo.signed_in("ann", "Mozilla/5.0 (Windows NT 10.0) Chrome/150.0 Safari/537.36")
    page = browser.get("/auth/dashboard").text
    assert "Chrome on Windows" in page
    assert "127.0.0.1" in page


def test_a_device_may_end_another_one_and_it_is_told_at_once(demo: Server) -> None:
    lost, here = demo.signed_in("ann"), demo.signed_in("ann")
    with open_socket(lost) as open_page, open_socket(here) as other_page:
        answer = here.post("/auth/dashboard", data={"action": "revoke", "session_id": session_id_of(lost)})
        assert (answer.status_code, answer.url.path) == (200, "/auth/dashboard")
        with pytest.raises(ConnectionClosed) as closed:
            open_page.recv(timeout=60)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4401
        other_page.ping().wait(60)
    assert lost.get("/private").url.path == "/sign-in"
    assert here.get("/private").url.path == "/private"


def test_the_socket_is_for_who_is_signed_in_and_for_our_own_pages(demo: Server) -> None:
    browser = demo.signed_in("bob")
    browser.headers["Origin"] = "https://evil.example"
    for refused, status in ((demo.browser(), 401), (browser, 403)):
        with pytest.raises(InvalidStatus) as denial:
            open_socket(refused)
        assert denial.value.response.status_code == status


def test_a_device_may_end_all_others(demo: Server) -> None:
    other, here = demo.signed_in("ann"), demo.signed_in("ann")
    assert here.post("/auth/dashboard", data={"action": "revoke_others"}).status_code == 200
    assert other.get("/private").url.path == "/sign-in"
    assert here.get("/private").url.path == "/private"


def test_the_session_of_somebody_else_looks_like_none(demo: Server) -> None:
    ann, bob = demo.signed_in("ann"), demo.signed_in("bob")
    ids = (session_id_of(ann), "no-such-session")
    answers = [bob.post("/auth/dashboard", data={"action": "revoke", "session_id": one}) for one in ids]
    assert {(answer.status_code, answer.text) for answer in answers} == {(404, answers[0].text)}
    assert ann.get("/private").url.path == "/private"


@pytest.mark.parametrize("path", ["/auth/dashboard", "/operators/user?identifier=ann"])
def test_what_a_client_calls_itself_is_escaped(demo: Server, path: str) -> None:
    page = demo.signed_in("ann", "<script>alert(1)</script>").get(path).text
    assert "&lt;script&gt;" in page
    assert "<script>alert" not in page


@pytest.mark.parametrize("path", ["/", "/private", "/sign-in", "/nope", "/auth/dashboard", "/operators/"])
@pytest.mark.parametrize("name", [None, "ann"])
def test_pages_have_no_inline_script_and_a_policy_that_would_allow_none(
    demo: Server, path: str, name: str | None
) -> None:
    browser = demo.browser() if name is None else demo.signed_in(name)
    answer = browser.get(path)
    assert not re.search(r"<script(?![^>]* src=\"[^\"/:]*/[^\":]*\")|<style| style=| on\w+=", answer.text)
    assert "default-src 'none'; script-src 'self'; style-src 'self';" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/", "/private", "/sign-in", "/nope", "/auth/dashboard", "/operators/"])
def test_what_pages_refer_to_is_there(demo: Server, path: str) -> None:
    browser = demo.signed_in("ann")
    page = browser.get(path)
    links = re.findall(r'(?:src|href)="([^"#]+)"', page.text)
    assert links
    assert {str(link): browser.get(page.url.join(link)).status_code for link in links} == dict.fromkeys(links, 200)


def test_the_script_of_the_pages_finds_what_it_asks_for(demo: Server) -> None:
    browser = demo.signed_in("ann")
    script, page = browser.get("/static/demo.js").text, browser.get("/private").text
    assert browser.get(re.findall(r'from "([^"]+)"', script)[0]).headers["content-type"].startswith("text/javascript")
    assert all(f'id="{name}"' in page for name in re.findall(r'querySelector\("#(\w+)"\)', script))


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(demo: Server) -> None:
    browser = demo.browser()
    form = {"user_id": "bob", "password": demo.password_of("bob")}
    answer = browser.post("/sign-in", data=form, follow_redirects=False)
    cookies = answer.headers.get_list("set-cookie")
    assert len(cookies) == 2
    assert all("HttpOnly" in cookie and "SameSite=Lax" in cookie for cookie in cookies)


def test_scripts_sign_in_with_json_and_use_a_bearer_token(demo: Server) -> None:
    with httpx.Client(base_url=demo.url) as script:
        given = {"userId": "bob", "password": demo.password_of("bob")}
        answer = script.post("/api/login", json=given)
        tokens = answer.json()
        me = script.get("/api/session", headers={"Authorization": f"Bearer {tokens['token']}"})
    assert answer.headers["cache-control"] == "no-store"
    assert set(tokens) == {"token", "refreshToken", "sessionId", "expiresAt", "sessionExpiresAt"}
    assert me.json()["data"] == {"userId": "bob", "name": "Bob", "role": "user"}


def test_scripts_refresh_and_sign_out(demo: Server) -> None:
    with httpx.Client(base_url=demo.url) as script:
        given = {"userId": "bob", "password": demo.password_of("bob")}
        first = script.post("/api/login", json=given).json()
        second = script.post("/api/refresh", json={"refreshToken": first["refreshToken"]}).json()
        headers = {"Authorization": f"Bearer {second['token']}"}
        assert second["sessionId"] == first["sessionId"]
        assert script.get("/api/session", headers=headers).status_code == 200
        assert script.post("/api/logout", headers=headers).status_code == 204
        assert script.get("/api/session", headers=headers).status_code == 401


@pytest.mark.parametrize(
    "given", [b"", b"junk", b"[]", b'{"userId": "bob"}', b'{"userId": "bob", "password": "wrong"}']
)
def test_scripts_with_wrong_credentials_get_nothing(demo: Server, given: bytes) -> None:
    answer = httpx.post(f"{demo.url}/api/login", content=given)
    assert (answer.status_code, answer.json()["code"]) == (401, "sign_in_refused")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer junk"}])
def test_scripts_get_problems_not_pages(demo: Server, headers: dict[str, str]) -> None:
    answer = httpx.get(f"{demo.url}/api/session", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_access_key_is_for_its_owner_only(demo: Server) -> None:
    key = demo.folder / ".ductape-demo" / "access-key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700


def test_the_command_serves_it_and_people_stay_signed_in_when_it_restarts(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", "from ductape_asgi.cli import main; main()", "demo"]
    with running(command, port, tmp_path) as server:
        cookies = dict(server.signed_in("ann").cookies)
    with running(command, port, tmp_path) as server:
        browser = server.browser()
        browser.cookies.update(cookies)
        assert browser.get("/private").url.path == "/private"


def test_a_taken_port_is_said_in_one_line_and_nothing_else(demo: Server, tmp_path: Path) -> None:
    port = httpx.URL(demo.url).port
    command = [sys.executable, str(DEMO), "--port", str(port)]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr == f"port {port} is taken; try: PORT=9000 make demo\n"
    assert not list(tmp_path.iterdir())
