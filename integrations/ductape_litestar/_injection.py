"""The dependency ``session``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from litestar.handlers import BaseRouteHandler
from litestar.types import Scope
from litestar.typing import FieldDefinition

from ductape_asgi import Session, require_session


async def provide_session(scope: Scope) -> Session[Any] | None:
    """The dependency ``session``.

    Raises:
        SessionError: there is none, and the handler, or a dependency of its, cannot do without.
    """
    raw = cast("dict[str, Any]", scope)
    session: Session[Any] | None = raw["ductape.session"]
    if session is None and needs_session(scope["route_handler"]):
        return require_session.check_scope(raw)  # which says why there is none
    return session


def needs_session(handler: BaseRouteHandler) -> bool:
    """Whether the handler, or a dependency it asks for, takes a `session` of ours that may not be None."""
    return any(not parameter.is_optional for parameter in _session_parameters(handler))


def injects_session(handler: BaseRouteHandler) -> bool:
    """Whether the handler, or a dependency it asks for, takes a `session` of ours."""
    return any(True for _ in _session_parameters(handler))


def _session_parameters(handler: BaseRouteHandler) -> Iterator[FieldDefinition]:
    providers = handler.resolve_dependencies()
    if "session" not in providers or providers["session"].dependency is not provide_session:
        return
    waiting, seen = [handler.parsed_fn_signature], set[str]()
    while waiting:
        for name, parameter in waiting.pop().parameters.items():
            if name == "session":
                yield parameter
            elif name in providers and name not in seen:
                seen.add(name)
                waiting.append(providers[name].parsed_fn_signature)
