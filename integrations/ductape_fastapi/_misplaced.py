"""Guards that were written where FastAPI does not ask them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fastapi import FastAPI, routing
from fastapi.dependencies.models import Dependant

from ductape_asgi import ConfigurationError, Guard


def refuse_misplaced(app: FastAPI, wrap: Callable[[Callable[..., Any]], Any]) -> None:
    """Have `app` fail its start-up, and answer nothing, where a guard is the default of a parameter.

    ``session=require_role("admin")``, without ``Depends``, is a query parameter to FastAPI, and after
    ``session: CurrentSession`` it is nothing at all: who has no such role would be let in.  `wrap` is the middleware,
    which tells the server why.
    """
    build = app.build_middleware_stack

    def built() -> Any:
        try:
            _check(app)
        except ConfigurationError as error:
            return wrap(_refusing(error))
        return build()

    app.build_middleware_stack = built  # type: ignore[method-assign]


def _refusing(error: ConfigurationError) -> Callable[..., Any]:
    async def refuse(*_: object) -> None:
        raise error.with_traceback(None)

    return refuse


def _check(app: FastAPI) -> None:
    for call in (call for dependant in _dependants(app.routes) for call in _calls(dependant)):
        for name, default in _defaults(call):
            if isinstance(default, Guard):
                raise ConfigurationError(
                    f"{name}= of {getattr(call, '__qualname__', call)} is a guard that FastAPI never asks: "
                    f"write {name}=Depends(guard), or Annotated[Session[Any], Depends(guard)]"
                )


def _defaults(call: Callable[..., Any]) -> list[tuple[str, Any]]:
    try:
        return [(one.name, one.default) for one in inspect.signature(call).parameters.values()]
    except (NameError, TypeError, ValueError):  # newer Pythons look up annotations, which FastAPI need not have done
        return []


def _dependants(routes: Iterable[Any]) -> Iterator[Dependant]:
    each: Callable[[Any], Iterable[Any]] = getattr(routing, "iter_route_contexts", iter)
    for route in each(routes):
        original = getattr(route, "original_route", route)
        if isinstance(original, routing.APIRoute | routing.APIWebSocketRoute):
            yield route.dependant
        elif isinstance(original, routing.Mount):
            yield from _dependants(original.routes)


def _calls(dependant: Dependant) -> Iterator[Callable[..., Any]]:
    if dependant.call is not None:
        yield dependant.call
    for child in dependant.dependencies:
        yield from _calls(child)
