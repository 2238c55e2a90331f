"""`Sessions`, the one object users build: its verbs and its life."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self

from cachetools import LRUCache

from .admission import Admission
from .cookies import add_cookies, expired_cookies, session_cookies
from .errors import ConfigurationError, InvalidData, PublishableKeyError, quoted
from .figures import SessionStats, UserPage, UserSessions
from .inventory import Inventory
from .issuing import Issuer
from .keys import Keyring, load_access_keys
from .models import ClientInfo, Health, IssuedSession, Realm, Session, SessionPage, TokenClaims, instant
from .policy import CookiePolicy, Duration, TagPolicy, check_tag, seconds
from .realms import RealmContext, Realms
from .refreshing import Refresher
from .settings import check_found, check_options, check_realm, overridden, policies_by_tag, published_keyring, realm_of
from .stores.base import SessionStore
from .stores.urls import store_from
from .surveying import Survey
from .sync import SyncSessions
from .tokens import AccessTokens
from .verification import Verifier
from .worker import Worker

DEFAULT_STORE = "sqlite:///sessions.db"


class Sessions:
    """Issues, verifies, refreshes and revokes sessions.

    Args:
        access_key: ``"dak_..."`` or a sequence of them; the first signs, all verify.
        publishable_key: ``"dpk_..."`` instead: `inspect` only.
        product, env: the realm, e.g. ``"shop"`` and ``"prd"``.
        store: a URL (``"memory://"``, ``"sqlite:///sessions.db"``, ``"redis://host/0"``) or a `SessionStore`.
        tags: a `TagPolicy` for each session type; without any, every tag works with the default policy.
        cookies: how tokens travel in cookies; None: they do not.
        cache_size: how many verified tokens are kept.
        max_staleness: the longest that a cached session is trusted without proof that nothing was missed, in seconds.
        on_stale: what then happens: ``"check_store"`` at each request, or ``"refuse"`` with 503.
        leeway: clock difference that ``nbf``, ``iat`` and ``exp`` may show, in seconds.
        algorithm: ``"EdDSA"``, ``"Ed25519"``, ``"ES256"`` or ``"HS256"``.
        clock: answers Unix seconds.

    Raises:
        ConfigurationError: any of these is not usable; the message says how to mend it.

    Building touches no socket, file or task.  ``async with sessions:`` opens it; the middleware does so too, and a
    verb called first opens it by itself.
    """

    def __init__(
        self,
        *,
        access_key: str | Sequence[str] | None = None,
        publishable_key: str | None = None,
        product: str | None = None,
        env: str | None = None,
        store: str | SessionStore = DEFAULT_STORE,
        tags: Sequence[TagPolicy] = (),
        cookies: CookiePolicy | None = CookiePolicy(),  # noqa: B008  frozen
        cache_size: int = 50_000,
        max_staleness: Duration = 5,
        on_stale: Literal["check_store", "refuse"] = "check_store",
        leeway: Duration = 5,
        algorithm: str = "EdDSA",
        clock: Callable[[], float] = time.time,
    ) -> None:
        check_options(cookies, algorithm, on_stale, cache_size, clock)
        self.cookies = cookies
        self._tags = policies_by_tag(tags)
        self._default_policies: LRUCache[str, TagPolicy] = LRUCache(maxsize=256)
        self._realms: Realms | None = None
        if publishable_key is None:
            self.realm = realm_of(product, env)
            self._realms = Realms(load_access_keys("" if access_key is None else access_key), algorithm)
            self._home = self._realms[self.realm]
            self._keyring = self._home.keyring
        else:
            self._keyring = published_keyring(access_key, publishable_key, product, env)
            self.realm = self._keyring.realm
        self.worker = Worker(
            store_from(store),
            cache_size=cache_size,
            max_staleness=seconds(max_staleness, "max_staleness", most=3600),
            leeway=seconds(leeway, "leeway", least=0, most=300),
            clock=clock,
        )
        self.verifier = Verifier(self.worker, on_stale)
        self._issuer = Issuer(self.worker, cookies)
        self.refresher = Refresher(self.worker, self._issuer, self.verifier)
        self._inventory = Inventory(self.worker, self._issuer)
        self.admission = Admission(self.worker, self.verifier)
        self._survey = Survey(self.worker, self._inventory)
        self.sync = SyncSessions(self)

    @classmethod
    def from_env(cls, **options: Any) -> Sessions:
        """Built from ``DUCTAPE_ACCESS_KEY`` (several: comma-separated) or ``DUCTAPE_PUBLISHABLE_KEY``,
        ``DUCTAPE_PRODUCT``, ``DUCTAPE_ENV`` and ``DUCTAPE_STORE``; `options` go to `Sessions` and win.

        Raises:
            ConfigurationError: one of them is missing or bad.
        """
        found: dict[str, Any] = {
            name: os.environ[f"DUCTAPE_{name.upper()}"]
            for name in ("publishable_key", "product", "env", "store")
            if os.environ.get(f"DUCTAPE_{name.upper()}")
        }
        if os.environ.get("DUCTAPE_ACCESS_KEY"):
            found["access_key"] = [part.strip() for part in os.environ["DUCTAPE_ACCESS_KEY"].split(",")]
        check_found({**found, **options})
        return cls(**{**found, **options})

    # Life.

    async def __aenter__(self) -> Self:
        await self.worker.lifetime.enter()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.worker.lifetime.leave()

    def __repr__(self) -> str:
        return f"<Sessions realm='{self.realm}' store={type(self.worker.store).__name__}>"

    # Keys.

    @property
    def keyring(self) -> Keyring:
        """The keys of this realm: `.active`, `.keys`, `.jwks()`."""
        return self._keyring

    @property
    def publishable_key(self) -> str:
        """The verification-only key, ``dpk_...``, that a frontend may hold."""
        return self._keyring.publishable()

    # Verbs.

    async def start(
        self,
        *,
        tag: str,
        data: Any,
        identifier: str | None = None,
        expires_in: Duration | None = None,
        client: ClientInfo | Mapping[str, Any] | None = None,
        replaces: str | None = None,
        product: str | None = None,
        env: str | None = None,
    ) -> IssuedSession:
        """Start a session after a sign-in.

        Args:
            tag: the session type, e.g. ``"user-session"``.
            data: what the application wants to know on each request; sealed.  A dict, or an instance of the schema.
            identifier: whose session it is; else it is found in the data by the tag's selector.  Where the data
                names somebody else there, `update` will not take the same data again.
            expires_in: life of each access token of this session; else the tag's.
            client: where the sign-in comes from; an ASGI scope will do.
            replaces: id of a session that this one follows; it has ended when this answers.

        Returns:
            The tokens.  Hand them to the client and keep them nowhere.

        Raises:
            InvalidData: the data does not fit its schema or JSON, or there is no identifier.
            DataTooLarge: it does not fit into a token.
            SessionLimitReached: the person has `max_sessions`, and the policy rejects more.
            StoreUnavailable: nothing was started.
        """
        return await self._issuer.start(
            self.context(product, env),
            self.policy(tag),
            data=data,
            identifier=identifier,
            expires_in=expires_in,
            client=client,
            replaces=_text(replaces, "replaces", optional=True),
        )

    async def verify(
        self, *, tag: str, token: str | None, fresh: bool = False, product: str | None = None, env: str | None = None
    ) -> Session[Any]:
        """Prove an access token.

        Args:
            tag: the session type it must be of.
            token: as issued.
            fresh: ask the store even where the answer is cached.

        Raises:
            MissingToken: None or empty.
            InvalidToken: malformed, forged, for another realm or tag, or not a token at all.
            ExpiredToken: its time, or its session's, is over.
            RevokedSession: its session was ended.
            StoreUnavailable: it cannot be told now.

        A hit costs no store call and no cryptography.
        """
        context, policy = self.context(product, env), self.policy(tag)
        return await self.verifier.verify(context, {policy.tag: policy}, token, fresh=fresh)

    async def refresh(
        self,
        *,
        tag: str,
        refresh_token: str | None,
        client: ClientInfo | Mapping[str, Any] | None = None,
        product: str | None = None,
        env: str | None = None,
    ) -> IssuedSession:
        """Exchange a refresh token for a new pair; a retry gets the same child.

        Args:
            tag: the session type the token was issued for.
            refresh_token: as issued, ``"drt_..."``; opaque.
            client: where it is used from now; an ASGI scope will do.

        Raises:
            MissingToken: None or empty.
            InvalidToken: malformed, forged, or issued for another tag or realm; costs no store call.
            ExpiredToken: the session has reached its end.
            RevokedSession: the session was ended.
            RefreshReused: an old token came back; the session is now ended.

        Source: RFC 9700 section 4.14.2 (rotation).  Costs one store call.
        """
        context, policy = self.context(product, env), self.policy(tag)
        issued, _ = await self._issuer.refresh(context, policy, refresh_token=refresh_token, client=client)
        return issued

    async def revoke(self, *, tag: str, session_id: str, product: str | None = None, env: str | None = None) -> bool:
        """End one session.  Returns whether it was live.

        In this process it is refused at once; elsewhere as the store's promise says.
        """
        context, policy = self.context(product, env), self.policy(tag)
        return await self._inventory.revoke(context, policy, _text(session_id, "session_id") or "")

    async def revoke_all(
        self,
        *,
        tag: str,
        identifier: str,
        exclude_current_session: str | None = None,
        product: str | None = None,
        env: str | None = None,
    ) -> int:
        """End all sessions of one person and tag, but for `exclude_current_session`.  Returns how many.

        Raises:
            InvalidData: the excluded session is not a live one of theirs; nothing was ended.
        """
        context, policy = self.context(product, env), self.policy(tag)
        spare = _text(exclude_current_session, "exclude_current_session", optional=True)
        return await self._inventory.revoke_all(context, policy, identifier, spare)

    async def list(
        self,
        *,
        tag: str,
        identifier: str,
        limit: int = 100,
        cursor: str | None = None,
        product: str | None = None,
        env: str | None = None,
    ) -> SessionPage:
        """A page of one person's live sessions, newest first.

        Args:
            limit: sessions on a page, 1 to 1000.
            cursor: the `next_cursor` of the page before.

        Raises:
            InvalidData: a limit out of range, or a cursor that is not ours.
        """
        context, policy = self.context(product, env), self.policy(tag)
        return await self._inventory.list(context, policy, identifier, limit, _text(cursor, "cursor", optional=True))

    async def update(
        self,
        *,
        tag: str,
        data: Any,
        identifier: str | None = None,
        session_id: str | None = None,
        product: str | None = None,
        env: str | None = None,
    ) -> int:
        """Replace the data of all sessions of one person and tag, or of one session, without a sign-out.

        Each is verified with the new data within the revocation bound.  Returns how many sessions were changed.

        Raises:
            InvalidData: as for `start`; both or none of `identifier` and `session_id`; or data of somebody else.
            DataTooLarge: it does not fit into a token.
        """
        context, policy = self.context(product, env), self.policy(tag)
        if (identifier is None) == (session_id is None):
            raise InvalidData("update needs identifier= or session_id=, one of the two")
        one = _text(session_id, "session_id", optional=True)
        return await self._inventory.update(context, policy, data, identifier, one)

    async def ticket(
        self,
        *,
        tag: str,
        session: Session[Any] | None = None,
        session_id: str | None = None,
        product: str | None = None,
        env: str | None = None,
    ) -> str:
        """A ticket with which a browser that keeps its token in memory opens one WebSocket.

        Args:
            tag: the session type it must be of.
            session: as the middleware laid it on the request, or `verify` answered it.
            session_id: or its id, where the session is known by other means.

        Returns:
            ``"dtk_..."``, good for one handshake (``wss://...?ticket=dtk_...``) within 30 seconds, at a
            `DuctapeMiddleware` with `Ticket()` among its credentials.

        Raises:
            InvalidData: both or none of `session` and `session_id`, or a session of another tag or realm.
            RevokedSession, ExpiredToken: there is no live session of this id.
            StoreUnavailable: there is no ticket.

        Costs one store call; with `session_id`, two.  What ends the session meanwhile makes the ticket worthless.
        """
        context, policy = self.context(product, env), self.policy(tag)
        if (session is None) == (session_id is None):
            raise InvalidData("ticket needs session= or session_id=, one of the two")
        if session is not None and not isinstance(session, Session):
            raise InvalidData(f"session must be a Session, not {type(session).__name__}")
        one = _text(session_id, "session_id", optional=True)
        return await self.admission.issue(context, policy, session, one)

    async def inspect(self, *, token: str | None, product: str | None = None, env: str | None = None) -> TokenClaims:
        """The readable claims of an access token whose signature holds; it may have expired or been revoked.

        Raises:
            MissingToken, InvalidToken: as for `verify`.
        """
        if self._realms is not None:
            tokens = self.context(product, env).access_tokens
        else:
            check_realm(self.realm, product, env)
            tokens = AccessTokens(self._keyring)
        claims = tokens.read(token)
        return TokenClaims(
            session_id=claims.session_id,
            tag=claims.tag,
            realm=Realm(*claims.audience.split(":")),
            subject=claims.subject,
            issued_at=instant(claims.issued_at),
            not_before=instant(claims.not_before),
            expires_at=instant(claims.expires_at),
            auth_time=instant(claims.auth_time),
            version=claims.version,
            kid=claims.kid,
        )

    # For operators.

    async def stats(self, *, tag: str, product: str | None = None, env: str | None = None) -> SessionStats:
        """How many sessions and users there are; `SessionStats` defines each figure.

        Looks at every session of the store, in parts: for 10,000 sessions that takes a fraction of a second.

        Raises:
            ConfigurationError: the store is one of your own that does not count.
            StoreUnavailable: it did not answer.
        """
        return await self._survey.stats(self.context(product, env), self.policy(tag))

    async def users(
        self,
        *,
        tag: str,
        limit: int = 100,
        cursor: str | None = None,
        product: str | None = None,
        env: str | None = None,
    ) -> UserPage:
        """A page of the people who have active sessions, each once, in an order of the store's own that stays.

        Anonymous sessions are nobody's, and left out.  Where a tag allows them a page may be shorter than `limit`,
        or empty: the list is over where `next_cursor` is None.

        Args:
            limit: people on a page, 1 to 1000.
            cursor: the `next_cursor` of the page before.

        Raises:
            InvalidData: a limit out of range, or a cursor that is not ours.
            ConfigurationError, StoreUnavailable: as for `stats`.
        """
        context, policy = self.context(product, env), self.policy(tag)
        return await self._survey.users(context, policy, limit, _text(cursor, "cursor", optional=True))

    async def user(
        self, *, tag: str, identifier: str, product: str | None = None, env: str | None = None
    ) -> UserSessions:
        """One person by the exact identifier: their active sessions.  Somebody unknown has none.

        Raises:
            InvalidData: not an identifier.
        """
        return await self._survey.user(self.context(product, env), self.policy(tag), identifier)

    async def purge(self) -> int:
        """Remove every session whose time is over from the store.  Returns how many."""
        self.context(None, None)
        await self.worker.ready()
        return await self.worker.purge(before=self.worker.clock())

    async def health(self) -> Health:
        """How this worker stands with its store, for probes.  Costs one cheap store call, and a second at most.

        Raises:
            ConfigurationError: the store cannot be used at all.  One that is unavailable is an answer, not an error.
        """
        self.context(None, None)
        return await self.worker.health()

    # Cookies, for handlers of one's own.

    def set_cookies(self, response: Any, issued: IssuedSession) -> None:
        """Add a session's cookies to a Starlette or Litestar response.

        Raises:
            ConfigurationError: this `Sessions` was built with ``cookies=None``.
        """
        add_cookies(response, session_cookies(self._cookie_policy(), issued, self.worker.clock()))

    def clear_cookies(self, response: Any) -> None:
        """Remove all cookies of ours with a Starlette or Litestar response."""
        add_cookies(response, expired_cookies(self._cookie_policy()))

    def csrf_token(self, session: Session[Any] | IssuedSession | None) -> str:
        """What an unsafe request of this session carries with ``CookiePolicy(csrf_token=True)``, for a template.

        As the value of a form field ``csrf_token`` or of the header ``X-CSRF-Token``.  Good until the session ends,
        whatever is refreshed meanwhile, and a different text each time.  Without a session it is empty: there is
        nothing yet that another site could act for.

        Raises:
            ConfigurationError: nobody would look at it, since the policy does not say ``csrf_token=True``.
        """
        if not self._cookie_policy().csrf_token:
            raise ConfigurationError("nobody checks CSRF tokens yet: build Sessions with CookiePolicy(csrf_token=True)")
        if session is None:
            return ""
        realm = session.realm if isinstance(session, Session) else self.realm
        return self.context(realm.product, realm.env).csrf_tokens.write(session.session_id)

    # What the middleware and the routes build on.

    def context(self, product: str | None = None, env: str | None = None) -> RealmContext:
        """The tools of this realm, or of another one.

        Raises:
            PublishableKeyError: there is only a publishable key here.
            ConfigurationError: not a realm.
        """
        if self._realms is None:
            raise PublishableKeyError(
                "this Sessions holds a publishable key, which can only inspect; the backend needs access_key="
            )
        if product is None and env is None:
            return self._home
        return self._realms[overridden(self.realm, product, env)]

    def policy(self, tag: str) -> TagPolicy:
        """The policy of a tag.

        Raises:
            ConfigurationError: not a tag, or not one of those that were configured.
        """
        if self._tags:
            found = self._tags.get(tag) if isinstance(tag, str) else None
            if found is None:
                raise ConfigurationError(
                    f"tag={quoted(tag)} is not configured; tags= has {', '.join(sorted(self._tags))}"
                )
            return found
        policy = self._default_policies.get(check_tag(tag))
        if policy is None:
            policy = self._default_policies[tag] = TagPolicy(tag)
        return policy

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags that were configured; none: all work."""
        return tuple(self._tags)

    def _cookie_policy(self) -> CookiePolicy:
        if self.cookies is None:
            raise ConfigurationError("cookies are switched off: build Sessions with cookies=CookiePolicy()")
        return self.cookies


def _text(value: object, name: str, *, optional: bool = False) -> str | None:
    if isinstance(value, str) or (optional and value is None):
        return value
    raise InvalidData(f"{name} must be a string, not {type(value).__name__}")
