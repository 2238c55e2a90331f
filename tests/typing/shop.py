"""What the apps of these tests share: typed session data."""

from __future__ import annotations

from dataclasses import dataclass

from ductape_asgi import Sessions, TagPolicy, new_access_key


@dataclass
class Shopper:
    user_id: str
    visits: int = 0


sessions = Sessions(
    access_key=new_access_key(),
    product="shop",
    env="test",
    store="memory://",
    tags=[TagPolicy("user-session", selector="user_id", schema=Shopper)],
)
