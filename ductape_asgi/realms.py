"""What one realm needs at hand: its keyring, the readers and writers built on it, and its pseudonym key."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from cachetools import LRUCache

from .csrf_tokens import CsrfTokens
from .encoding import to_json
from .errors import InvalidToken, StoreUnavailable
from .keys import AccessKey, Keyring
from .models import ClientInfo, Realm, SessionRecord
from .refresh_tokens import RefreshTokens
from .sealing import Pseudonyms, RecordSealer, Unsealable
from .stores.base import SessionStore
from .tickets import Tickets
from .tokens import AccessTokens

_UNKNOWN = ClientInfo()
#: Realms kept at hand; more are derived again when they are used.
_AT_HAND = 256


@dataclass(frozen=True, slots=True)
class Subjects:
    """The pseudonyms of a realm in one store.  `kept` is their key as that store keeps it for the active access key."""

    pseudonyms: Pseudonyms
    kept: bytes = field(repr=False)


class RealmContext:
    """The tools of one realm."""

    def __init__(self, keyring: Keyring, random_bytes: Callable[[int], bytes]) -> None:
        self.keyring = keyring
        self.realm = keyring.realm
        self.audience = keyring.realm.audience
        self.active_key_id = keyring.members[0].key_id
        self.log_key = keyring.members[0].log
        self.access_tokens = AccessTokens(keyring, random_bytes)
        self.refresh_tokens = RefreshTokens(keyring)
        self.tickets = Tickets(keyring)
        self.csrf_tokens = CsrfTokens(keyring, random_bytes)
        self._sealer = RecordSealer(keyring, random_bytes)
        self._random_bytes = random_bytes
        self._subjects: tuple[str | None, Subjects] | None = None

    async def subjects(self, store: SessionStore, epoch: str | None) -> Subjects:
        """As `ask_subjects`, or what was at hand already while the store's log was this `epoch`."""
        at_hand = self._subjects
        if at_hand is not None and at_hand[0] == epoch:
            return at_hand[1]
        subjects = await self.ask_subjects(store)
        self._subjects = epoch, subjects
        return subjects

    async def ask_subjects(self, store: SessionStore) -> Subjects:
        """The realm's pseudonyms.  Their key is drawn once and kept in the store, sealed by every access key.

        It is not derived, so that an access key can be replaced without any subject changing.

        Raises:
            StoreUnavailable: the store failed, or what it keeps is damaged.
        """
        kept = await store.claim_secret(self.audience, self._offers(self._random_bytes(32)))
        secret = self._opened(kept)
        for name, offer in self._offers(secret).items():
            if name not in kept:
                kept.update(await store.claim_secret(self.audience, {name: offer}))
        return Subjects(Pseudonyms(secret), kept[self.active_key_id])

    def forget_subjects(self) -> None:
        """Have the store asked again: it is not the one that was asked."""
        self._subjects = None

    def _offers(self, secret: bytes) -> dict[str, bytes]:
        place = ("pseudonyms", (self.audience,))
        return {member.key_id: self._sealer.seal_with(member, *place, secret) for member in self.keyring.members}

    def _opened(self, kept: Mapping[str, bytes]) -> bytes:
        """What the first of our keys opens that can.  Each opens what is kept under its name, unless that is damaged:
        which is no fault of whoever comes with a token."""
        for member in self.keyring.members:
            with suppress(Unsealable, TypeError):
                if member.key_id in kept:
                    return self._sealer.unseal("pseudonyms", (self.audience,), kept[member.key_id])
        raise StoreUnavailable(
            f"the secrets of realm {self.audience} are damaged in the session store, and nobody can be found without"
            " them: restore a backup of the store, or remove them, and everybody signs in again"
        )

    # What a record holds, sealed.  Identity and client are bound to the session; data to the person and tag, so
    # that one update can give all their sessions the same bytes.

    def seal_identity(self, tag: str, session_id: str, identifier: str | None) -> bytes:
        document = f'{{"identifier":{to_json(identifier)}}}'.encode()
        return self._sealer.seal("identity", (self.audience, tag, session_id), document)

    def seal_client(self, tag: str, session_id: str, client: ClientInfo) -> bytes:
        if client == _UNKNOWN:
            return b""
        document = to_json({"ip": client.ip, "user_agent": client.user_agent, "label": client.label}).encode()
        return self._sealer.seal("client", (self.audience, tag, session_id), document)

    def seal_data(self, tag: str, subject: str, document: bytes) -> bytes:
        return self._sealer.seal("data", (self.audience, tag, subject), document)

    def identifier_of(self, record: SessionRecord) -> str | None:
        return self.identifier_in(record.tag, record.session_id, record.identity)

    def identifier_in(self, tag: str, session_id: str, identity: bytes) -> str | None:
        """Whose a session is, from the sealed identity in its record; None for an anonymous one.

        Raises:
            InvalidToken: none of our access keys opens it.
        """
        document = self._unseal("identity", (self.audience, tag, session_id), identity)
        identifier: str | None = json.loads(document)["identifier"]
        return identifier

    def client_of(self, record: SessionRecord) -> ClientInfo:
        """Where the session is used from; unknown where it was sealed by a key that is gone."""
        if not record.client:
            return _UNKNOWN
        try:
            document = self._unseal("client", (self.audience, record.tag, record.session_id), record.client)
        except InvalidToken:
            return ClientInfo()
        known: dict[str, Any] = json.loads(document)
        return ClientInfo(**known)

    def data_of(self, record: SessionRecord) -> bytes:
        return self._unseal("data", (self.audience, record.tag, record.subject), record.data)

    def needs_reseal(self, record: SessionRecord) -> bool:
        sealed = [text for text in (record.identity, record.client, record.data) if text]
        return not all(map(self._sealer.made_by_active, sealed))

    def resealed(self, record: SessionRecord, identifier: str | None, document: bytes) -> SessionRecord:
        """The record, sealed by the active key."""
        return replace(
            record,
            identity=self.seal_identity(record.tag, record.session_id, identifier),
            client=self.seal_client(record.tag, record.session_id, self.client_of(record)),
            data=self.seal_data(record.tag, record.subject, document),
        )

    def _unseal(self, kind: str, place: tuple[str, ...], sealed: bytes) -> bytes:
        try:
            return self._sealer.unseal(kind, place, sealed)
        except Unsealable as error:
            raise InvalidToken(f"the stored {kind} of this session cannot be opened: {error}") from None


class Realms:
    """The realms of one set of access keys, each derived when it is first used."""

    def __init__(
        self, access_keys: Sequence[AccessKey], algorithm: str, random_bytes: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._access_keys = access_keys
        self._algorithm = algorithm
        self._random_bytes = random_bytes
        self._contexts: LRUCache[Realm, RealmContext] = LRUCache(maxsize=_AT_HAND)

    def __getitem__(self, realm: Realm) -> RealmContext:
        context = self._contexts.get(realm)
        if context is None:
            keyring = Keyring.derive(self._access_keys, realm, self._algorithm)
            context = self._contexts[realm] = RealmContext(keyring, self._random_bytes)
        return context
