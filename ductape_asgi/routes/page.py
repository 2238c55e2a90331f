"""The page of one's own sessions, among the endpoints."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec

from starlette.requests import Request
from starlette.responses import Response

from ..errors import ConfigurationError
from ..pages.assets import serve_asset
from ..pages.dashboard import Dashboard, DashboardOptions
from .callers import caller_of, leaving, viewer_of, wants_csrf_tokens
from .options import RouteOptions
from .refusals import NotFound

_NO_COOKIES = 'mode="bearer" has no dashboard: a browser sends no bearer token with a page; use mode="cookie"'


class Page:
    """Endpoints of the page, for one `RouteOptions`.

    Raises:
        ConfigurationError: `page` says how it shall be, and it cannot be: in bearer mode, or without jinja2.
    """

    def __init__(self, options: RouteOptions, page: DashboardOptions, *, wanted: bool) -> None:
        self._page = page
        self._dashboard: Dashboard | None = None
        if options.mode == "bearer":
            if wanted:
                raise ConfigurationError(_NO_COOKIES)
        # Who uses the other endpoints only need not install what draws pages.
        elif wanted or find_spec("jinja2") is not None:
            self._dashboard = self._built(options)

    async def show(self, request: Request, options: RouteOptions) -> Response:
        """``GET /dashboard``."""
        return await self._of(options).show(request, partial(viewer_of, request, options))

    async def act(self, request: Request, options: RouteOptions) -> Response:
        """``POST /dashboard``."""
        ask = partial(caller_of, request, options, by_form=True)
        gone = partial(leaving, request, options)
        return await self._of(options).act(request, ask, gone, allowed_origins=options.origins(request.scope))

    async def asset(self, request: Request, options: RouteOptions) -> Response:
        """``GET /static/{name}``: stylesheet, script and icon."""
        return await serve_asset(request, request.path_params["name"])

    def _of(self, options: RouteOptions) -> Dashboard:
        if options.mode == "bearer":
            raise NotFound(_NO_COOKIES)
        return self._dashboard or self._built(options)

    def _built(self, options: RouteOptions) -> Dashboard:
        tokens = options.sessions.context().csrf_tokens if wants_csrf_tokens(options) else None
        return Dashboard(options.sessions, options.tag, self._page, form_tokens=tokens)
