"""`auto_refresh` and the CSRF token, alike in plain ASGI, Starlette, FastAPI and Litestar."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ductape_asgi import CookiePolicy, Sessions, TagPolicy, new_access_key
from tests.cookie_jar import FORM, Browser, set_cookies
from tests.integrations.conformance.front_ends import FRONT_ENDS
from tests.sessions.support import ANN, TAG, Clock

pytestmark = [
    pytest.mark.anyio,
    # Litestar 3 will want `NamedDependency[Session]`; both forms work today.
    pytest.mark.filterwarnings("ignore:.*Inferred dependency field"),
]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=list(FRONT_ENDS))
async def browser(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[Browser]:
    """Ann, who has been away for an hour."""
    sessions = Sessions(
        access_key=new_access_key(),
        product="shop",
        env="prd",
        store="memory://",
        tags=[TagPolicy(TAG)],
        cookies=CookiePolicy(csrf_token=True),
        clock=clock,
    )
    app = FRONT_ENDS[request.param](sessions, tag=TAG)
    async with sessions:
        browser = Browser(app)
        browser.take((await sessions.start(tag=TAG, data=ANN)).cookie_headers())
        clock.advance(3600)
        yield browser


@pytest.mark.parametrize("path", ["/open", "/optional", "/session"])
async def test_a_link_is_followed(browser: Browser, path: str) -> None:
    before = dict(browser.jar)
    assert (await browser.open(path=path)).json() == {"identifier": "ann"}
    assert all(browser.jar[name] != value for name, value in before.items())
    again = await browser.fetch(path=path)
    assert again.json() == {"identifier": "ann"}
    assert set_cookies(again.headers) == []


async def test_an_open_form_is_posted(browser: Browser) -> None:
    body = b"csrf_token=" + browser.jar["__Host-ductape-csrf"].encode()
    assert (await browser.request(*FORM, method="POST", path="/session")).json()["code"] == "csrf_rejected"
    answer = await browser.request(*FORM, method="POST", path="/session", body=body)
    assert answer.json() == {"identifier": "ann"}


async def test_a_guard_that_denies_still_brings_the_cookies(browser: Browser) -> None:
    answer = await browser.fetch(path="/role")
    assert (answer.status, answer.json()["code"]) == (403, "access_denied")
    assert len(set_cookies(answer.headers)) == 3
    assert answer.header("cache-control") == "no-store"


async def test_options_reach_the_middleware(clock: Clock) -> None:
    for build in FRONT_ENDS.values():
        sessions = Sessions(access_key=new_access_key(), product="shop", env="prd", store="memory://", clock=clock)
        async with sessions:
            browser = Browser(build(sessions, tag=TAG, auto_refresh=False))
            browser.take((await sessions.start(tag=TAG, data=ANN)).cookie_headers())
            clock.advance(3600)
            assert (await browser.open(path="/open")).json() == {"identifier": None}
