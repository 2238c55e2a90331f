"""Nothing that is logged, shown, raised or pickled holds a token, a key or a word of the data."""

from __future__ import annotations

import io
import logging
import pickle
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

import ductape_asgi
from ductape_asgi import (
    AccessDenied,
    DuctapeError,
    DuctapeMiddleware,
    RefreshReused,
    Sessions,
    StoreUnavailable,
    TagPolicy,
    require_role,
)
from ductape_asgi.keys import AccessKey

from .asgi import App, bearer, call, cookie, http_scope
from .conftest import MakeForge
from .forge import TAG, CountingStore, Forge, b64

pytestmark = pytest.mark.anyio

DATA = {"userId": "ann-who-is-nobodys-business", "card": "4242-4242-4242", "role": "wizard-of-the-kingdom"}
HIDDEN = list(DATA.values())


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything anybody logs at any level, with all that a record carries."""
    stream = io.StringIO()

    class Everything(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
            stream.write(f"{record.getMessage()} {record.__dict__!r} {text}\n")

    handler, root = Everything(logging.DEBUG), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    named = [logging.getLogger(name) for name in ("ductape_asgi", "ductape_asgi.audit")]
    levels = [(logger, logger.level) for logger in named]
    for logger in named:
        logger.setLevel(logging.DEBUG)
    yield stream
    for logger, old in levels:
        logger.setLevel(old)
    root.setLevel(level)
    root.removeHandler(handler)


@dataclass
class Run:
    """One whole life of a few sessions, with all that can go wrong in it."""

    forge: Forge
    access_key: str
    secrets: set[str] = field(default_factory=set)
    errors: list[BaseException] = field(default_factory=list)
    shown: list[object] = field(default_factory=list)

    @property
    def sessions(self) -> Sessions:
        return self.forge.sessions

    def keep(self, issued: Any) -> Any:
        self.secrets |= {issued.token, issued.refresh_token, *issued.token.split(".")[1:]}
        self.shown.append(issued)
        return issued

    async def failing(self, verb: Any, **arguments: Any) -> None:
        try:
            await verb(**arguments)
        except DuctapeError as error:
            self.errors.append(error)
        else:
            pytest.fail("this was to be refused")

    async def go(self) -> None:
        self.keep(self.forge.issued)
        await self.verify_and_list()
        await self.refuse()
        await self.refresh_and_reuse()
        await self.through_the_middleware()
        await self.lose_the_store()
        await self.expire()

    async def verify_and_list(self) -> None:
        for _ in range(2):
            self.shown.append(await self.sessions.verify(tag=TAG, token=self.forge.token))
        self.shown.append(await self.sessions.inspect(token=self.forge.token))
        page = await self.sessions.list(tag=TAG, identifier=DATA["userId"])
        self.shown += [page.sessions[0].client, len(page.sessions)]
        await self.sessions.update(tag=TAG, identifier=DATA["userId"], data=DATA)
        self.shown.append(await self.sessions.verify(tag=TAG, token=self.forge.token, fresh=True))

    async def refuse(self) -> None:
        verify, token = self.sessions.verify, self.forge.token
        hostile = [token[:-1], token + "=", self.forge.with_header(kid="x"), self.forge.resealed(exp="1")]
        hostile += [self.forge.sealing(b'{"identifier":"ann","data":{"card":"4242-4242-4242"}}'), self.access_key, 7]
        hostile += [self.forge.with_claims(card="4242-4242-4242"), None, token.encode()]
        for bad in hostile:
            await self.failing(verify, tag=TAG, token=bad)
        await self.failing(self.sessions.refresh, tag=TAG, refresh_token=token)
        await self.failing(self.sessions.refresh, tag=TAG, refresh_token=forged(self.forge.issued.refresh_token))
        await self.failing(self.sessions.start, tag=TAG, data={**DATA, "x": {1, 2}})
        await self.failing(self.sessions.start, tag=TAG, data={"card": DATA["card"]})
        await self.failing(self.sessions.start, tag=TAG, data={**DATA, "more": DATA["card"] * 1000})
        await self.failing(self.sessions.update, tag=TAG, identifier=DATA["userId"], data={**DATA, "userId": "bob"})
        await self.failing(self.sessions.list, tag=TAG, identifier=DATA["userId"], cursor=token)
        await self.failing(
            self.sessions.revoke_all, tag=TAG, identifier=DATA["userId"], exclude_current_session=token[:22]
        )
        session = await verify(tag=TAG, token=token)
        with pytest.raises(AccessDenied) as caught:
            require_role("admin").check(session)
        self.errors.append(caught.value)

    async def refresh_and_reuse(self) -> None:
        stolen = self.forge.issued.refresh_token
        for _ in range(2):  # the second is a retry
            child = self.keep(await self.sessions.refresh(tag=TAG, refresh_token=stolen))
        self.shown.append(await self.sessions.verify(tag=TAG, token=child.token))
        self.keep(await self.sessions.refresh(tag=TAG, refresh_token=child.refresh_token))
        await self.failing(self.sessions.refresh, tag=TAG, refresh_token=stolen)
        assert isinstance(self.errors[-1], RefreshReused)
        await self.failing(self.sessions.verify, tag=TAG, token=self.forge.token)

    async def through_the_middleware(self) -> None:
        issued = self.keep(await self.sessions.start(tag=TAG, data=DATA, client=http_scope()))
        middleware = DuctapeMiddleware(App(), sessions=self.sessions, tag=TAG, required=True)
        self.shown += [middleware, middleware.options]
        for _ in range(2):
            for credential in (bearer(issued.token), cookie(issued.token), bearer(issued.token + "x"), bearer("x")):
                answer = await call(middleware, headers=[credential])
                self.shown += [answer.scope.get("user"), answer.scope.get("auth"), answer.error]
        crossing = [cookie(issued.token), (b"sec-fetch-site", b"cross-site"), (b"origin", b"https://evil.test")]
        assert (await call(middleware, method="POST", headers=crossing)).status == 403
        await self.sessions.revoke(tag=TAG, session_id=issued.session_id)
        assert (await call(middleware, headers=[bearer(issued.token)])).status == 401

    async def lose_the_store(self) -> None:
        issued = self.keep(await self.sessions.start(tag=TAG, data=DATA))

        def fail(name: str) -> None:
            raise StoreUnavailable("the store is down")

        self.forge.store.before = fail
        await self.failing(self.sessions.verify, tag=TAG, token=issued.token)
        await self.failing(self.sessions.refresh, tag=TAG, refresh_token=issued.refresh_token)
        await self.failing(self.sessions.start, tag=TAG, data=DATA)
        self.forge.store.before = None

    async def expire(self) -> None:
        issued = self.keep(await self.sessions.start(tag=TAG, data=DATA))
        self.forge.clock.advance(31 * 86_400)
        await self.failing(self.sessions.verify, tag=TAG, token=issued.token)
        await self.failing(self.sessions.refresh, tag=TAG, refresh_token=issued.refresh_token)


def forged(refresh_token: str) -> str:
    return refresh_token[:-2] + ("B" if refresh_token[-2] == "A" else "A") + refresh_token[-1]


@pytest.fixture
async def run(make_forge: MakeForge, any_store: CountingStore, access_key: str, log: io.StringIO) -> Run:
    forge = await make_forge(store=any_store, data=DATA)
    run = Run(forge, access_key, secrets={access_key, *keys_of(access_key, forge)})
    await run.go()
    return run


def keys_of(access_key: str, forge: Forge) -> set[str]:
    """Root and derived keys, as base64, hex and Python would write them."""
    member = forge.sessions.keyring.members[0]
    raws = [AccessKey(access_key)._root, member.seal, member.refresh, member.store, member.log]
    raws.append(forge.private_key.private_bytes_raw())
    return {text for raw in raws for text in (b64(raw), raw.hex(), repr(raw)[2:-1])}


def leaks(text: str, run: Run, *, hidden: list[str]) -> list[str]:
    return [secret[:12] for secret in [*run.secrets, *hidden] if secret in text]


async def test_a_debug_log_of_a_whole_run_is_clean(run: Run, log: io.StringIO) -> None:
    text = log.getvalue()

    assert "session.refresh_reused" in text, "the run was to be logged"
    assert "token.refused" in text
    assert leaks(text, run, hidden=HIDDEN) == []


async def test_16_2_5_no_session_id_stands_in_the_log(run: Run, log: io.StringIO) -> None:
    assert run.forge.issued.session_id not in log.getvalue()


async def test_16_4_1_each_record_is_one_line(run: Run, log: io.StringIO) -> None:
    for record in log.getvalue().splitlines():
        assert "\r" not in record
        assert "'msg'" in record, "a record was broken in two"


async def test_no_error_tells_anything_in_its_text_its_arguments_or_its_traceback(run: Run) -> None:
    assert len(run.errors) > 20
    for error in run.errors:
        chain = "".join(traceback.format_exception(error))
        for text in (str(error), repr(error), repr(error.args), repr(error.__dict__), chain):
            assert leaks(text, run, hidden=HIDDEN) == [], type(error)


async def test_errors_can_be_pickled_and_hold_nothing_either(run: Run) -> None:
    """As a task queue or a test runner does with them."""
    for error in run.errors:
        pickled = pickle.dumps(error)
        assert leaks(pickled.decode("latin-1"), run, hidden=HIDDEN) == [], type(error)
        assert type(pickle.loads(pickled)) is type(error)


async def test_no_public_object_shows_anything_in_its_repr(run: Run) -> None:
    keyring = run.sessions.keyring
    shown = [*run.shown, run.sessions, keyring, *keyring.keys, *keyring.members, AccessKey(run.access_key)]
    shown += [run.sessions.worker, run.sessions.verifier, run.forge.store._store, TagPolicy(TAG), run.sessions.cookies]
    for value in shown:
        for text in (repr(value), str(value), f"{value}"):
            # The identifier is not data; lists of devices and answers to a sign-in name it.
            assert leaks(text, run, hidden=HIDDEN[1:]) == [], type(value)


async def test_a_session_refuses_to_be_pickled_and_says_what_to_pass_instead(run: Run) -> None:
    for value in (value for value in run.shown if isinstance(value, ductape_asgi.Session)):
        with pytest.raises(TypeError, match="pass its session_id"):
            pickle.dumps(value)


async def test_errors_of_configuration_do_not_repeat_the_key(run: Run) -> None:
    for wrong in (run.access_key[:-1], run.access_key + "x", run.access_key.upper(), [run.access_key] * 2):
        with pytest.raises(ductape_asgi.ConfigurationError) as caught:
            Sessions(access_key=wrong, product="shop", env="prd", store="memory://")
        text = "".join(traceback.format_exception(caught.value, limit=0)) + repr(caught.value.args)
        assert run.access_key[4:30] not in text
        assert run.access_key[4:30].upper() not in text


async def test_a_key_or_token_in_the_wrong_place_is_not_repeated(run: Run) -> None:
    for wrong in (run.access_key, *(secret for secret in run.secrets if secret.startswith(("drt_", "eyJ")))):
        texts = []
        for options in ({"product": wrong}, {"env": wrong}, {"store": wrong}):
            with pytest.raises(ductape_asgi.ConfigurationError) as caught:
                Sessions(**{"access_key": run.access_key, "product": "shop", "env": "prd", **options})
            texts.append(str(caught.value))
        for sessions in (run.sessions, Sessions(access_key=run.access_key, product="shop", env="prd")):
            with pytest.raises(ductape_asgi.ConfigurationError) as caught:
                await sessions.verify(tag=f"{wrong}!", token=TAG)
            texts.append(str(caught.value))
        assert not [text for text in texts if wrong[4:16] in text or wrong[:16] in text]


@pytest.mark.parametrize(
    "url", ["redis://:hunter2-secret@db/0", "postgresql://app:hunter2-secret@db/x", "x://hunter2-secret@y"]
)
def test_nothing_about_a_store_url_repeats_its_password(url: str, access_key: str) -> None:
    shown = []
    try:
        shown.append(repr(Sessions(access_key=access_key, product="shop", env="prd", store=url)))
    except (DuctapeError, ImportError) as error:
        shown += [str(error), repr(error)]

    assert shown
    assert not any("hunter2-secret" in text for text in shown)


async def test_the_run_has_met_every_kind_of_refusal(run: Run) -> None:
    met = {type(error).__name__ for error in run.errors}

    assert met >= {
        "AccessDenied",
        "DataTooLarge",
        "ExpiredToken",
        "InvalidData",
        "InvalidToken",
        "MissingToken",
        "RefreshReused",
        "RevokedSession",
        "StoreUnavailable",
    }
