"""Pages from templates, and the headers that keep everything out that is not ours.

Links are relative, so that a page works under any prefix and behind proxies that do not tell theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import HTMLResponse

from ..errors import ConfigurationError
from ..models import instant
from .assets import assets
from .naming import device_kind, device_name
from .words import Languages, Words, check_language, preferred

if TYPE_CHECKING:
    from jinja2 import Environment

SECURITY_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    # Not "no-referrer": browsers would then send "Origin: null" with our own forms.
    "referrer-policy": "same-origin",
    "vary": "Accept-Language, Authorization, Cookie",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Renderer:
    """Answers pages, in the language of who asks or always in `language`.

    Every template sees ``t`` (`Words`), ``asset(name)`` (a relative link), ``now``, ``device_name(client)``,
    ``device_kind(client)`` and the values it is given.

    Raises:
        ConfigurationError: jinja2 is not installed, or `language` is not among `languages`.
    """

    def __init__(self, languages: Languages, language: str | None = None) -> None:
        check_language(language, languages)
        self._languages = languages
        self._language = language
        self._templates = _environment()

    def words(self, request: Request) -> Words:
        """The words for who sent this request."""
        language = self._language or preferred(request.headers.get("accept-language"), self._languages)
        return Words(language, self._languages[language])

    def page(
        self,
        request: Request,
        template: str,
        *,
        now: float,
        status: int = 200,
        headers: Iterable[tuple[bytes, bytes]] = (),
        assets_at: str = "",
        **values: Any,
    ) -> HTMLResponse:
        """A page, in HTML.

        Args:
            now: Unix seconds.
            headers: raw ones, besides those of every page.
            assets_at: the relative way from the page to the folder that holds ``static/``, e.g. ``"../"``.
        """
        words = self.words(request)
        text = self._templates.get_template(template).render(
            t=words,
            now=instant(now),
            device_name=lambda client: device_name(client, words),
            asset=lambda name: assets_at + assets()[name].link,
            **values,
        )
        response = HTMLResponse(text, status, {**SECURITY_HEADERS, "content-language": words.language})
        response.raw_headers.extend(headers)
        return response


def _environment() -> Environment:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise ConfigurationError('the pages need jinja2: pip install "ductape-asgi[pages]"') from None
    environment = Environment(
        loader=PackageLoader("ductape_asgi.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["iso"] = _iso
    environment.globals["device_kind"] = device_kind
    return environment


def _iso(when: datetime) -> str:
    """RFC 3339 in UTC, for ``<time datetime>`` and for scripts."""
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")
