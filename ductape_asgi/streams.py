"""Open sockets and event streams as ASGI has them: each one a lease that ends the connection and tells its app.

An app may wait in `receive` for good.  So that wait, and no other, can be interrupted; what it would have brought
is not lost, since nothing that comes after the end reaches the app.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, Literal, Protocol, Self

import anyio

from .access import GUARDS_KEY, SESSION_KEY, Guard
from .errors import AccessDenied
from .leases import DENIED, ENDED, UNKNOWN, Lease
from .lifetime import LoopTask
from .models import Session, SessionRecord
from .policy import TagPolicy
from .problems import ConnectionOver, Message, Receive, Scope, Send
from .sessions import Sessions

#: What the client of a socket is told beside the code.
_REASONS: Final = {ENDED: "session_ended", DENIED: "access_denied", UNKNOWN: "store_unavailable"}


class Terms(Protocol):
    """What a connection needs to know of the middleware that let it in."""

    @property
    def sessions(self) -> Sessions: ...
    @property
    def policies(self) -> Mapping[str, TagPolicy]: ...
    @property
    def stream_until(self) -> Literal["session", "token"]: ...
    def lay(self, scope: Scope, session: Session[Any]) -> None:
        """Put a session on the scope of a request."""


class _Connection(Lease):
    __slots__ = ("_closing", "_scope", "_send", "_terms")

    def __init__(self, terms: Terms, scope: Scope, send: Send) -> None:
        session: Session[Any] = scope[SESSION_KEY]
        worker = terms.sessions.worker
        until = session.expires_at.timestamp() + worker.leeway if terms.stream_until == "token" else None
        super().__init__(session, until)
        self._terms = terms
        self._scope = scope
        self._send = send
        self._closing: LoopTask | None = None
        worker.leases.add(self, worker.cache)

    async def recall(self) -> tuple[Session[Any], SessionRecord]:
        sessions, session = self._terms.sessions, self.session
        return await sessions.verifier.recall(
            sessions.context(),
            self._terms.policies[session.tag],
            session.session_id,
            issued_at=session.issued_at,
            expires_at=session.expires_at,
        )

    def renewed(self, session: Session[Any]) -> bool:
        guards: list[Guard] = self._scope.get(GUARDS_KEY, [])
        try:
            for guard in guards:
                if guard.kind != "recent_auth":  # was, when it was asked; and no newer data makes the sign-in older
                    guard.check(session)
        except AccessDenied:
            return False
        if session != self.session:
            self.session = session
            self._terms.lay(self._scope, session)
        return True

    def over(self) -> None:
        """The connection has ended by itself."""
        self._terms.sessions.worker.leases.remove(self)

    async def release(self) -> None:
        """The app is done.  Servers hang up then, so a close that is under way comes first."""
        self.over()
        if self.code is not None:
            self.ended()
        if self._closing is not None:
            await self._closing.finished.wait()

    def _close(self, message: Message) -> None:
        """Send a last message, whatever the app waits for."""

        async def last() -> None:
            with suppress(Exception):  # the client may have gone first, which comes to the same
                await self._send(message)

        self._closing = LoopTask(last)

    async def _pass_on(self, message: Message) -> None:
        try:
            await self._send(message)
        except Exception:
            if self.code is None:
                raise
            raise ConnectionOver from None


class Socket(_Connection):
    """A WebSocket: use its `receive` and `send` instead of the server's."""

    __slots__ = ("_open", "_receive", "_waits")

    def __init__(self, terms: Terms, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault(GUARDS_KEY, [])  # shared with each copy that is made of the scope
        self._receive = receive
        #: Whether the handshake is over, and the socket is not.
        self._open = False
        self._waits: list[anyio.CancelScope] = []
        super().__init__(terms, scope, send)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.release()

    async def receive(self) -> Message:
        if not self._open and self._closing is None:
            return await self._receive()
        message = await self._next() if self.code is None else None
        if message is None or self.code is not None:
            return self._disconnect()
        if message["type"] == "websocket.disconnect":
            self.over()
        return message

    async def _next(self) -> Message | None:
        """What comes next; None where the end of the session comes first."""
        with anyio.CancelScope() as wait:
            self._waits.append(wait)
            try:
                return await self._receive()
            finally:
                self._waits.remove(wait)
        return None

    def _disconnect(self) -> Message:
        return {"type": "websocket.disconnect", "code": self.code, "reason": _REASONS[self.code or ENDED]}

    async def send(self, message: Message) -> None:
        if self.code is None:
            await self._pass_on(message)
            self._sent(message["type"])
        elif not self._open and self._closing is None:
            await self._refuse(message)
        else:
            self.ended()
            if message["type"] != "websocket.close":
                raise ConnectionOver

    def _sent(self, kind: str) -> None:
        if kind == "websocket.accept":
            self._open = True
            if self.code is not None:
                self.ended()
        elif kind == "websocket.close":
            self._open = False
            self.over()

    async def _refuse(self, message: Message) -> None:
        """The session has ended during the handshake, which the app may deny by itself."""
        if message["type"] == "websocket.accept":
            self._hang_up()
        else:
            await self._pass_on(message)

    def ended(self) -> None:
        if self._open and self._closing is None:  # one that is not open is refused when the app accepts it
            self._hang_up()
            for wait in self._waits:
                wait.cancel()

    def _hang_up(self) -> None:
        code = self.code or ENDED
        self._close({"type": "websocket.close", "code": code, "reason": _REASONS[code]})


class EventStream(_Connection):
    """The `send` of a response of type ``text/event-stream``, from its start on.

    Once the response is complete, the server's own `receive` says ``http.disconnect`` (ASGI, HTTP: disconnect).
    """

    __slots__ = ("_started",)

    def __init__(self, terms: Terms, scope: Scope, send: Send) -> None:
        self._started = False
        super().__init__(terms, scope, send)

    async def __call__(self, message: Message) -> None:
        if self._started and self.code is not None:
            self.ended()
            raise ConnectionOver
        await self._pass_on(message)
        if message["type"] == "http.response.start":
            self._started = True
            if self.code is not None:
                self.ended()
        elif not message.get("more_body", False):
            self.over()

    def ended(self) -> None:
        if self._started and self._closing is None:
            self._close({"type": "http.response.body", "body": b"", "more_body": False})
