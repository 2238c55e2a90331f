"""`SessionAuth`: one flow for httpx2 and httpx, for their sync and their async clients."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Mapping
from typing import Any

from ..errors import ConfigurationError
from ..models import IssuedSession
from .failures import RefreshFailed
from .holder import Holder, Lead
from .libraries import AuthBase, library_of, origin_of, parse_origin, parse_url
from .steps import Exchange, OnChange, Read, Refresh, Step, Tell, Wait
from .tokens import SessionTokens, tokens_from

_REFUSED = re.compile(r'\berror="?invalid_token\b')

Tokens = SessionTokens | IssuedSession | Mapping[str, Any]


class SessionAuth(AuthBase):
    """Sends the access token of a session, and exchanges it in time: ``httpx2.AsyncClient(auth=SessionAuth(...))``.

    One object serves any number of clients, sync and async, of httpx2 and httpx, in any threads and event loops:
    however many requests wait, one refresh is sent.

    Args:
        tokens: what the login answered: its JSON, an `IssuedSession` or `SessionTokens`; None: nobody is signed in yet.
        refresh_url: where ``POST {"refreshToken": ...}`` answers the next tokens.
        origins: where the access token may be sent; left out: the origin of `refresh_url`.  Requests to others go
            without it, and so does what a redirect sends elsewhere.
        on_change: called with new `SessionTokens` before they are used, and with None when the session is over; may
            be a coroutine function where all clients are async.  Keep them, or a restart signs out.  It must not send
            with this object.  If it raises, so does the request; the tokens are those before, and good.
        client: sends the refreshes, without `auth` and redirects: a client of the kind that `auth` is used with, or
            that very one.  Left out: a plain one is made for each refresh.
        clock: answers Unix seconds.

    Raises:
        ConfigurationError: any of these is not usable, or there is neither httpx2 nor httpx.
        InvalidData: `tokens` are none.

    A request raises `NoSession` or `SessionOver` without being sent, and `RefreshFailed` when the access token is no
    longer good and no other was to be had.  While it is good, a refresh that fails harms nobody.
    """

    def __init__(
        self,
        tokens: Tokens | None = None,
        *,
        refresh_url: str,
        origins: Collection[str] | None = None,
        on_change: OnChange | None = None,
        client: Any = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        url = parse_url(refresh_url, "refresh_url", "https://app.example.com/auth/refresh")
        if isinstance(origins, str):
            raise ConfigurationError(f'origins={origins!r}: give a list of them, ["https://api.example.com"]')
        self._origins = {origin_of(url)} if origins is None else {parse_origin(origin) for origin in origins}
        if on_change is not None and not callable(on_change):
            raise ConfigurationError(f"on_change= takes a function of the new tokens, not {type(on_change).__name__}")
        if client is not None and not hasattr(client, "post"):
            raise ConfigurationError(f"client= takes a client of httpx2 or httpx, not {type(client).__name__}")
        self._exchange = Exchange(url, client, on_change)
        self._holder = Holder(None if tokens is None else tokens_from(tokens), clock)

    def __repr__(self) -> str:
        tokens = self.tokens
        return f"<SessionAuth {self._exchange.url} {f'session {tokens.session_id}' if tokens else 'without a session'}>"

    @property
    def tokens(self) -> SessionTokens | None:
        """The tokens as they are now; None: nobody is signed in, or the session is over."""
        return self._holder.tokens

    def set_tokens(self, tokens: Tokens | None) -> None:
        """Go on with the tokens of another sign-in; None: forget all, after a sign-out.  Does not call `on_change`.

        Raises:
            InvalidData: these are no tokens.
        """
        self._holder.put(None if tokens is None else tokens_from(tokens))

    # What the libraries call.

    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        flow = self._flow(request, blocking=True)
        step = next(flow, None)
        while step is not None:
            if isinstance(step, Step):
                step.run()
                step = _advance(flow, None)
            else:
                step = _advance(flow, (yield step))

    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        flow = self._flow(request, blocking=False)
        step = next(flow, None)
        while step is not None:
            if isinstance(step, Step):
                await step.run_async()
                step = _advance(flow, None)
            else:
                step = _advance(flow, (yield step))

    # The flow.

    def _flow(self, request: Any, *, blocking: bool) -> Generator[Any, Any, None]:
        """Yields requests to send, which answer responses, and steps to run."""
        if origin_of(request.url) not in self._origins:
            yield request
            return
        token = yield from self._token(request, blocking=blocking)
        request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if not self._refused(response):
            return
        if self._holder.refused(token):
            yield Tell(self._exchange.on_change, None)
        if not _repeatable(request):
            return
        yield Read(response)
        token = yield from self._token(request, blocking=blocking)
        request.headers["Authorization"] = f"Bearer {token}"
        yield request

    def _token(self, request: Any, *, blocking: bool) -> Generator[Step, None, str]:
        while True:
            plan = self._holder.plan(blocking=blocking)
            if isinstance(plan, str):
                return plan
            if isinstance(plan, Lead):
                yield Refresh(self._holder, plan.flight, self._exchange, library_of(request))
            else:
                yield Wait(plan.flight)
            if plan.flight.found is not None:
                # Whatever the clock says by now: another refresh would find nothing newer.
                return plan.flight.found.token
            if plan.flight.failure is not None and not self._holder.good():
                raise RefreshFailed(str(plan.flight.failure))

    def _refused(self, response: Any) -> bool:
        """Whether one of our origins says that the access token is not good."""
        return (
            response.status_code == 401
            and origin_of(response.request.url) in self._origins
            and _REFUSED.search(response.headers.get("www-authenticate", "")) is not None
        )


def _advance(flow: Generator[Any, Any, None], answer: Any) -> Any:
    """The next request or step of a flow, or None at its end."""
    try:
        return flow.send(answer)
    except StopIteration:
        return None


def _repeatable(request: Any) -> bool:
    """Whether a request can be sent twice: a body that streams has gone with the first."""
    try:
        request.content  # noqa: B018  raises where it is not at hand
    except library_of(request).RequestNotRead:
        return False
    return True
