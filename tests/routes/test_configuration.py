"""What cannot work is said when the routes are built, and how to mend it."""

from __future__ import annotations

from typing import Any

import pytest

from ductape_asgi import ConfigurationError, PublishableKeyError, Sessions, TagPolicy, new_access_key, session_routes

from .support import TAG


def make(**options: Any) -> Sessions:
    return Sessions(
        **{"access_key": new_access_key(), "product": "shop", "env": "prd", "store": "memory://", **options}
    )


async def nobody(request: Any) -> None:
    return None


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"mode": "header"}, "cookie"),
        ({"authenticate": "ann"}, "coroutine function"),
        ({"login_identifier": 7}, "coroutine function"),
        ({"throttle": 7}, "Throttle"),
        ({"recent_auth": "soon"}, "duration"),
        ({"recent_auth": 0}, "out of range"),
        ({"allowed_origins": "https://app.example"}, "list"),
        ({"allowed_origins": ["app.example"]}, "https://app.example.com"),
        ({"trusted_proxies": "10.0.0.0/8"}, "list"),
        ({"trusted_proxies": ["ten"]}, "10.0.0.0/8"),
        ({"prefix": "auth"}, "/auth"),
        ({"prefix": "/auth/"}, "/auth"),
        ({"prefix": 7}, "/auth"),
        ({"max_body": 0}, "bytes"),
        ({"max_body": True}, "bytes"),
        ({"tag": "two words"}, "session type"),
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, Any], hint: str) -> None:
    with pytest.raises(ConfigurationError, match=hint):
        session_routes(make(), **{"tag": TAG, "authenticate": nobody, **options})


def test_the_tag_may_be_left_out_where_there_is_one() -> None:
    assert session_routes(make(tags=[TagPolicy(TAG)])).options.tag == TAG
    for sessions in (make(), make(tags=[TagPolicy("a"), TagPolicy("b")])):
        with pytest.raises(ConfigurationError, match="name the session type"):
            session_routes(sessions)
    with pytest.raises(ConfigurationError, match="not configured"):
        session_routes(make(tags=[TagPolicy(TAG)]), tag="other")


def test_cookie_mode_needs_cookies() -> None:
    with pytest.raises(ConfigurationError, match="bearer"):
        session_routes(make(cookies=None), tag=TAG)
    assert session_routes(make(cookies=None), tag=TAG, mode="bearer").options.mode == "bearer"


def test_a_publishable_key_serves_no_routes() -> None:
    with pytest.raises(PublishableKeyError):
        session_routes(Sessions(publishable_key=make().publishable_key), tag=TAG)


def test_only_sessions_will_do() -> None:
    with pytest.raises(ConfigurationError, match="Sessions object"):
        session_routes("sqlite:///x.db", tag=TAG)  # type: ignore[arg-type]


def test_what_the_options_show_holds_no_secret() -> None:
    key = new_access_key()
    shown = repr(session_routes(make(access_key=key), tag=TAG, authenticate=nobody).options)
    assert key not in shown
    assert "dak_" not in shown
