"""What `import ductape_asgi` offers, and what it does not load."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version

import ductape_asgi

#: Fixed by the contract: the names users type.
PROMISED = {
    "Bearer",
    "BodyField",
    "Cookie",
    "CookiePolicy",
    "DuctapeMiddleware",
    "Header",
    "Session",
    "Sessions",
    "TagPolicy",
    "operators_page",
    "require_any_role",
    "require_permission",
    "require_recent_auth",
    "require_role",
    "require_session",
    "session_routes",
}

ERRORS = {
    "AccessDenied",
    "ConfigurationError",
    "CsrfRejected",
    "DataTooLarge",
    "DuctapeError",
    "ExpiredToken",
    "InvalidData",
    "InvalidToken",
    "MissingToken",
    "PublishableKeyError",
    "RefreshReused",
    "RevokedSession",
    "SessionError",
    "SessionLimitReached",
    "StepUpRequired",
    "StoreUnavailable",
}

#: None of these may come along uninvited.
UNWANTED = (
    "aiosqlite",
    "asyncpg",
    "click",
    "ductape_fastapi",
    "ductape_litestar",
    "fastapi",
    "httpx",
    "httpx2",
    "jinja2",
    "litestar",
    "msgspec",
    "pydantic",
    "redis",
    "sqlite3",
    "uvicorn",
)


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter holds after `statement`."""
    code = f"{statement}; import sys; print('\\n'.join(sys.modules))"
    # Measuring coverage would load modules of its own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return set(answer.stdout.split())


def test_all_is_sorted_and_holds_what_was_promised() -> None:
    names = ductape_asgi.__all__
    assert list(names) == sorted(names)
    assert set(names) >= PROMISED | ERRORS


def test_every_public_name_is_there() -> None:
    assert all(hasattr(ductape_asgi, name) for name in ductape_asgi.__all__)


def test_importing_loads_no_driver_adapter_or_client() -> None:
    assert not loaded_by("import ductape_asgi") & set(UNWANTED)


def test_the_version_is_the_one_of_the_package() -> None:
    assert ductape_asgi.__version__ == version("ductape-asgi")


def test_every_error_has_a_code_of_its_own_in_snake_case() -> None:
    errors = [getattr(ductape_asgi, name) for name in sorted(ERRORS)]
    codes = [error.code for error in errors]
    assert codes == [re.sub(r"(?<!^)([A-Z])", r"_\1", error.__name__).lower() for error in errors]
    assert all(400 <= error.status < 600 for error in errors)
