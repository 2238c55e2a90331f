"""What cannot work is refused when it is built, with a message that says how to mend it."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ductape_asgi import ConfigurationError, CookiePolicy, PublishableKeyError, Sessions, TagPolicy, new_access_key
from ductape_asgi.stores.memory import MemoryStore

KEY = new_access_key()
GOOD: dict[str, Any] = {"access_key": KEY, "product": "shop", "env": "prd"}


@dataclass
class Data:
    userId: str  # noqa: N815


def make(**options: Any) -> Sessions:
    return Sessions(**{**GOOD, **options})


BAD_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"access_key": ""}, "ductape keys new"),
    ({"access_key": None}, "ductape keys new"),
    ({"access_key": []}, "ductape keys new"),
    ({"access_key": [""]}, "ductape keys new"),
    ({"access_key": 7}, "ductape keys new"),
    ({"access_key": [KEY, None]}, "ductape keys new"),
    ({"access_key": "secret"}, "dak_.*ductape keys new"),
    ({"access_key": "dak_"}, "ductape keys new"),
    ({"access_key": KEY[:-1]}, "copy it again"),
    ({"access_key": KEY + "A"}, "copy it again"),
    ({"access_key": KEY[:20] + ("A" if KEY[20] != "A" else "B") + KEY[21:]}, "copy it again"),
    ({"access_key": " " + KEY}, "copy it again"),
    ({"access_key": KEY + "\n"}, "copy it again"),
    ({"access_key": "dak_" + "A" * 48}, "ductape keys new"),
    ({"access_key": [KEY, KEY]}, "twice.*remove"),
    ({"access_key": "dpk_AAAA"}, "publishable"),
    ({"publishable_key": "dpk_AAAA"}, "not both"),
    ({"access_key": None, "publishable_key": "dpk_AAAA"}, "ductape keys publishable"),
    ({"access_key": None, "publishable_key": KEY}, "ductape keys publishable"),
    ({"access_key": None, "publishable_key": 7}, "ductape keys publishable"),
    ({"product": None}, "product="),
    ({"env": None}, "env="),
    ({"product": "Shop"}, "a-z"),
    ({"env": "a:b"}, "a-z"),
    ({"env": ""}, "a-z"),
    ({"product": "x" * 65}, "64"),
    ({"product": 7}, "a-z"),
    ({"store": "mysql://localhost/x"}, "memory://.*sqlite:///"),
    ({"store": "sessions.db"}, "sqlite:///"),
    ({"store": ""}, "sqlite:///"),
    ({"store": None}, "sqlite:///"),
    ({"store": object()}, "SessionStore"),
    ({"store": "sqlite://sessions.db"}, "sqlite:///relative.db"),
    ({"store": "sqlite:///"}, "sqlite:///relative.db"),
    ({"store": "sqlite:///:memory:"}, "memory://"),
    ({"store": "sqlite:///x.db?mode=ro"}, "sqlite:///relative.db"),
    ({"store": "sqlite://[x"}, "sqlite:///relative.db"),
    ({"store": "sqlite://\u2100/x.db"}, "sqlite:///relative.db"),
    ({"store": "sqlite:///\ud800.db"}, "path of a file"),
    ({"store": KEY}, "no URL.*sqlite:///"),
    ({"product": KEY}, "a key or token.*a-z"),
    ({"access_key": f"{KEY},{KEY}"}, "give a list"),
    ({"access_key": f'"{KEY}"'}, "without them"),
    ({"access_key": [KEY, ""]}, "empty one among several"),
    ({"tags": ["user-session"]}, "TagPolicy"),
    ({"tags": [TagPolicy("a"), TagPolicy("a")]}, "remove one"),
    ({"cookies": True}, "CookiePolicy"),
    ({"cookies": "ductape"}, "CookiePolicy"),
    ({"algorithm": "none"}, "EdDSA"),
    ({"algorithm": "RS256"}, "EdDSA"),
    ({"algorithm": None}, "EdDSA"),
    ({"on_stale": "ignore"}, "check_store"),
    ({"cache_size": -1}, "cache_size"),
    ({"cache_size": 1.5}, "cache_size"),
    ({"cache_size": True}, "cache_size"),
    ({"cache_size": 10**400}, "10000000"),
    ({"clock": None}, "clock"),
    ({"clock": 5}, "clock"),
    ({"max_staleness": 0}, "max_staleness"),
    ({"max_staleness": -1}, "max_staleness"),
    ({"max_staleness": "soon"}, "max_staleness"),
    ({"leeway": -1}, "leeway"),
    ({"leeway": 301}, "leeway"),
    ({"leeway": 0.5}, "leeway"),
]


def described(options: dict[str, Any]) -> str:
    """The same in every process that collects the tests."""
    text = re.sub(r"dak_[A-Za-z0-9_-]{40,}", "KEY", repr(options))
    return re.sub(r" at 0x[0-9a-f]+", "", text).replace("\n", " ")[:60]


@pytest.mark.parametrize(("options", "mending"), BAD_OPTIONS, ids=[described(each) for each, _ in BAD_OPTIONS])
def test_a_bad_option_is_refused_when_built_and_says_how_to_mend_it(options: dict[str, Any], mending: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make(**options)
    assert re.search(mending, str(caught.value), re.DOTALL)
    assert KEY[4:] not in str(caught.value)


BAD_POLICIES: list[tuple[dict[str, Any], str]] = [
    ({"expires_in": 0}, "expires_in"),
    ({"expires_in": 86_401}, "86400"),
    ({"expires_in": "2d"}, "86400"),
    ({"expires_in": None}, "expires_in"),
    ({"expires_in": timedelta(days=2)}, "86400"),
    ({"session_ttl": 0}, "session_ttl"),
    ({"session_ttl": None}, "session_ttl"),
    ({"session_ttl": "30 days"}, "30d"),
    ({"session_ttl": 10**12}, "session_ttl"),
    ({"idle_ttl": 119}, "120"),
    ({"idle_ttl": 0}, "120"),
    ({"reuse_grace": -1}, "reuse_grace"),
    ({"reuse_grace": None}, "reuse_grace"),
    ({"max_sessions": 0}, "max_sessions"),
    ({"max_sessions": True}, "max_sessions"),
    ({"max_sessions": "3"}, "max_sessions"),
    ({"on_limit": "evict"}, "evict_oldest"),
    ({"refresh": None}, "refresh"),
    ({"anonymous": "yes"}, "anonymous"),
    ({"roles": ""}, "roles"),
    ({"roles": [7]}, "roles"),
    ({"permissions": ("a..b",)}, "permissions"),
    ({"permissions": None}, "permissions"),
    ({"permissions": 5}, "permissions"),
    ({"roles": {}}, "roles"),
    ({"roles": {"role"}}, "roles"),
    ({"schema": Data("ann")}, "give the class itself"),
]


@pytest.mark.parametrize(("options", "mending"), BAD_POLICIES, ids=[repr(each) for each, _ in BAD_POLICIES])
def test_a_bad_policy_is_refused_when_built_and_says_how_to_mend_it(options: dict[str, Any], mending: str) -> None:
    with pytest.raises(ConfigurationError, match=mending):
        TagPolicy("user-session", **options)


BAD_COOKIES: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "letters"),
    ({"name": "a b"}, "letters"),
    ({"name": "a=b"}, "letters"),
    ({"name": "a;"}, "letters"),
    ({"domain": ""}, "example.com"),
    ({"domain": ".example.com"}, "example.com"),
    ({"domain": "example.com; Secure"}, "example.com"),
    ({"samesite": "Lax"}, "lax"),
    ({"samesite": None}, "lax"),
    ({"samesite": "none", "secure": False}, "secure=True"),
    ({"secure": None}, "secure"),
    ({"secure": "no"}, "secure"),
    ({"domain": "example.com", "secure": False}, "secure=True"),
]


@pytest.mark.parametrize(("options", "mending"), BAD_COOKIES, ids=[repr(each) for each, _ in BAD_COOKIES])
def test_a_bad_cookie_policy_is_refused_when_built_and_says_how_to_mend_it(
    options: dict[str, Any], mending: str
) -> None:
    with pytest.raises(ConfigurationError, match=mending):
        CookiePolicy(**options)


def test_options_are_keywords_only() -> None:
    with pytest.raises(TypeError):
        Sessions(KEY, "shop", "prd")  # type: ignore[misc]


# from_env


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith("DUCTAPE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DUCTAPE_ACCESS_KEY", KEY)
    monkeypatch.setenv("DUCTAPE_PRODUCT", "shop")
    monkeypatch.setenv("DUCTAPE_ENV", "prd")
    monkeypatch.setenv("DUCTAPE_STORE", "memory://")
    return monkeypatch


@pytest.mark.usefixtures("environment")
def test_from_env_reads_key_realm_and_store() -> None:
    sessions = Sessions.from_env()
    assert str(sessions.realm) == "shop:prd"
    assert sessions.keyring.jwks() == make().keyring.jwks()
    assert isinstance(sessions.worker.store, MemoryStore)


def test_from_env_reads_several_access_keys(environment: pytest.MonkeyPatch) -> None:
    new = new_access_key()
    environment.setenv("DUCTAPE_ACCESS_KEY", f"{new}, {KEY}")
    assert Sessions.from_env().keyring.jwks() == make(access_key=[new, KEY]).keyring.jwks()


def test_from_env_reads_a_publishable_key(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("DUCTAPE_ACCESS_KEY")
    environment.setenv("DUCTAPE_PUBLISHABLE_KEY", make().publishable_key)
    sessions = Sessions.from_env()
    assert sessions.keyring.active is None
    with pytest.raises(PublishableKeyError):
        sessions.context()


def test_from_env_takes_further_options_which_win(environment: pytest.MonkeyPatch) -> None:
    sessions = Sessions.from_env(env="dev", tags=[TagPolicy("a")], cookies=None)
    assert str(sessions.realm) == "shop:dev"
    assert sessions.tags == ("a",)
    assert sessions.cookies is None


@pytest.mark.parametrize(
    ("name", "value", "mending"),
    [
        ("DUCTAPE_ACCESS_KEY", None, "ductape keys new"),
        ("DUCTAPE_ACCESS_KEY", "", "ductape keys new"),
        ("DUCTAPE_ACCESS_KEY", "dak_short", "ductape keys new"),
        ("DUCTAPE_ACCESS_KEY", ",", "ductape keys new"),
        ("DUCTAPE_PRODUCT", None, "DUCTAPE_PRODUCT"),
        ("DUCTAPE_ENV", None, "DUCTAPE_ENV"),
        ("DUCTAPE_ENV", "Production!", "a-z"),
        ("DUCTAPE_STORE", "nonsense", "sqlite:///"),
    ],
)
def test_from_env_says_what_is_missing_or_bad(
    environment: pytest.MonkeyPatch, name: str, value: str | None, mending: str
) -> None:
    if value is None:
        environment.delenv(name)
    else:
        environment.setenv(name, value)
    with pytest.raises(ConfigurationError, match=mending):
        Sessions.from_env()


# Building touches nothing.


@pytest.fixture
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("store", [None, "memory://", "sqlite:///sub/sessions.db", "sqlite:////nowhere/x.db"])
def test_building_touches_no_socket_file_or_thread(
    empty_directory: Path, monkeypatch: pytest.MonkeyPatch, store: str | None
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("building opened something")

    threads = threading.enumerate()
    open_files = set(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else set()
    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr("sqlite3.connect", refuse)
    sessions = make() if store is None else make(store=store)
    sessions.policy("user-session")
    monkeypatch.undo()
    assert threading.enumerate() == threads
    assert list(empty_directory.iterdir()) == []
    if open_files:
        assert len(set(os.listdir("/proc/self/fd"))) <= len(open_files)
