"""`DuctapeMiddleware`: one credential in, one `Session` on the scope, for any ASGI app."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MethodType
from typing import Any, Final, Literal

from .access import SESSION_KEY
from .audit import audit
from .auto_refresh import NOBODY, AutoRefresh, Outcome
from .cache import MIDDLE, Entry
from .credentials import Bearer, BodyField, Cookie, Credential
from .csrf import check_same_site, is_unsafe
from .csrf_forms import submitted
from .errors import CsrfRejected, DuctapeError, MissingToken, SessionError
from .handshakes import Subprotocol, Ticket, answers_of, taken
from .lifespan import run_lifespan
from .models import Session
from .options import Options, checked_options
from .problems import (
    OPTIONS_KEY,
    ASGIApp,
    Receive,
    Scope,
    Send,
    answer,
    answer_failure,
    answer_instead,
    answering,
    note,
)
from .sessions import Sessions
from .streams import Socket

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class DuctapeMiddleware:
    """Verifies each request's credential and lays the session on the scope.

    Args:
        app: any ASGI app.
        sessions: the `Sessions`; opened and closed with the app's lifespan.
        tag: the session type to accept, or several; may be left out when `sessions` has exactly one.
        required: refuse requests without a session.
        exempt: paths where none is required: exact, or ``"/x/*"``.
        credentials: where a token may stand; a cookie is looked at last.  `Ticket()` and `Subprotocol()`, for
            WebSockets, count only where they are named.
        allowed_origins: other origins whose pages may send cookie-authenticated requests.
        auto_refresh: serve a request whose access cookie has expired or is absent by its refresh cookie, and set new
            cookies with the answer; only where it comes from our own pages or opens a page, and never for sockets.
        trusted_proxies: addresses or networks whose ``X-Forwarded-For`` is believed.
        set_user: also set ``scope["user"]`` and ``scope["auth"]``.
        state_key: the name on ``request.state``.
        stream_until: what ends a WebSocket or event stream by its time: the ``"session"``, or the access ``"token"``.

    Raises:
        ConfigurationError: any of these is not usable.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        sessions: Sessions,
        tag: str | Sequence[str] | None = None,
        required: bool = False,
        exempt: Sequence[str] = (),
        credentials: Sequence[Credential] = (Bearer(), Cookie()),
        allowed_origins: Sequence[str] = (),
        auto_refresh: bool = True,
        trusted_proxies: Sequence[str] = (),
        set_user: bool = True,
        state_key: str = "session",
        stream_until: Literal["session", "token"] = "session",
    ) -> None:
        options = checked_options(
            sessions,
            tag=tag,
            required=required,
            exempt=exempt,
            credentials=credentials,
            allowed_origins=allowed_origins,
            auto_refresh=auto_refresh,
            trusted_proxies=trusted_proxies,
            set_user=set_user,
            state_key=state_key,
            stream_until=stream_until,
        )
        self.app = app
        worker = sessions.worker
        # Installed again with equal options, it is the same one: what one of them has verified is a hit of all.
        self.options: Options = worker.installed.setdefault(options, options)
        self._set_user, self._state_key = set_user, state_key
        self._clock, self._elapsed, self._feed = worker.clock, worker.feed.elapsed, worker.feed
        self._cache, self._by_bearer, self._by_cookie = worker.cache, worker.cache.by_bearer, worker.cache.by_cookie
        # The quick way knows the two usual credentials, in their usual order.  With others, entries have no owner.
        for_requests = tuple(one for one in self.options.credentials if not isinstance(one, Ticket | Subprotocol))
        self._quick = for_requests[:1] == (Bearer(),)
        self._quick_cookie = for_requests == (Bearer(), Cookie()) and sessions.cookies is not None
        cookies = sessions.cookies if Cookie() in self.options.credentials else None
        self._csrf_tokens = cookies is not None and cookies.csrf_token
        self._auto_refresh = None
        if cookies is not None and auto_refresh:
            self._auto_refresh = AutoRefresh(sessions, cookies, options.policies, options.allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A hit, spelled out with what `Options.lay` and `answering` do: each call would cost a tenth of the whole.
        # Before the entry: else another thread, which reads the log between the two, could remove the entry that was
        # found already and then vouch for it.
        word, applied, until, until_wall = self._feed.trust
        entry = None
        if scope["type"] == "http" and OPTIONS_KEY not in scope:
            authorization = None
            for name, value in scope["headers"]:
                if name == b"authorization":
                    # Of two, neither counts here: nothing is kept under an empty header.
                    authorization = value if authorization is None else b""
            entry = self._find_by_cookie(scope) if authorization is None else self._by_bearer.get(authorization)
        # Named before they are called: ``self.app(...)`` would look for a method first.
        app, clock, elapsed = self.app, self._clock, self._elapsed
        if not (
            entry is not None
            and entry.owner is self.options
            and self._cache.usable_from <= (now := clock())
            and now < entry.check_at
            and now < until_wall
            and word[0] == applied
            and elapsed() < until
        ):
            await self._other(scope, receive, send)
            return
        entry.used = True
        scope[OPTIONS_KEY] = self.options
        scope[SESSION_KEY] = session = entry.session
        if self._set_user:
            scope["user"] = scope["auth"] = session
        try:
            scope["state"][self._state_key] = session
        except KeyError:
            scope["state"] = {self._state_key: session}
        sent: list[Any] = [send, scope]
        try:
            await app(scope, receive, MethodType(note, sent))
        except DuctapeError as error:
            await answer_instead(error, sent, receive)
        finally:
            if sent[0] is not send:
                await sent[0].release()

    def _find_by_cookie(self, scope: Scope) -> Entry | None:
        """The entry of exactly this ``Cookie`` header, on a request that no other site could have any use of."""
        cookie = None
        for name, value in scope["headers"]:
            if name == b"cookie":
                if cookie is not None:
                    return None
                cookie = value
        if cookie is None or scope["method"] not in _SAFE or not self._quick_cookie:
            return None
        middle = len(cookie) >> 1
        entry = self._by_cookie.get(cookie[middle : middle + MIDDLE])
        return entry if entry is not None and entry.cookie == cookie else None

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await run_lifespan(self.app, self.options.sessions, scope, receive, send)
        elif scope["type"] not in ("http", "websocket") or scope.get(OPTIONS_KEY) == self.options:
            await self.app(scope, receive, send)
        else:
            await self._decide(scope, receive, send)

    async def _decide(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Everything that is not a plain hit: find the credential, verify it, refuse or hand on."""
        # Before anything can be refused: what is read of a body must be there for the app whatever happens.
        bodies, receive = await self._bodies(scope, receive)
        if scope["type"] == "websocket":
            send = taken(scope, self.options.credentials, send)
        csrf_tokens: tuple[str, ...] = ()
        if self._csrf_tokens and scope["type"] == "http" and is_unsafe(scope):
            csrf_tokens, receive = await submitted(scope, receive)
        try:
            outcome = await self._authenticate(scope, bodies, csrf_tokens)
        except CsrfRejected as rejected:
            self._audit("csrf.rejected", rejected)
            await answer(rejected, scope, receive, send)
            return
        session, error = outcome.session, outcome.error
        if outcome.sending is not None:
            send = outcome.sending(send)
        refusal = self._refusal(scope, session, error)
        if refusal is not None:
            await answer_failure(refusal, scope, receive, send)
            return
        self.options.lay(scope, session, error)
        if scope["type"] == "websocket" and session is not None:
            async with Socket(self.options, scope, receive, send) as socket:
                await answering(self.app, scope, socket.receive, socket.send)
        else:
            await answering(self.app, scope, receive, send)

    async def _authenticate(
        self, scope: Scope, bodies: Mapping[BodyField, bytes], csrf_tokens: tuple[str, ...]
    ) -> Outcome:
        """Whose request it is, by its credential or by its refresh cookie.

        Raises:
            CsrfRejected: a cookie says so, and the request does not come from us.
        """
        token, credential, error = None, None, None
        try:
            token, credential = self._only_credential(scope, bodies)
            if token is not None:
                return Outcome(await self._verified(scope, token, credential, csrf_tokens), None)
        except CsrfRejected:
            raise
        except DuctapeError as refused:
            error = refused
        renewal = self._auto_refresh
        if renewal is None or not renewal.concerns(scope) or not isinstance(credential, Cookie | None):
            return NOBODY if error is None else Outcome(None, error)
        return await renewal.attempt(scope, token, error, csrf_tokens, self.options)

    def _refusal(self, scope: Scope, session: Session[Any] | None, error: DuctapeError | None) -> DuctapeError | None:
        """Why the app must not run, if it must not."""
        if session is not None or self.options.exempts(scope):
            return None
        if error is not None and not isinstance(error, SessionError):
            return error
        if self.options.required:
            return error or MissingToken("this needs a session")
        return None

    async def _bodies(self, scope: Scope, receive: Receive) -> tuple[dict[BodyField, bytes], Receive]:
        """The body for each `BodyField` that looks into it, and the `receive` to go on with."""
        bodies: dict[BodyField, bytes] = {}
        for credential in self.options.credentials:
            if isinstance(credential, BodyField):
                bodies[credential], receive = await credential.read(scope, receive)
        return bodies, receive

    def _only_credential(self, scope: Scope, bodies: Mapping[BodyField, bytes]) -> tuple[str | None, Credential | None]:
        try:
            return self._credential(scope, bodies)
        except SessionError as error:
            self._audit("token.refused", error)
            raise

    def _audit(self, event: str, error: DuctapeError) -> None:
        context = self.options.sessions.context()
        tags = ",".join(self.options.tags)
        audit(event, context.log_key, context.audience, tags, reason=f"{error.code}: {error}")

    def _credential(self, scope: Scope, bodies: Mapping[BodyField, bytes]) -> tuple[str | None, Credential | None]:
        """What the first credential that is present has brought, and which it was."""
        policy = self.options.sessions.cookies
        for credential in self.options.credentials:
            if isinstance(credential, BodyField):
                token = credential.token(bodies[credential])
            elif isinstance(credential, Cookie):
                token = credential.token(scope, policy) if policy is not None else None
            else:
                token = credential.token(scope)
            if token is not None:
                return token, credential
        return None, None

    async def _verified(
        self, scope: Scope, token: str, credential: Credential | None, csrf_tokens: tuple[str, ...]
    ) -> Session[Any]:
        options = self.options
        if isinstance(credential, Ticket):
            return await self._admitted(scope, token)
        by_cookie = isinstance(credential, Cookie)
        verifier = options.sessions.verifier
        session = await verifier.verify(options.sessions.context(), options.policies, token)
        if by_cookie and is_unsafe(scope):
            check_same_site(scope, options.allowed_origins)
            if self._csrf_tokens and scope["type"] == "http":
                options.sessions.context().csrf_tokens.check(session.session_id, csrf_tokens)
        entry = verifier.entry(token)
        if entry is not None and entry.session is session:
            self._prepare(scope, entry, by_cookie)
        return session

    async def _admitted(self, scope: Scope, ticket: str) -> Session[Any]:
        """The session of a ticket; it may be one that another middleware, farther out, has taken it for."""
        sessions, answers = self.options.sessions, answers_of(scope)
        if ticket in answers and answers[ticket][0] is sessions:
            session: Session[Any] = answers[ticket][1]
            if session.tag in self.options.policies:
                return session
        session = await sessions.admission.redeem(sessions.context(), self.options.policies, ticket)
        answers[ticket] = sessions, session
        return session

    def _prepare(self, scope: Scope, entry: Entry, by_cookie: bool) -> None:
        """Make the next request with this credential a plain hit, unless another middleware has done so for itself."""
        if entry.owner is None and self._quick:
            entry.owner = self.options
        cookies = [value for name, value in scope["headers"] if name == b"cookie"]
        if by_cookie and len(cookies) == 1:
            self.options.sessions.worker.cache.link_cookie(entry, cookies[0])
