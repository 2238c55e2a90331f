"""httpx2 and httpx: whichever is installed.  They are alike, and know nothing of each other's classes."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError

_DEFAULT_PORTS = {"http": 80, "https": 443}

Origin = tuple[str, str, int | None]


def _installed() -> tuple[Any, ...]:
    found: list[ModuleType] = []
    for name in ("httpx2", "httpx"):
        try:
            found.append(import_module(name))
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
    return tuple(found)


#: The preferred one first.
LIBRARIES = _installed()
#: What they raise when a request gets no answer.
ERRORS: tuple[type[Exception], ...] = tuple(library.HTTPError for library in LIBRARIES)

if TYPE_CHECKING:
    import httpx
    import httpx2

    class AuthBase(httpx2.Auth, httpx.Auth):  # type: ignore[misc]
        """What ``auth=`` of either library takes."""
else:
    # Each library wants an instance of its own class, and takes one that is the other's as well.
    AuthBase = type("AuthBase", tuple(library.Auth for library in LIBRARIES), {})


def require_library() -> Any:
    """The preferred library.

    Raises:
        ConfigurationError: there is none.
    """
    if not LIBRARIES:
        raise ConfigurationError('SessionAuth needs httpx2, or httpx: pip install "ductape-asgi[client]"')
    return LIBRARIES[0]


def library_of(request: Any) -> Any:
    """The library that a request belongs to."""
    return next(library for library in LIBRARIES if isinstance(request, library.Request))


def origin_of(url: Any) -> Origin:
    """Scheme, host in ASCII, and port of a library's URL."""
    return url.scheme, url.raw_host.decode("ascii").lower(), url.port or _DEFAULT_PORTS.get(url.scheme)


def parse_url(text: object, name: str, example: str) -> Any:
    """An absolute http or https URL without a name and password in it.

    Raises:
        ConfigurationError: not one.
    """
    library, url = require_library(), None
    if isinstance(text, str):
        with suppress(library.InvalidURL):
            url = library.URL(text)
    if url is None or url.scheme not in _DEFAULT_PORTS or not url.raw_host:
        raise ConfigurationError(f'{name} takes an absolute URL such as "{example}"')
    if url.userinfo or url.fragment:
        raise ConfigurationError(f"{name} takes a URL without a user, a password or a fragment")
    return url


def parse_origin(text: object) -> Origin:
    """An origin as text, e.g. ``"https://api.example.com"``.

    Raises:
        ConfigurationError: not one.
    """
    url = parse_url(text, "origins", "https://api.example.com")
    if url.raw_path not in (b"/", b""):
        raise ConfigurationError(f"origins={text!r}: give the scheme, host and port only, without a path")
    return origin_of(url)
