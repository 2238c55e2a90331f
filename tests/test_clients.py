"""Where a request comes from, and what a device is called."""

from __future__ import annotations

from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ductape_asgi import ClientInfo, ConfigurationError, DuctapeMiddleware, InvalidData, Sessions, new_access_key
from ductape_asgi.clients import client_from, label_of, proxy_networks
from tests.asgi_client import call

TRUSTED = proxy_networks(["10.0.0.0/8", "::1", "fd00::/8"])


def address(peer: str | None, *forwarded: str | bytes, trusted: Any = TRUSTED) -> str | None:
    headers = [(b"x-forwarded-for", one if isinstance(one, bytes) else one.encode()) for one in forwarded]
    scope: dict[str, Any] = {"type": "http", "headers": headers, "client": None if peer is None else (peer, 1234)}
    # As a middleware with these `trusted_proxies` leaves it.
    scope["ductape.options"] = SimpleNamespace(trusted_proxies=trusted)
    return client_from(scope).ip


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),  # who is no proxy says what it likes
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6", "198.51.100.1", "10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["198.51.100.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1, junk, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", [",,"], "10.0.0.1"),
        ("10.0.0.1", [b"\xff\xfe"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1:5555"], "198.51.100.1"),
        ("::1", ["2001:db8::1"], "2001:db8::1"),
        ("::1", ["[2001:db8::1]:443"], "2001:db8::1"),
        ("::1", ["[2001:db8::1]"], "2001:db8::1"),
        ("fd00::5", ["198.51.100.1"], "198.51.100.1"),
        (None, ["198.51.100.1"], None),
        ("/run/app.sock", ["198.51.100.1"], "/run/app.sock"),
    ],
)
def test_the_last_hop_that_no_trusted_proxy_has_is_the_client(
    peer: str | None, forwarded: list[Any], expected: str | None
) -> None:
    assert address(peer, *forwarded) == expected


@pytest.mark.anyio
async def test_a_sign_in_behind_a_middleware_with_trusted_proxies_comes_from_whom_they_saw() -> None:
    sessions = Sessions(access_key=new_access_key(), product="shop", env="prd", store="memory://")

    async def login(scope: Any, receive: Any, send: Any) -> None:
        await sessions.start(tag="user-session", data={"userId": "ann"}, client=scope)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    for trusted, expected in ((["203.0.113.0/24"], "198.51.100.1"), ([], "203.0.113.9")):
        app = DuctapeMiddleware(login, sessions=sessions, tag="user-session", trusted_proxies=trusted)
        async with sessions:
            await call(app, headers=[(b"x-forwarded-for", b"6.6.6.6, 198.51.100.1")])
            page = await sessions.list(tag="user-session", identifier="ann")
        assert page.sessions[0].client.ip == expected


def test_without_trusted_proxies_only_the_peer_counts() -> None:
    assert address("10.0.0.1", "198.51.100.1", trusted=()) == "10.0.0.1"


HOPS = st.one_of(
    st.ip_addresses().map(str), st.text(max_size=20), st.sampled_from(["", "[::1]:1", "10.0.0.2", "unknown"])
)


@given(st.lists(st.lists(HOPS).map(",".join)), st.lists(st.binary(max_size=40)))
def test_whatever_is_forwarded_the_answer_is_an_address(lines: list[str], raw: list[bytes]) -> None:
    found = address("10.0.0.1", *[line.encode("utf-8", "surrogateescape") for line in lines], *raw)
    assert found is not None
    ip_address(found)


@given(st.lists(st.ip_addresses().map(str)), st.ip_addresses(v=4, network="203.0.113.0/24").map(str))
def test_nobody_can_forge_what_our_proxy_saw(forged: list[str], real: str) -> None:
    assert address("10.0.0.1", ", ".join([*forged, real])) == real
    assert address("10.0.0.1", *forged, real, "10.1.2.3") == real


@pytest.mark.parametrize("bad", ["proxy.test", "10.0.0.1/8", "10.0.0.0/33", "", "*", None, 7.5])
def test_what_is_no_network_is_a_configuration_error(bad: Any) -> None:
    with pytest.raises(ConfigurationError, match="trusted_proxies"):
        proxy_networks([bad])


FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
)


@pytest.mark.parametrize(
    ("agent", "label"),
    [
        (FIREFOX, "Firefox on Linux"),
        (CHROME, "Chrome on Windows"),
        (CHROME + " Edg/130.0.0.0", "Edge on Windows"),
        (CHROME + " OPR/115.0", "Opera on Windows"),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Safari/604.1",
            "Safari on iPhone",
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/18.0 Safari/605.1.15",
            "Safari on macOS",
        ),
        ("Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/130.0 Mobile Safari/537.36", "Chrome on Android"),
        ("curl/8.5.0", "curl/8.5.0"),
        ("", None),
        (None, None),
        ("x" * 1000, "x" * 60),
    ],
)
def test_a_device_has_a_short_name(agent: str | None, label: str | None) -> None:
    assert label_of(agent) == label


@given(st.binary(max_size=1000))
def test_any_user_agent_is_kept_short(raw: bytes) -> None:
    info = client_from({"type": "http", "headers": [(b"user-agent", raw)], "client": ("203.0.113.9", 1)})
    assert info.user_agent is not None
    assert len(info.user_agent) <= 400
    info.user_agent.encode()


def test_none_is_an_unknown_client_and_a_client_info_is_itself() -> None:
    mine = ClientInfo(ip="203.0.113.9", label="laptop")
    assert client_from(None) == ClientInfo()
    assert client_from(mine) == mine


def test_a_client_info_of_any_length_is_kept_short() -> None:
    long = ClientInfo(ip="1" * 5000, user_agent="x" * 5000, label="y" * 5000)
    kept = client_from(long)
    assert [len(text or "") for text in (kept.ip, kept.user_agent, kept.label)] == [400] * 3


@pytest.mark.parametrize("other", [ClientInfo(ip=7), ClientInfo(label=b"x")])  # type: ignore[arg-type]
def test_a_client_info_of_anything_but_text_is_invalid_data(other: Any) -> None:
    with pytest.raises(InvalidData, match="ClientInfo"):
        client_from(other)


@pytest.mark.parametrize("other", ["firefox", 7, {"ip": "203.0.113.9"}, [], object()])
def test_anything_else_is_invalid_data(other: Any) -> None:
    with pytest.raises(InvalidData, match="client"):
        client_from(other)


def test_a_websocket_scope_is_a_client_too() -> None:
    info = client_from({"type": "websocket", "headers": [(b"user-agent", FIREFOX.encode())], "client": ("::1", 1)})
    assert (info.ip, info.label) == ("::1", "Firefox on Linux")
