"""What an OpenAPI document says of sessions: schemes, requirements and problem responses.

For whoever writes an adapter to a framework that makes such documents; `ductape_fastapi` and `ductape_litestar` do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

from .access import Guard
from .credentials import Bearer, Cookie, Header
from .options import Options

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_UNAVAILABLE: Final = "Sessions cannot be checked right now. Try again in a moment."


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request was refused (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str


#: The same as JSON Schema.
PROBLEM_SCHEMA: Final[dict[str, Any]] = {
    "title": "Problem",
    "description": "Why a request was refused (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "title": "Type"},
        "title": {"type": "string", "title": "Title"},
        "status": {"type": "integer", "title": "Status"},
        "detail": {"type": "string", "title": "Detail"},
        "code": {"type": "string", "title": "Code", "description": "For programs: it never changes."},
    },
}


@dataclass(frozen=True, slots=True)
class Operation:
    """What is known of one operation.

    Args:
        method: upper case, e.g. ``"GET"``.
        path: as the document has it, e.g. ``"/items/{id}"``.
        guards: those that stand before it.
        scopes: more demands, as `access.guards_for` reads them; listed as they were written.
        reads_session: it looks at the session, and works without.
        demanded: whether `required=True` counts here, where `exempt` says nothing.
    """

    method: str
    path: str
    guards: tuple[Guard, ...] = ()
    scopes: tuple[str, ...] = ()
    reads_session: bool = False
    demanded: bool = True


class SessionDocs:
    """What to say of operations behind a `DuctapeMiddleware`, from its ``options``."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.schemes = _schemes(options)
        """Security schemes by name, as OpenAPI has them; a token in a body has none."""

    def requirements(self, operation: Operation) -> list[dict[str, list[str]]]:
        """Its security requirements, any one of which is enough: one for each scheme and each way to have the rights.

        ``{}`` among them means that it works without a session; an empty list, that there is nothing to say.
        """
        guarded = self._is_guarded(operation)
        if not self.schemes or not (guarded or operation.reads_session):
            return []
        anonymous: list[dict[str, list[str]]] = [] if guarded else [{}]
        return [*anonymous, *({name: way} for name in self.schemes for way in _ways(operation))]

    def problems(self, operation: Operation) -> dict[int, str]:
        """The statuses with which this operation is refused for its session, and what each means."""
        if self._is_guarded(operation):
            return {401: _unauthorized(operation.guards), 403: "The session does not allow this.", 503: _UNAVAILABLE}
        if not operation.reads_session:
            return {}
        cookies = "sessionCookie" in self.schemes and operation.method not in _SAFE
        return {**({403: "The request did not come from this site."} if cookies else {}), 503: _UNAVAILABLE}

    def _is_guarded(self, operation: Operation) -> bool:
        """Whether nobody gets through without a session."""
        if operation.guards or operation.scopes:
            return True
        required = self._options.required and operation.demanded
        return required and not self._options.exempts({"path": operation.path})


def _schemes(options: Options) -> dict[str, dict[str, str]]:
    schemes: dict[str, dict[str, str]] = {}
    for credential in options.credentials:
        if isinstance(credential, Bearer):
            schemes["sessionBearer"] = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
        elif isinstance(credential, Cookie) and options.sessions.cookies is not None:
            cookie = options.sessions.cookies.access_name
            schemes["sessionCookie"] = {"type": "apiKey", "in": "cookie", "name": cookie}
        elif isinstance(credential, Header):
            name = "sessionHeader" if "sessionHeader" not in schemes else f"sessionHeader_{credential.name}"
            schemes[name] = {"type": "apiKey", "in": "header", "name": credential.name}
    return schemes


def _ways(operation: Operation) -> list[list[str]]:
    """The sets of scopes that are enough, without those that ask for more than another does."""
    written = list(dict.fromkeys(operation.scopes))
    chosen = {_union(choice) for choice in product(*(guard.alternatives() for guard in operation.guards))}
    least = [way for way in chosen if not any(other < way for other in chosen)]
    return sorted([*written, *sorted(way - set(written))] for way in least)


def _union(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset[str]().union(*sets)


def _unauthorized(guards: Iterable[Guard]) -> str:
    recent = [guard.seconds for guard in guards if guard.kind == "recent_auth"]
    return f"No session, or its sign-in was more than {min(recent)} s ago." if recent else "No session."
