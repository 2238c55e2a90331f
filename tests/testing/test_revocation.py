"""How soon a session is refused, as an assertion that can fail."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from ductape_asgi import ConfigurationError, MissingToken, RevokedSession, Sessions, StoreUnavailable
from ductape_asgi.testing import SessionClock, Visitor, assert_revoked_within

from .apps import TAG, starlette_app

REFUSED = httpx2.Response(401, headers={"WWW-Authenticate": 'Bearer realm="ductape", error="invalid_token"'})


class Answers:
    """Answers or raises one after another; the last one again and again."""

    def __init__(self, *answers: Any) -> None:
        self.left = list(answers)
        self.asked = 0

    def __call__(self) -> Any:
        self.asked += 1
        answer = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def later(self) -> Any:
        return self()


ENDINGS = [
    (httpx2.Response(200), httpx2.Response(503), REFUSED),
    (object(), StoreUnavailable("down"), RevokedSession("over")),
    (REFUSED,),
]
NEVER = [
    (httpx2.Response(200), "still 200"),
    (httpx2.Response(503), "still 503"),
    (object(), "still accepted"),
    (StoreUnavailable("down"), "still unavailable"),
]
OTHERWISE = [
    (httpx2.Response(401, headers={"WWW-Authenticate": 'Bearer realm="ductape"'}), "does the request carry one"),
    (httpx2.Response(401), "does the request carry one"),
    (MissingToken("none"), "missing_token"),
]


@pytest.mark.parametrize("answers", ENDINGS)
def test_it_passes_as_soon_as_the_session_is_refused(answers: tuple[Any, ...]) -> None:
    ask = Answers(*answers)
    assert assert_revoked_within(600, ask) is None
    assert ask.asked == len(answers)


@pytest.mark.anyio
@pytest.mark.parametrize("answers", ENDINGS)
async def test_it_passes_when_awaited(answers: tuple[Any, ...]) -> None:
    ask = Answers(*answers)
    await assert_revoked_within(600, ask.later)
    assert ask.asked == len(answers)


@pytest.mark.parametrize("seconds", [0, 0.05])
@pytest.mark.parametrize(("answer", "words"), NEVER)
def test_it_fails_when_the_session_never_is(answer: Any, words: str, seconds: float) -> None:
    ask = Answers(answer)
    with pytest.raises(AssertionError, match=words):
        assert_revoked_within(seconds, ask)
    assert ask.asked == 1 if seconds == 0 else ask.asked > 1


@pytest.mark.anyio
@pytest.mark.parametrize(("answer", "words"), NEVER)
async def test_it_fails_when_awaited(answer: Any, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        await assert_revoked_within(0.02, Answers(answer).later)


@pytest.mark.anyio
@pytest.mark.parametrize(("answer", "words"), OTHERWISE)
async def test_a_refusal_for_another_reason_proves_nothing(answer: Any, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        assert_revoked_within(600, Answers(answer))
    with pytest.raises(AssertionError, match=words):
        await assert_revoked_within(600, Answers(answer).later)


@pytest.mark.parametrize("seconds", [-1, float("nan"), "1", True, None])
def test_it_wants_seconds(seconds: Any) -> None:
    with pytest.raises(ConfigurationError):
        assert_revoked_within(seconds, Answers(REFUSED))


def test_a_client_that_signs_out_is_refused(sessions: Sessions) -> None:
    client = TestClient(starlette_app(sessions))
    ann = Visitor(client, sessions)
    headers = {"Authorization": f"Bearer {ann.login().token}"}
    assert client.get("/me").status_code == 200
    ann.logout()
    assert_revoked_within(5, lambda: client.get("/me", headers=headers))


@pytest.mark.anyio
async def test_a_verb_is_asked_as_well(sessions: Sessions, session_clock: SessionClock) -> None:
    issued = await sessions.start(tag=TAG, data={"userId": "ann"})
    await sessions.revoke(tag=TAG, session_id=issued.session_id)
    await assert_revoked_within(5, lambda: sessions.verify(tag=TAG, token=issued.token))
    other = await sessions.start(tag=TAG, data={"userId": "ann"})
    session_clock.advance(hours=1)
    with pytest.raises(AssertionError, match="expired_token"):
        await assert_revoked_within(5, lambda: sessions.verify(tag=TAG, token=other.token))
