"""Each example of `examples/frameworks`, as it stands, on a real server: 200, 401 and 403 where it should.

Run by ``make examples``, in an environment of its own: nine frameworks are more than the other tests should live with.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastmcp import Client
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.examples.serving import PATIENCE, free_port, running

FRAMEWORKS = Path(__file__).parents[2] / "examples" / "frameworks"


@dataclass(frozen=True)
class Ask:
    """A request that an example answers."""

    method: str
    path: str
    json: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    def of(self, client: httpx.Client, token: str | None = None) -> httpx.Response:
        bearer = {} if token is None else {"Authorization": f"Bearer {token}"}
        return client.request(self.method, self.path, json=self.json, headers={**self.headers, **bearer})


@dataclass(frozen=True)
class Example:
    """A module, and what to ask it."""

    module: str
    for_session: Ask = Ask("GET", "/me")
    for_admin: Ask = Ask("GET", "/admin")
    #: The GraphQL mutation, with ``%s`` for a name; others have ``POST /sign-in/{name}``.
    sign_in: str | None = None
    shows: str = "you are ann"
    #: Whether a refusal leaves the log alone.  Strawberry logs each error of a field, with its traceback.
    quiet: bool = True

    def token_of(self, client: httpx.Client, name: str) -> str:
        if self.sign_in is None:
            answer = client.post(f"/sign-in/{name}")
        else:
            answer = client.post("/", json={"query": self.sign_in % name})
        assert answer.status_code == 200, answer.text
        found = answer.json()
        return str(found["token"] if self.sign_in is None else found["data"]["signIn"])


def graphql(query: str) -> Ask:
    return Ask("POST", "/", {"query": query})


def tool(path: str, name: str) -> Ask:
    """A call of a tool, in the words of the protocol."""
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": {}}}
    return Ask("POST", path, call, {"Accept": "application/json, text/event-stream"})


EXAMPLES = [
    Example("django_app"),
    Example("quart_app"),
    Example("falcon_app"),
    Example("blacksheep_app"),
    Example("sanic_app"),
    Example("strawberry_app", graphql("{ me }"), graphql("{ admin }"), 'mutation { signIn(name: "%s") }', quiet=False),
    Example("fastmcp_app", tool("/mcp", "me"), tool("/office/mcp", "admin")),
    Example("socketio_app", for_admin=Ask("GET", "/admin/")),
    Example(
        "datasette_app", Ask("GET", "/-/actor.json"), Ask("GET", "/_memory.json?sql=select+1"), shows='"id": "ann"'
    ),
]


@contextmanager
def serving(module: str, folder: Path) -> Iterator[str]:
    """The example on uvicorn, as its first line says to run it; its address."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(FRAMEWORKS), f"{module}:app", "--port", str(port)]
    with running(command, folder, "Uvicorn running"):
        yield f"127.0.0.1:{port}"


@contextmanager
def asking(module: str, folder: Path) -> Iterator[httpx.Client]:
    with (
        serving(module, folder) as address,
        httpx.Client(base_url=f"http://{address}", trust_env=False, timeout=PATIENCE) as client,
    ):
        yield client


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.module)
def test_it_answers_200_401_and_403_where_it_should(example: Example, tmp_path: Path) -> None:
    with asking(example.module, tmp_path) as client:
        ann, bob = example.token_of(client, "ann"), example.token_of(client, "bob")

        for token, shown in ((ann, example.shows), (bob, example.shows.replace("ann", "bob"))):
            assert (mine := example.for_session.of(client, token)).status_code == 200, mine.text
            assert shown in mine.text
        assert example.for_admin.of(client, ann).status_code == 200

        for bad in (None, f"{ann[:-4]}AAAA", "nonsense"):
            assert (refused := example.for_session.of(client, bad)).status_code == 401, refused.text
            assert "ann" not in refused.text
            assert example.for_admin.of(client, bad).status_code == 401
        assert (denied := example.for_admin.of(client, bob)).status_code == 403, denied.text
    log = (tmp_path / "log").read_text()
    assert ann[-40:] not in log
    assert ("Traceback" in log) is not example.quiet


@contextmanager
def opened(address: str, token: str | None = None) -> Iterator[ClientConnection]:
    """A WebSocket on which the client of Socket.IO has asked to connect."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    url = f"ws://{address}/socket.io/?EIO=4&transport=websocket"
    with connect(url, open_timeout=PATIENCE, additional_headers=headers) as line:
        assert str(line.recv(PATIENCE)).startswith("0{")
        line.send("40")
        yield line


def test_socketio_refuses_to_connect_without_a_session(tmp_path: Path) -> None:
    with serving("socketio_app", tmp_path) as address:
        for bad in (None, "nonsense"):
            with opened(address, bad) as line:
                assert line.recv(PATIENCE) == '44{"message":"sign in first"}'


def test_an_open_socketio_connection_ends_with_its_session(tmp_path: Path) -> None:
    example = next(example for example in EXAMPLES if example.module == "socketio_app")
    with asking("socketio_app", tmp_path) as client:
        ann, bob = (example.token_of(client, name) for name in ("ann", "bob"))
        with opened(client.base_url.netloc.decode(), ann) as anns, opened(client.base_url.netloc.decode(), bob) as bobs:
            assert {anns.recv(PATIENCE), anns.recv(PATIENCE)} >= {'42["welcome","you are ann"]'}
            assert Ask("DELETE", "/me").of(client, ann).status_code == 200
            with pytest.raises(ConnectionClosed) as closed:
                anns.recv(PATIENCE)
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4401, "session_ended")
            assert {bobs.recv(PATIENCE), bobs.recv(PATIENCE)} >= {'42["welcome","you are bob"]'}
            bobs.ping().wait(PATIENCE)
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.anyio
async def test_a_client_of_mcp_signs_in_with_the_token(tmp_path: Path) -> None:
    with asking("fastmcp_app", tmp_path) as client:
        ann = EXAMPLES[0].token_of(client, "ann")
        async with Client(f"{client.base_url.join('/mcp')}", auth=ann) as shop:
            assert (await shop.call_tool("me")).data == "you are ann"
        async with Client(f"{client.base_url.join('/office/mcp')}", auth=ann) as office:
            assert (await office.call_tool("admin")).data == "hello, ann"


def test_every_example_is_in_the_table_and_short() -> None:
    files = {path.stem: len(path.read_text().splitlines()) for path in FRAMEWORKS.glob("*.py")}
    assert set(files) == {example.module for example in EXAMPLES}
    assert {name: lines for name, lines in files.items() if lines >= 40} == {}


def test_the_docs_show_quart_as_it_is_and_name_the_others() -> None:
    page = (FRAMEWORKS.parents[1] / "docs" / "frameworks.md").read_text()
    assert f"```py\n{(FRAMEWORKS / 'quart_app.py').read_text()}```" in page
    assert [example.module for example in EXAMPLES if f"`{example.module}.py`" not in page] == []
