"""`client.fetch`: the session's proof goes where it belongs, and a refused request is sent once more at most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from .conftest import Window
from .serving import Site
from .shop import TAG, Clock, Mode, Rotations, Shop
from .signing import known, shown, shows, sign_in, visit
from .watching import until

Serve = Callable[..., Site]
Windows = Callable[..., Window]


class Elsewhere:
    """Another origin, which anybody may call, and what headers came."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []
        allow = Middleware(CORSMiddleware, allow_origins=["*"], allow_headers=["*"])
        self._app = Starlette(routes=[Route("/", self._answer)], middleware=[allow])

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)

    async def _answer(self, request: Request) -> JSONResponse:
        self.headers.append(dict(request.headers))
        return JSONResponse({})


def status(page: Any, call: str) -> int:
    answer: int = page.evaluate(f"{call}.then(response => response.status)")
    return answer


def calls(shop: Shop, asked: str) -> list[dict[str, str]]:
    return [headers for each, headers in zip(shop.asked, shop.headers, strict=True) if each == asked]


@pytest.mark.parametrize("mode", ["cookie", "bearer"])
def test_requests_to_the_app_are_signed_in(serve: Serve, window: Windows, mode: Mode) -> None:
    page = visit(window(), serve(Shop(mode)).url, mode=mode, ask="no")
    sign_in(page)
    answer = page.evaluate(
        "client.fetch('/api/me', {method: 'POST', body: JSON.stringify({n: 1})}).then(response => response.json())"
    )
    assert answer == {"identifier": "ann", "body": {"n": 1}}


def test_a_token_goes_to_no_other_origin(serve: Serve, window: Windows) -> None:
    shop, elsewhere = Shop("bearer"), Elsewhere()
    site, other = serve(shop), serve(elsewhere)
    ann = window(bypass_csp=True)
    page = visit(ann, site.url, mode="bearer", ask="no")
    sign_in(page)
    assert status(page, f"client.fetch('{other.url}/')") == 200
    # The same port under another name is another origin as well.
    assert status(page, f"client.fetch('{other.url.replace('127.0.0.1', 'localhost')}/')") == 200
    assert len(elsewhere.headers) == 2
    assert not [headers for headers in elsewhere.headers if "authorization" in headers]
    assert status(page, "client.fetch('/api/me')") == 200
    assert calls(shop, "GET /api/me")[0]["authorization"].startswith("Bearer ")


def test_a_configured_origin_gets_the_token(serve: Serve, window: Windows) -> None:
    elsewhere = Elsewhere()
    other = serve(elsewhere)
    page = visit(window(bypass_csp=True), serve(Shop("bearer")).url, mode="bearer", ask="no")
    page.evaluate(
        """async (origin) => {
            const { createClient } = await import("/auth/client.js");
            globalThis.wide = createClient({ mode: "bearer", origins: [origin] });
            await wide.login({ name: "ann", password: "right" });
        }""",
        other.url,
    )
    assert status(page, f"wide.fetch('{other.url}/')") == 200
    assert elsewhere.headers[0]["authorization"].startswith("Bearer ")


def test_an_authorization_of_the_callers_own_stays(serve: Serve, window: Windows) -> None:
    shop = Shop("bearer")
    ann = window()
    ann.watch.expect("status of 401")
    page = visit(ann, serve(shop).url, mode="bearer", ask="no")
    sign_in(page)
    assert status(page, "client.fetch('/api/never', {headers: {authorization: 'Basic eDp5'}})") == 401
    assert [headers["authorization"] for headers in calls(shop, "GET /api/never")] == ["Basic eDp5"]


@pytest.mark.parametrize("mode", ["cookie", "bearer"])
def test_a_request_refused_for_an_old_token_is_sent_again_with_its_body(
    serve: Serve, window: Windows, rotations: Rotations, mode: Mode
) -> None:
    clock = Clock()
    shop = Shop(mode, clock=clock)
    ann = window()
    ann.watch.expect("status of 401")
    page = visit(ann, serve(shop, clock=clock).url, mode=mode, ask="no")
    sign_in(page)
    # The page's own clock stands still meanwhile, as timers of a page in the background may.
    clock.later += 1000

    answer = page.evaluate(
        "client.fetch('/api/me', {method: 'POST', body: JSON.stringify({n: 1})}).then(response => response.json())"
    )

    assert answer == {"identifier": "ann", "body": {"n": 1}}
    assert shop.count("POST /api/me") == 2
    assert len(rotations.times) == 1


@pytest.mark.parametrize("mode", ["cookie", "bearer"])
def test_a_refusal_that_a_refresh_does_not_mend_is_given_back_and_rotates_nothing(
    serve: Serve, window: Windows, rotations: Rotations, mode: Mode
) -> None:
    shop = Shop(mode)
    ann = window()
    ann.watch.expect("status of 401")
    page = visit(ann, serve(shop).url, mode=mode, ask="no")
    sign_in(page)
    for _ in range(3):
        assert status(page, "client.fetch('/api/never')") == 401
    assert shop.count("GET /api/never") == 3
    assert rotations.times == []
    assert known(page) == "ann"


@pytest.mark.parametrize("mode", ["cookie", "bearer"])
def test_a_refusal_because_the_session_has_ended_signs_out(serve: Serve, window: Windows, mode: Mode) -> None:
    shop = Shop(mode)
    site = serve(shop)
    ann = window()
    ann.watch.expect("status of 401")
    page = visit(ann, site.url, mode=mode, ask="no", watch=0)
    session = sign_in(page)
    site.run(shop.sessions.revoke(tag=TAG, session_id=session["sessionId"]))

    assert status(page, "client.fetch('/api/me')") == 401

    assert shown(page) == "nobody"
    assert shop.count("GET /api/me") == 1


def test_many_refused_requests_refresh_once(serve: Serve, window: Windows, rotations: Rotations) -> None:
    clock = Clock()
    shop = Shop("bearer", clock=clock)
    ann = window()
    ann.watch.expect("status of 401")
    page = visit(ann, serve(shop, clock=clock).url, mode="bearer", ask="no")
    sign_in(page)
    clock.later += 1000
    answers = page.evaluate(
        "Promise.all(Array.from({length: 20}, () => client.fetch('/api/me'))).then(all => all.map(each => each.status))"
    )
    assert answers == [200] * 20
    assert len(rotations.times) == 1


@pytest.mark.parametrize(
    ("name", "sent"),
    [("__Host-ductape-csrf", True), ("__Secure-ductape-csrf", True), ("ductape-csrf", True), ("other-csrf", False)],
)
def test_the_csrf_token_of_the_page_goes_with_what_changes_something(
    serve: Serve, window: Windows, name: str, sent: bool
) -> None:
    shop, elsewhere = Shop(), Elsewhere()
    site, other = serve(shop), serve(elsewhere)
    page = visit(window(bypass_csp=True), site.url, ask="no")
    page.evaluate("name => { document.cookie = `${name}=t.k=; Path=/; Secure`; }", name)
    sign_in(page)
    status(page, "client.fetch('/api/me', {method: 'POST'})")
    status(page, "client.fetch('/api/me')")
    status(page, f"client.fetch('{other.url}/')")
    expected = "t.k=" if sent else None
    assert calls(shop, "POST /auth/login")[0].get("x-csrf-token") == expected
    assert calls(shop, "POST /api/me")[0].get("x-csrf-token") == expected
    assert "x-csrf-token" not in calls(shop, "GET /api/me")[0]
    assert "x-csrf-token" not in elsewhere.headers[0]


def test_a_cookie_that_a_neighbour_planted_does_not_win(serve: Serve, window: Windows) -> None:
    shop = Shop()
    page = visit(window(), serve(shop).url, ask="no")
    page.evaluate("document.cookie = 'ductape-csrf=planted; Path=/'")
    page.evaluate("document.cookie = '__Host-ductape-csrf=ours; Path=/; Secure'")
    sign_in(page)
    assert calls(shop, "POST /auth/login")[0]["x-csrf-token"] == "ours"


def test_a_sign_in_after_all_makes_the_next_request_pass(serve: Serve, window: Windows) -> None:
    shop = Shop()
    ann = window()
    ann.watch.expect("status of 401")
    url = serve(shop).url
    page = visit(ann, url)
    assert status(page, "client.fetch('/api/me')") == 401
    sign_in(visit(ann, url, ask="no"))
    shows(page, "ann")
    assert status(page, "client.fetch('/api/me')") == 200


def test_in_bearer_mode_the_endpoints_may_be_on_another_origin(
    serve: Serve, window: Windows, rotations: Rotations
) -> None:
    api = Shop("bearer", expires_in=3)
    cors = CORSMiddleware(
        api,
        allow_origins=["*"],
        allow_methods=["GET", "POST"],
        allow_headers=["authorization", "content-type"],
        expose_headers=["date"],
    )
    other = serve(cors)
    ann = window(bypass_csp=True)
    ann.watch.expect("status of 401")
    page = visit(ann, serve(Shop("bearer")).url, mode="bearer", ask="no")
    page.evaluate(
        """async (url) => {
            const { createClient } = await import("/auth/client.js");
            globalThis.far = createClient({ mode: "bearer", base: `${url}/auth`, watch: 0 });
            await far.login({ name: "ann", password: "right" });
        }""",
        other.url,
    )
    until(page, lambda: len(rotations.times) == 2)
    assert page.evaluate(f"far.fetch('{other.url}/api/me').then(r => r.json()).then(me => me.identifier)") == "ann"
    page.evaluate("far.logout()")
    assert page.evaluate("far.session()") is None
