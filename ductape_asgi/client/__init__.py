"""Requests with a session, from Python: `SessionAuth` for httpx2 and httpx.

```python
auth = SessionAuth(tokens, refresh_url="https://app.example.com/auth/refresh", on_change=save)

async with httpx2.AsyncClient(base_url="https://app.example.com", auth=auth) as client:
    await client.get("/me")
```
"""

from .auth import SessionAuth
from .failures import NoSession, RefreshFailed, SessionOver
from .tokens import SessionTokens

__all__ = ["NoSession", "RefreshFailed", "SessionAuth", "SessionOver", "SessionTokens"]
