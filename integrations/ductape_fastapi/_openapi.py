"""What the OpenAPI document of a FastAPI app says of sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any

from fastapi import FastAPI, routing
from fastapi.dependencies.models import Dependant

from ductape_asgi import Guard, require_session
from ductape_asgi.openapi import PROBLEM_MEDIA_TYPE, PROBLEM_SCHEMA, Operation, SessionDocs

from ._dependencies import current_session, optional_session

Document = dict[str, Any]


def document(app: FastAPI, docs: SessionDocs) -> None:
    """Have ``app.openapi``, whoever wrote it and whenever, tell of sessions."""
    _extend(app, docs)
    build = app.build_middleware_stack

    def built() -> Any:
        # An `app.openapi` that was set after `install` is there by now: this is the first request.
        _extend(app, docs)
        return build()

    app.build_middleware_stack = built  # type: ignore[method-assign]


def _extend(app: FastAPI, docs: SessionDocs) -> None:
    written = app.openapi
    if getattr(written, "tells_of_sessions", False):
        return

    def documented() -> Document:
        found = written()
        named = found.setdefault("components", {}).setdefault("securitySchemes", {})
        if not docs.schemes or not docs.schemes.keys() <= named.keys():  # else it has been told already
            named.update(deepcopy(docs.schemes))  # a document is its app's, to change as it likes
            _describe(app, docs, found)
        return found

    documented.tells_of_sessions = True  # type: ignore[attr-defined]
    app.openapi = documented  # type: ignore[method-assign]


def _describe(app: FastAPI, docs: SessionDocs, found: Document) -> None:
    reference = None
    for operation in _operations(app):
        described = found.get("paths", {}).get(operation.path, {}).get(operation.method.lower())
        wanted, refusals = docs.requirements(operation), docs.problems(operation)
        if described is None or not refusals:
            continue
        reference = reference or _problem_schema(found)
        _require(described, wanted if _lists_scopes(found) else _without_scopes(wanted))
        for status, meaning in refusals.items():
            described.setdefault("responses", {}).setdefault(str(status), _response(status, meaning, reference))


def _operations(app: FastAPI) -> Iterator[Operation]:
    for route in _api_routes(app):
        guards, scopes, reads = _demands(route.dependant)
        for method in route.methods:
            yield Operation(method, route.path_format, guards, scopes, reads)


def _api_routes(app: FastAPI) -> list[Any]:
    """Routes, or in newer versions of FastAPI, which includes routers lazily, what stands for them."""
    each: Callable[[Any], Iterable[Any]] = getattr(routing, "iter_route_contexts", iter)
    return [
        route for route in each(app.routes) if isinstance(getattr(route, "original_route", route), routing.APIRoute)
    ]


def _demands(dependant: Dependant) -> tuple[tuple[Guard, ...], tuple[str, ...], bool]:
    """The guards, the scopes of ours, and whether a session is looked at, in a tree of dependencies."""
    guards: dict[Guard, None] = {}
    scopes: dict[str, None] = {}
    reads = False
    for call, asked in _calls(dependant, ()):
        guard = require_session if call is current_session else call
        if isinstance(guard, Guard):
            guards[guard] = None
        elif call is not optional_session:
            continue
        reads = True
        scopes.update(dict.fromkeys(asked))
    return tuple(guards), tuple(scopes), reads


def _calls(dependant: Dependant, inherited: tuple[str, ...]) -> Iterator[tuple[object, tuple[str, ...]]]:
    for child in dependant.dependencies:
        # Older versions of FastAPI call them `security_scopes`.
        own = getattr(child, "own_oauth_scopes", None) or getattr(child, "security_scopes", None) or ()
        scopes = tuple(dict.fromkeys((*inherited, *own)))
        yield child.call, scopes
        yield from _calls(child, scopes)


def _require(described: Document, wanted: list[dict[str, list[str]]]) -> None:
    """Add requirements to an operation; what its other dependencies require is required as well."""
    others = described.get("security")
    if wanted and others is None:
        described["security"] = wanted
    elif wanted and others:
        described["security"] = [{**other, **ours} for other in others for ours in wanted]


def _lists_scopes(found: Document) -> bool:
    """Before 3.1, only OAuth 2 and OpenID Connect had scopes."""
    return not str(found.get("openapi", "")).startswith("3.0")


def _without_scopes(wanted: Iterable[Mapping[str, object]]) -> list[dict[str, list[str]]]:
    plain = dict.fromkeys(tuple(one) for one in wanted)
    return [{name: [] for name in names} for names in plain]


def _problem_schema(found: Document) -> str:
    schemas = found["components"].setdefault("schemas", {})
    name = "Problem" if schemas.get("Problem", PROBLEM_SCHEMA) == PROBLEM_SCHEMA else "SessionProblem"
    schemas[name] = deepcopy(PROBLEM_SCHEMA)
    return f"#/components/schemas/{name}"


def _response(status: int, meaning: str, reference: str) -> Document:
    header = {401: "WWW-Authenticate", 403: "WWW-Authenticate", 503: "Retry-After"}[status]
    return {
        "description": meaning,
        "headers": {header: {"schema": {"type": "string"}}},
        "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": reference}}},
    }
