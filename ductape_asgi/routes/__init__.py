"""`session_routes`: sign in, go on, sign out, look at sessions and end them, over HTTP."""

from .app import session_routes
from .options import RouteOptions
from .throttle import LoginAttempt, LoginThrottle, Throttle

__all__ = ["LoginAttempt", "LoginThrottle", "RouteOptions", "Throttle", "session_routes"]
