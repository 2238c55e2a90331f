"""A whole run, with all that goes wrong in it: no log holds a token, a key or data, and no refusal does either."""

from __future__ import annotations

import io
import logging
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from ductape_asgi import Sessions, TagPolicy, Throttle, new_access_key
from ductape_asgi.stores.memory import MemoryStore
from ductape_asgi.testing import FlakyStore, SessionClock

from .support import CROSS, PASSWORD, REFRESH, TAG, Person, World, claimed

pytestmark = pytest.mark.anyio


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that anybody logs at any level, with all that a record carries."""
    stream = io.StringIO()

    class Everything(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
            stream.write(f"{record.getMessage()} {record.__dict__!r} {text}\n")

    handler = Everything(logging.DEBUG)
    loggers = [logging.getLogger(name) for name in ("", "ductape_asgi", "ductape_asgi.audit")]
    levels = [one.level for one in loggers]
    loggers[0].addHandler(handler)
    for one in loggers:
        one.setLevel(logging.DEBUG)
    yield stream
    loggers[0].removeHandler(handler)
    for one, level in zip(loggers, levels, strict=True):
        one.setLevel(level)


async def run(world: World, seen: set[str]) -> list[Person]:
    """One life of a few people; whatever secret anybody held is added to `seen`."""

    def note(person: Person) -> None:
        seen.update(token for token in person.tokens if token)
        seen.update(part for token in person.tokens if token for part in token.split(".")[1:])

    ann = world.person(throttle=Throttle(per_identifier=2), login_identifier=claimed, recent_auth=600)
    phone, bob = world.another(ann), world.another(ann)
    people = [ann, phone, bob]
    for person, name in ((ann, "ann-maple"), (phone, "ann-maple"), (bob, "bob-birch")):
        assert (await person.sign_in(name)).status == 200
        note(person)
    for person in people:
        for method, path in (("GET", "/session"), ("GET", "/sessions"), ("POST", "/ticket"), ("POST", "/refresh")):
            await person.act(method, path)
        await person.refresh()
        note(person)
    thief = ann.copy()
    for _ in range(2):
        await ann.refresh()
        note(ann)
        await ann.session_id()
    assert (await thief.refresh()).status == 401  # reuse
    await ann.sign_in("ann-maple")
    note(ann)
    await ann.send("DELETE", f"/sessions/{await bob.session_id()}")
    await ann.act("POST", "/logout", origin=CROSS)
    await ann.sign_in("ann-maple", headers=[(b"authorization", b"Bearer " + str(ann.tokens[0])[:-2].encode())])
    note(ann)
    for _ in range(4):
        await bob.sign_in("bob-birch", password="guessed-birch-tree")
    mixed = ann.copy()
    mixed.jar[REFRESH] = bob.jar.get(REFRESH, "")
    await mixed.refresh()
    await ann.act("POST", "/sessions/revoke-others")
    world.store.fail("verify", "rotate", "revoke")
    for method, path in (("POST", "/logout"), ("POST", "/refresh"), ("DELETE", "/sessions/x")):
        await ann.act(method, path)
    world.store.heal()
    world.clock.advance(hours=1)
    await ann.act("POST", "/sessions/revoke-others")
    await ann.act("POST", "/logout")
    return people


async def test_no_log_holds_a_token_a_key_or_data(mode: str, log: io.StringIO) -> None:
    keys = [new_access_key(), new_access_key()]
    store, clock = FlakyStore(MemoryStore()), SessionClock()
    seen = {*keys, PASSWORD, "guessed-birch-tree", "ann-maple", "bob-birch", "likes-it-quiet"}
    async with Sessions(
        access_key=keys, product="shop", env="prd", store=store, clock=clock, tags=[TagPolicy(TAG)]
    ) as sessions:
        people = await run(World(sessions, store, clock, mode), seen)
        assert len(seen) > 20
        text = log.getvalue()
        for event in (
            "session.started",
            "session.refreshed",
            "session.refresh_reused",
            "session.revoked",
            "login.refused",
            "too_many_attempts",
            "sign_in_refused",
        ):
            assert event in text, event
        if mode == "cookie":
            assert "csrf.rejected" in text
        assert [secret for secret in seen if secret in text] == []
        refusals = [answer for person in people for answer in person.answers if answer.status >= 400]
        assert len(refusals) >= 6
        assert not [1 for answer in refusals for secret in seen if secret.encode() in answer.body + _flat(answer)]


def _flat(answer: Any) -> bytes:
    return b"".join(name + value for name, value in answer.headers)
