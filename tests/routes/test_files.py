"""What is the same for everybody."""

from __future__ import annotations

from pathlib import Path

import jwt
import pytest

from ductape_asgi import Sessions, new_access_key, session_routes
from ductape_asgi.routes import files
from tests.asgi_client import call

from .support import TAG, World, problem

pytestmark = pytest.mark.anyio


@pytest.fixture
def mode() -> str:
    return "cookie"


async def test_the_keys_verify_a_token_and_may_be_cached(world: World) -> None:
    answer = await call(world.routes(), path="/jwks.json")
    assert answer.header("content-type") == "application/jwk-set+json"
    assert answer.header("cache-control") == "public, max-age=300"
    issued = await world.sessions.start(tag=TAG, data={"userId": "ann"})
    (key,) = jwt.PyJWKSet.from_dict(answer.json()).keys
    unhurried = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}  # the clock here is another one
    claims = jwt.decode(issued.token, key, algorithms=["EdDSA"], audience="shop:prd", options=unhurried)
    assert claims["sid"] == issued.session_id
    assert not {"d", "k", "p", "q"} & set(answer.json()["keys"][0])


async def test_a_shared_secret_is_never_published() -> None:
    sessions = Sessions(access_key=new_access_key(), product="shop", env="prd", store="memory://", algorithm="HS256")
    answer = await call(session_routes(sessions, tag=TAG), path="/jwks.json")
    assert answer.json() == {"keys": []}


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with a script of a few bytes."""
    files._content.cache_clear()
    (tmp_path / "static").mkdir()
    monkeypatch.setattr(files.resources, "files", lambda package: tmp_path)
    yield tmp_path / "static" / "client.js"  # type: ignore[misc]
    files._content.cache_clear()


async def test_the_script_is_a_module_that_is_asked_about_each_time(world: World, script: Path) -> None:
    script.write_bytes(b"export const here = true;\n")
    answer = await call(world.routes(), path="/client.js")
    assert answer.body == b"export const here = true;\n"
    assert answer.header("content-type") == "text/javascript; charset=utf-8"
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("cache-control") == "no-cache"
    tag = (answer.header("etag") or "").encode()
    for known in (tag, b"W/" + tag, b'"other", ' + tag, b"*"):
        again = await call(world.routes(), path="/client.js", headers=[(b"if-none-match", known)])
        assert (again.status, again.body) == (304, b"")
    changed = await call(world.routes(), path="/client.js", headers=[(b"if-none-match", b'"other"')])
    assert changed.status == 200


async def test_a_file_that_is_not_there_is_not_found(world: World, script: Path) -> None:
    for path in ("/client.js", "/client.d.ts"):
        assert problem(await call(world.routes(), path=path)) == (404, "not_found")
