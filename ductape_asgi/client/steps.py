"""What a flow has done between two requests, in a thread or in a task.  Whoever gives up on the way harms nobody."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import anyio

from ..errors import ConfigurationError, InvalidData
from .failures import RefreshFailed
from .holder import Flight, Holder
from .libraries import ERRORS
from .tokens import SessionTokens

#: How long the server may take to answer a refresh, in seconds.
TIMEOUT = 10

OnChange = Callable[[SessionTokens | None], object]


@runtime_checkable
class Step(Protocol):
    """Something to be done: in a thread, which it may block, or in a task."""

    def run(self) -> None: ...

    async def run_async(self) -> None: ...


@dataclass(frozen=True)
class Read:
    """Read a response to its end, so that its connection is free."""

    response: Any

    def run(self) -> None:
        self.response.read()

    async def run_async(self) -> None:
        await self.response.aread()


@dataclass(frozen=True)
class Wait:
    """Wait for a refresh that somebody else leads."""

    flight: Flight

    def run(self) -> None:
        self.flight.landed.wait()

    async def run_async(self) -> None:
        await self.flight.landed.wait_async()


@dataclass(frozen=True)
class Tell:
    """Call `on_change`, to its end: a new refresh token that is not kept signs out at the next start."""

    on_change: OnChange | None
    tokens: SessionTokens | None

    def run(self) -> None:
        answer = None if self.on_change is None else self.on_change(self.tokens)
        if inspect.isawaitable(answer):
            if inspect.iscoroutine(answer):
                answer.close()
            raise ConfigurationError("on_change= is a coroutine function, which a sync client cannot await")

    async def run_async(self) -> None:
        with anyio.CancelScope(shield=True):
            answer = None if self.on_change is None else self.on_change(self.tokens)
            if inspect.isawaitable(answer):
                await answer


@dataclass(frozen=True)
class Exchange:
    """How refreshes are sent: where to, with which client if not with one made for it, and who is told."""

    url: Any
    client: Any
    on_change: OnChange | None


@dataclass(frozen=True)
class Refresh:
    """Exchange the tokens of `flight`."""

    holder: Holder
    flight: Flight
    exchange: Exchange
    library: Any

    def run(self) -> None:
        with self._landing():
            try:
                with self._client("Client") as client:
                    response = client.send(self._request(client), auth=None, follow_redirects=False)
            except ERRORS as error:
                self._fail(f"the refresh had no answer: {type(error).__name__}")
                return
            tell = self._settle(response)
            if tell is not None:
                tell.run()
                self._adopt(tell)

    async def run_async(self) -> None:
        with self._landing():
            try:
                async with self._client("AsyncClient") as client:
                    response = await client.send(self._request(client), auth=None, follow_redirects=False)
            except ERRORS as error:
                self._fail(f"the refresh had no answer: {type(error).__name__}")
                return
            tell = self._settle(response)
            if tell is not None:
                await tell.run_async()
                self._adopt(tell)

    @contextmanager
    def _landing(self) -> Iterator[None]:
        """Whatever happens, nobody waits for ever.  After an error others know of it; a cancelled one was nobody."""
        try:
            yield
        except Exception as error:
            self._fail(f"the refresh was broken off by {type(error).__name__}")
            raise
        finally:
            self.holder.land(self.flight)

    def _client(self, kind: str) -> Any:
        client = self.exchange.client
        if client is None:
            return getattr(self.library, kind)()
        if hasattr(client, "aclose") != (kind == "AsyncClient"):
            raise ConfigurationError(f"client= is of the other kind; these requests are sent by a {kind}")
        return nullcontext(client)

    def _request(self, client: Any) -> Any:
        document = {"refreshToken": self.flight.tokens.refresh_token}
        return client.build_request("POST", str(self.exchange.url), json=document, timeout=TIMEOUT)

    def _settle(self, response: Any) -> Tell | None:
        """Whom to tell what, if the answer changes anything."""
        if response.status_code == 401:
            if not self.holder.end(self.flight):
                return None
            return Tell(self.exchange.on_change, None)
        if response.status_code != 200:
            self._fail(f"the refresh was answered with {response.status_code}")
            return None
        try:
            tokens = SessionTokens.from_json(response.json())
        except (ValueError, RecursionError, InvalidData) as error:
            reason = error if isinstance(error, InvalidData) else "it is not JSON"
            self._fail(f"the refresh was answered with something else than tokens: {reason}")
            return None
        return Tell(self.exchange.on_change, tokens) if self.holder.expects(self.flight) else None

    def _adopt(self, told: Tell) -> None:
        # Only now: had it not been kept, the tokens before would still be good, as long as these were never used.
        if told.tokens is not None:
            self.holder.succeed(self.flight, told.tokens)

    def _fail(self, message: str) -> None:
        self.holder.fail(self.flight, RefreshFailed(message))
