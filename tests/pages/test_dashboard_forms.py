"""What the page's buttons do, to whom, and for whom they do nothing."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from starlette.requests import Request

from ductape_asgi import CsrfRejected, InvalidData, Sessions, StoreUnavailable
from ductape_asgi.pages.dashboard import Dashboard, DashboardOptions
from ductape_asgi.pages.forms import read_form
from ductape_asgi.routes.callers import Caller
from tests.sessions.support import Clock

from .reading import devices, forms, read
from .served import TAG

pytestmark = pytest.mark.anyio


async def live(sessions: Sessions, identifier: str) -> set[str]:
    return {info.session_id for info in await sessions.list(tag=TAG, identifier=identifier)}


async def test_one_session_is_ended(reader: Any, sign_in_elsewhere: Any, sessions: Sessions) -> None:
    gone, kept = await sign_in_elsewhere("ann", label="Gone"), await sign_in_elsewhere("ann", label="Kept")
    ann = await reader("ann")
    answer = await ann.press("revoke", gone.session_id)
    assert (answer.status_code, answer.headers["location"]) == (303, "dashboard?done=revoked")
    assert answer.headers["cache-control"] == "no-store"
    assert gone.session_id not in await live(sessions, "ann")
    assert kept.session_id in await live(sessions, "ann")
    answer = await ann.look("?done=revoked")
    assert devices(answer) == ["Kept"]
    assert read(answer).only("div", role="status").text == "That device has been signed out."


async def test_all_others_are_ended(reader: Any, sign_in_elsewhere: Any, sessions: Sessions) -> None:
    for _ in range(3):
        await sign_in_elsewhere("ann")
    bob = await sign_in_elsewhere("bob")
    ann = await reader("ann")
    answer = await ann.press("revoke_others")
    assert (answer.status_code, answer.headers["location"]) == (303, "dashboard?done=others")
    assert devices(await ann.look()) == []
    assert await live(sessions, "bob") == {bob.session_id}
    assert (await ann.look()).status_code == 200


async def test_signing_out_ends_the_session_and_takes_its_cookies(reader: Any, sessions: Sessions) -> None:
    ann = await reader("ann")
    answer = await ann.press("sign_out")
    assert (answer.status_code, answer.headers["location"]) == (303, "dashboard")
    assert await live(sessions, "ann") == set()
    cleared = [line.split(";") for line in answer.headers.get_list("set-cookie")]
    assert {parts[0] for parts in cleared} == {"__Host-ductape=", "__Host-ductape-refresh="}
    assert all(" Max-Age=0" in parts for parts in cleared)
    assert (await ann.look()).status_code == 401


@pytest.mark.parametrize("inside", [True, False])
async def test_signing_out_works_with_an_ended_access_token(
    reader: Any, sessions: Sessions, clock: Clock, inside: bool
) -> None:
    ann = await reader("ann", inside=inside)
    clock.now += 3600
    assert (await ann.press("sign_out")).status_code == 303
    assert await live(sessions, "ann") == set()


async def test_signing_out_takes_the_cookies_of_a_session_that_is_over(reader: Any, sessions: Sessions) -> None:
    ann = await reader("ann")
    await sessions.revoke_all(tag=TAG, identifier="ann")
    answer = await ann.press("sign_out")
    assert answer.status_code == 303
    assert len(answer.headers.get_list("set-cookie")) == 2


async def test_the_session_at_hand_is_none_of_the_others(reader: Any, sessions: Sessions) -> None:
    ann = await reader("ann")
    (own,) = await live(sessions, "ann")
    assert (await ann.press("revoke", own)).status_code == 404
    assert await live(sessions, "ann") == {own}


async def test_somebody_elses_session_is_not_there_and_stays_alive(
    reader: Any, sign_in_elsewhere: Any, sessions: Sessions
) -> None:
    bob = await sign_in_elsewhere("bob")
    ann = await reader("ann")
    answer = await ann.press("revoke", bob.session_id)
    assert answer.status_code == 404
    assert read(answer).only("h1").text == "That session is not in your list"
    assert await live(sessions, "bob") == {bob.session_id}
    assert (await ann.press("revoke", "no-such-session")).text == answer.text


async def test_a_session_is_found_among_many(reader: Any, sign_in_elsewhere: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("ductape_asgi.pages.devices._AT_ONCE", 2)
    oldest = await sign_in_elsewhere("ann")
    for _ in range(5):
        await sign_in_elsewhere("ann")
    assert (await (await reader("ann")).press("revoke", oldest.session_id)).status_code == 303


@pytest.mark.parametrize("action", ["revoke", "revoke_others"])
async def test_nobody_can_press_without_a_session(
    reader: Any, sign_in_elsewhere: Any, sessions: Sessions, action: str
) -> None:
    other = await sign_in_elsewhere("ann")
    answer = await (await reader(None)).press(action, other.session_id, sec_fetch_site="same-origin")
    assert answer.status_code == 401
    assert await live(sessions, "ann") == {other.session_id}


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "", "origin": "https://evil.example"},
        {"sec_fetch_site": "", "origin": "null"},
    ],
)
async def test_other_sites_cannot_press_for_anybody(
    reader: Any, sessions: Sessions, sign_in_elsewhere: Any, headers: dict[str, str]
) -> None:
    """Without a middleware that would refuse them first."""
    other = await sign_in_elsewhere("ann")
    ann = await reader("ann", inside=False)
    before = await live(sessions, "ann")
    for action in ("revoke", "revoke_others", "sign_out"):
        answer = await ann.press(action, other.session_id, **headers)
        assert answer.status_code == 403
        assert read(answer).only("h1").text == "That did not come from this page"
        assert "set-cookie" not in answer.headers
    assert await live(sessions, "ann") == before


async def test_an_origin_of_ours_may_press(reader: Any) -> None:
    ann = await reader("ann", inside=False, allowed_origins=["https://www.shop.example"])
    answer = await ann.press("revoke_others", sec_fetch_site="same-site", origin="https://www.shop.example")
    assert answer.status_code == 303


class Words:
    """Form tokens that are easy to tell: the session's id and a word."""

    def write(self, session_id: str) -> str:
        return f"{session_id}.word"

    def check(self, session_id: str, given: tuple[str, ...]) -> None:
        if given != (f"{session_id}.word",):
            raise CsrfRejected("another token")


class Direct:
    """The page itself, without the endpoints around it, which check some things as well."""

    def __init__(self, sessions: Sessions, holder: Caller, form_tokens: Words | None = None) -> None:
        self._dashboard = Dashboard(sessions, TAG, DashboardOptions(), form_tokens=form_tokens)
        self._holder = holder

    async def _ask(self) -> Caller:
        return self._holder

    async def _leaving(self) -> list[str]:
        return [self._holder.session_id]

    async def press(self, form: dict[str, str], site: bytes = b"same-origin") -> int:
        headers = [(b"content-type", b"application/x-www-form-urlencoded"), (b"sec-fetch-site", site)]
        body = {"type": "http.request", "body": urlencode(form).encode()}

        async def receive() -> dict[str, Any]:
            return body

        scope = {"type": "http", "method": "POST", "headers": headers, "query_string": b""}
        return (await self._dashboard.act(Request(scope, receive), self._ask, self._leaving)).status_code

    async def forms(self) -> list[dict[str, str]]:
        page = await self._dashboard.show(Request({"type": "http", "headers": [], "query_string": b""}), self._ask)
        return forms(read(httpx.Response(200, content=bytes(page.body))))


async def test_the_page_itself_looks_where_a_form_comes_from(sessions: Sessions) -> None:
    issued = await sessions.start(tag=TAG, data={}, identifier="ann")
    page = Direct(sessions, Caller(issued.session_id, "ann", 0))
    for action in ("sign_out", "revoke_others"):
        assert await page.press({"action": action}, b"cross-site") == 403
        assert len(await live(sessions, "ann")) == 1
    assert await page.press({"action": "sign_out"}) == 303


async def test_with_form_tokens_each_form_carries_one_and_is_nothing_without(sessions: Sessions) -> None:
    issued = await sessions.start(tag=TAG, data={}, identifier="ann")
    others = [await sessions.start(tag=TAG, data={}, identifier="ann") for _ in range(2)]
    page = Direct(sessions, Caller(issued.session_id, "ann", 0), Words())
    sent = await page.forms()
    assert [form["action"] for form in sent] == ["sign_out", "revoke", "revoke", "revoke_others"]
    assert {form["csrf_token"] for form in sent} == {f"{issued.session_id}.word"}
    for form in sent:
        without = {name: value for name, value in form.items() if name not in ("csrf_token", "to")}
        assert await page.press(without) == 403
        assert await page.press({**without, "csrf_token": f"{others[0].session_id}.word"}) == 403
    assert len(await live(sessions, "ann")) == 3
    assert await page.press(sent[1]) == 303
    assert await page.press(sent[0]) == 303
    assert len(await live(sessions, "ann")) == 1


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-www-form-urlencoded", b""),
        ("application/x-www-form-urlencoded", b"action=destroy"),
        ("application/x-www-form-urlencoded", b"action=revoke&action=sign_out"),
        ("application/x-www-form-urlencoded", b"action=%ff"),
        ("application/x-www-form-urlencoded", b"\xff=1"),
        ("application/x-www-form-urlencoded", b"&".join(b"a%d=1" % number for number in range(40))),
        ("application/json", b'{"action": "sign_out"}'),
        ("text/plain", b"action=sign_out"),
        ("multipart/form-data; boundary=x", b'--x\r\ncontent-disposition: form-data; name="action"\r\n\r\nsign_out'),
    ],
)
async def test_a_form_that_is_none_of_ours_changes_nothing(
    reader: Any, sessions: Sessions, kind: str, body: bytes
) -> None:
    ann = await reader("ann")
    before = await live(sessions, "ann")
    answer = await ann.client.post(ann.page, content=body, headers={"content-type": kind})
    assert answer.status_code == 422
    assert read(answer).only("h1").text == "That could not be understood"
    assert await live(sessions, "ann") == before


async def test_an_old_sign_in_is_asked_for_again_before_others_are_ended(
    reader: Any, sign_in_elsewhere: Any, sessions: Sessions, clock: Clock
) -> None:
    other = await sign_in_elsewhere("ann")
    ann = await reader("ann", recent_auth="5m", login_url="/login")
    assert "sign in again first" not in (await ann.look()).text
    clock.now += 301
    assert "sign in again first" in (await ann.look()).text
    for action in ("revoke", "revoke_others"):
        answer = await ann.press(action, other.session_id)
        assert answer.status_code == 401
        assert 'error="insufficient_user_authentication", max_age="300"' in answer.headers["www-authenticate"]
        assert read(answer).only("h1").text == "Please sign in again"
        assert read(answer).only("a", href="/login").text == "Sign in"
    assert other.session_id in await live(sessions, "ann")


async def test_an_old_sign_in_may_always_be_signed_out(reader: Any, sessions: Sessions, clock: Clock) -> None:
    ann = await reader("ann", recent_auth=300)
    clock.now += 301
    assert (await ann.press("sign_out")).status_code == 303
    assert await live(sessions, "ann") == set()


async def test_a_recent_sign_in_may_end_others(
    reader: Any, sign_in_elsewhere: Any, sessions: Sessions, clock: Clock
) -> None:
    other = await sign_in_elsewhere("ann")
    ann = await reader("ann", recent_auth=300)
    clock.now += 299
    assert (await ann.press("revoke", other.session_id)).status_code == 303
    assert other.session_id not in await live(sessions, "ann")


@pytest.mark.parametrize("verb", ["list", "revoke", "revoke_all"])
async def test_a_store_that_is_away_signs_nobody_out(
    reader: Any, sign_in_elsewhere: Any, sessions: Sessions, monkeypatch: Any, verb: str
) -> None:
    other = await sign_in_elsewhere("ann")
    ann = await reader("ann")

    async def fail(**_: Any) -> Any:
        raise StoreUnavailable("gone")

    with monkeypatch.context() as away:
        away.setattr(sessions, verb, fail)
        action = {"list": "", "revoke": "revoke", "revoke_all": "revoke_others"}[verb]
        answer = await (ann.press(action, other.session_id) if action else ann.look())
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert read(answer).only("h1").text == "Your devices cannot be shown right now"
        assert "set-cookie" not in answer.headers
    assert (await ann.look()).status_code == 200


async def test_of_a_form_that_is_too_long_no_more_is_read() -> None:
    read_so_far = 0

    async def receive() -> dict[str, Any]:
        nonlocal read_so_far
        read_so_far += 1000
        return {"type": "http.request", "body": b"x" * 1000, "more_body": read_so_far < 50_000}

    headers = [(b"content-type", b"application/x-www-form-urlencoded")]
    with pytest.raises(InvalidData, match="longer than 4096 bytes"):
        await read_form(Request({"type": "http", "method": "POST", "headers": headers}, receive))
    assert read_so_far == 5000
