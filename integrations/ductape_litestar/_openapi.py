"""What the OpenAPI document of a Litestar app says of sessions."""

from __future__ import annotations

from copy import copy

from litestar.config.app import AppConfig
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Components, SecurityScheme
from litestar.routes import HTTPRoute

from ductape_asgi import Guard, require_session
from ductape_asgi.openapi import PROBLEM_MEDIA_TYPE, Operation, Problem, SessionDocs

from ._injection import injects_session, needs_session


def name_schemes(app_config: AppConfig, docs: SessionDocs) -> None:
    """Add the credentials to the document's components."""
    if app_config.openapi_config is None:
        return
    config = copy(app_config.openapi_config)  # Litestar's default is one object for all apps.
    given = config.components if isinstance(config.components, list) else [config.components]
    config.components = [*given, Components(security_schemes={k: _scheme(v) for k, v in docs.schemes.items()})]
    app_config.openapi_config = config


def _scheme(written: dict[str, str]) -> SecurityScheme:
    if written["type"] == "http":
        return SecurityScheme(type="http", scheme=written["scheme"], bearer_format=written["bearerFormat"])
    cookie = written["in"] == "cookie"
    return SecurityScheme(type="apiKey", security_scheme_in="cookie" if cookie else "header", name=written["name"])


def describe(route: HTTPRoute, docs: SessionDocs, exclude_opt_key: str) -> None:
    """Tell each handler of a route what it requires, and how it is refused; what it says itself stands."""
    for method, (handler, _) in route.route_handler_map.items():
        operation = _operation(str(method), route.path_format, handler, exclude_opt_key)
        if handler.security is None and (wanted := docs.requirements(operation)):
            handler.security = wanted
        refusals = {status: _response(meaning) for status, meaning in docs.problems(operation).items()}
        handler.responses = {**refusals, **(handler.responses or {})}


def _operation(method: str, path: str, handler: HTTPRouteHandler, exclude_opt_key: str) -> Operation:
    guards = [guard for guard in handler.resolve_guards() if isinstance(guard, Guard)]
    if needs_session(handler):
        guards.append(require_session)
    return Operation(
        method,
        path,
        guards=tuple(dict.fromkeys(guards)),
        reads_session=injects_session(handler),
        demanded=not handler.opt.get(exclude_opt_key),
    )


def _response(meaning: str) -> ResponseSpec:
    return ResponseSpec(Problem, generate_examples=False, description=meaning, media_type=PROBLEM_MEDIA_TYPE)
