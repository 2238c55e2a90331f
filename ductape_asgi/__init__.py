"""Sessions for any ASGI app: issued, verified, refreshed and revoked inside the app, with no service to run."""

from .access import (
    Guard,
    require_any_role,
    require_permission,
    require_recent_auth,
    require_role,
    require_session,
)
from .credentials import Bearer, BodyField, Cookie, Header
from .errors import (
    AccessDenied,
    ConfigurationError,
    CsrfRejected,
    DataTooLarge,
    DuctapeError,
    ExpiredToken,
    InvalidData,
    InvalidToken,
    MissingToken,
    PublishableKeyError,
    RefreshReused,
    RevokedSession,
    SessionError,
    SessionLimitReached,
    StepUpRequired,
    StoreUnavailable,
)
from .figures import DayStats, SessionStats, UserInfo, UserPage, UserSessions
from .handshakes import Subprotocol, Ticket
from .keys import Key, Keyring, new_access_key
from .middleware import DuctapeMiddleware
from .models import ClientInfo, Health, IssuedSession, Realm, Session, SessionInfo, SessionPage, TokenClaims
from .options import MiddlewareOptions
from .pages.operators import operators_page
from .policy import CookiePolicy, TagPolicy
from .routes import LoginAttempt, LoginThrottle, RouteOptions, Throttle, session_routes
from .sessions import Sessions

__version__ = "0.1.0"

__all__ = [
    "AccessDenied",
    "Bearer",
    "BodyField",
    "ClientInfo",
    "ConfigurationError",
    "Cookie",
    "CookiePolicy",
    "CsrfRejected",
    "DataTooLarge",
    "DayStats",
    "DuctapeError",
    "DuctapeMiddleware",
    "ExpiredToken",
    "Guard",
    "Header",
    "Health",
    "InvalidData",
    "InvalidToken",
    "IssuedSession",
    "Key",
    "Keyring",
    "LoginAttempt",
    "LoginThrottle",
    "MiddlewareOptions",
    "MissingToken",
    "PublishableKeyError",
    "Realm",
    "RefreshReused",
    "RevokedSession",
    "RouteOptions",
    "Session",
    "SessionError",
    "SessionInfo",
    "SessionLimitReached",
    "SessionPage",
    "SessionStats",
    "Sessions",
    "StepUpRequired",
    "StoreUnavailable",
    "Subprotocol",
    "TagPolicy",
    "Throttle",
    "Ticket",
    "TokenClaims",
    "UserInfo",
    "UserPage",
    "UserSessions",
    "__version__",
    "new_access_key",
    "operators_page",
    "require_any_role",
    "require_permission",
    "require_recent_auth",
    "require_role",
    "require_session",
    "session_routes",
]
