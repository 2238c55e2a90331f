"""What handlers get as `session.data`: cannot be changed, and encodes like a plain dict."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from fastapi.encoders import jsonable_encoder
from pydantic import BaseModel, TypeAdapter

from ductape_asgi import InvalidData, IssuedSession, Session, Sessions

from .support import ANN, TAG

pytestmark = pytest.mark.anyio

DATA: dict[str, Any] = {
    "userId": "ann",
    "n": 1,
    "f": 1.5,
    "yes": True,
    "none": None,
    "text": "grüße \U0001f642 \u2028",
    "list": [1, [2, 3], {"deep": ["x"]}],
    "dict": {"a": {"b": []}},
    "": "empty key",
}


@pytest.fixture
async def session(sessions: Sessions) -> Session[Any]:
    issued = await sessions.start(tag=TAG, data=DATA)
    return await sessions.verify(tag=TAG, token=issued.token)


async def test_data_comes_back_as_it_went_in(session: Session[Any]) -> None:
    assert session.data == DATA
    assert isinstance(session.data, dict)
    assert isinstance(session.data["list"], list)


async def test_large_and_exact_numbers_come_back_as_they_went_in(sessions: Sessions) -> None:
    data = {**ANN, "big": 2**80, "negative": -(2**63), "small": 5e-324, "tenth": 0.1}
    issued = await sessions.start(tag=TAG, data=data)
    assert (await sessions.verify(tag=TAG, token=issued.token)).data == data


async def test_json_dumps_writes_it_like_a_plain_dict(session: Session[Any]) -> None:
    assert json.dumps(session.data) == json.dumps(DATA)
    assert json.dumps(session.data, indent=1, sort_keys=True) == json.dumps(DATA, indent=1, sort_keys=True)


async def test_fastapi_encodes_it_like_a_plain_dict(session: Session[Any]) -> None:
    assert json.dumps(jsonable_encoder(session.data)) == json.dumps(DATA)
    assert json.dumps(jsonable_encoder({"data": session.data})) == json.dumps({"data": DATA})


async def test_pydantic_encodes_it_like_a_plain_dict(session: Session[Any]) -> None:
    class Answer(BaseModel):
        data: dict[str, Any]

    assert json.loads(Answer(data=session.data).model_dump_json()) == {"data": DATA}
    assert Answer(data=session.data).model_dump() == {"data": DATA}
    assert json.loads(TypeAdapter(Any).dump_json(session.data)) == DATA


async def test_msgspec_encodes_it_like_a_plain_dict(session: Session[Any]) -> None:
    assert msgspec.json.decode(msgspec.json.encode(session.data)) == DATA
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(session.data)) == DATA
    assert msgspec.to_builtins(session.data) == DATA


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda data: pickle.loads(pickle.dumps(data))])
async def test_a_copy_is_plain_and_may_be_changed(session: Session[Any], copied: Callable[[Any], Any]) -> None:
    plain = copied(session.data)
    assert type(plain) is dict
    assert type(plain["list"]) is list
    assert type(plain["list"][2]) is dict
    plain["list"][2]["deep"].append("y")
    plain["new"] = 1
    assert session.data == DATA


DICT_MUTATIONS: dict[str, Callable[[Any], Any]] = {
    "setitem": lambda data: data.__setitem__("role", "admin"),
    "delitem": lambda data: data.__delitem__("userId"),
    "update": lambda data: data.update(role="admin"),
    "setdefault": lambda data: data.setdefault("role", "admin"),
    "pop": lambda data: data.pop("userId"),
    "popitem": lambda data: data.popitem(),
    "clear": lambda data: data.clear(),
    "ior": lambda data: data.__ior__({"role": "admin"}),
    "init": lambda data: data.__init__({"role": "admin"}),
    "attribute": lambda data: setattr(data, "role", "admin"),
}
LIST_MUTATIONS: dict[str, Callable[[Any], Any]] = {
    "setitem": lambda items: items.__setitem__(0, 9),
    "setslice": lambda items: items.__setitem__(slice(0, 1), [9]),
    "delitem": lambda items: items.__delitem__(0),
    "append": lambda items: items.append(9),
    "extend": lambda items: items.extend([9]),
    "insert": lambda items: items.insert(0, 9),
    "pop": lambda items: items.pop(),
    "remove": lambda items: items.remove(1),
    "clear": lambda items: items.clear(),
    "sort": lambda items: items.sort(),
    "reverse": lambda items: items.reverse(),
    "iadd": lambda items: items.__iadd__([9]),
    "imul": lambda items: items.__imul__(2),
    "init": lambda items: items.__init__([9]),
}


@pytest.mark.parametrize("mutation", DICT_MUTATIONS)
@pytest.mark.parametrize("where", [lambda data: data, lambda data: data["dict"]["a"], lambda data: data["list"][2]])
@pytest.mark.any_store
async def test_dicts_cannot_be_changed(session: Session[Any], mutation: str, where: Callable[[Any], Any]) -> None:
    with pytest.raises((TypeError, AttributeError)):
        DICT_MUTATIONS[mutation](where(session.data))
    assert session.data == DATA


@pytest.mark.parametrize("mutation", LIST_MUTATIONS)
@pytest.mark.parametrize(
    "where", [lambda data: data["list"], lambda data: data["list"][1], lambda data: data["dict"]["a"]["b"]]
)
@pytest.mark.any_store
async def test_lists_cannot_be_changed(session: Session[Any], mutation: str, where: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError):
        LIST_MUTATIONS[mutation](where(session.data))
    assert session.data == DATA


async def test_not_even_the_methods_of_the_base_class_reach_the_next_request(sessions: Sessions) -> None:
    issued = await sessions.start(tag=TAG, data={**ANN, "roles": ["user"]})
    first = await sessions.verify(tag=TAG, token=issued.token)
    dict.__setitem__(first.data, "role", "admin")
    list.append(first.data["roles"], "admin")
    second = await sessions.verify(tag=TAG, token=issued.token)
    assert first.data == second.data == {**ANN, "roles": ["user"]}
    assert second.roles == {"user"}


async def test_changing_what_start_was_given_changes_no_session(sessions: Sessions) -> None:
    data: dict[str, Any] = {**ANN, "roles": ["user"]}
    issued = await sessions.start(tag=TAG, data=data)
    data["roles"].append("admin")
    assert (await sessions.verify(tag=TAG, token=issued.token)).roles == {"user"}


@pytest.mark.parametrize("name", ["session_id", "identifier", "roles", "data", "expires_at", "brand_new"])
@pytest.mark.any_store
async def test_a_session_cannot_be_changed(session: Session[Any], name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(session, name, "x")
    with pytest.raises(AttributeError):
        delattr(session, name)


async def test_copies_of_a_session_are_the_session(session: Session[Any]) -> None:
    assert copy.copy(session) is session
    assert copy.deepcopy(session) is session


async def test_sessions_verified_twice_are_equal(sessions: Sessions) -> None:
    issued = await sessions.start(tag=TAG, data=DATA)
    first, second = [await sessions.verify(tag=TAG, token=issued.token, fresh=True) for _ in range(2)]
    assert first == second
    assert hash(first) == hash(second)


class Odd:
    def __repr__(self) -> str:
        return "Odd()"


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        float("-inf"),
        {1, 2},
        b"bytes",
        Odd(),
        {1: "a"},
        {None: "a"},
        "\ud800",
        {"\udfff": 1},
        1 + 2j,
    ],
    ids=repr,
)
@pytest.mark.parametrize("place", [lambda value: value, lambda value: [value], lambda value: {"deep": [{"x": value}]}])
@pytest.mark.any_store
async def test_what_json_cannot_hold_is_invalid_data(sessions: Sessions, value: Any, place: Any) -> None:
    with pytest.raises(InvalidData):
        await sessions.start(tag=TAG, data={**ANN, "value": place(value)})
    issued = await sessions.start(tag=TAG, data=ANN)
    with pytest.raises(InvalidData):
        await sessions.update(tag=TAG, identifier="ann", data={**ANN, "value": place(value)})
    assert (await sessions.verify(tag=TAG, token=issued.token)).data == ANN


@pytest.mark.parametrize(
    ("value", "why"), [(float("nan"), "a number .* NaN"), ("\ud800", "surrogate")], ids=["nan", "half"]
)
async def test_what_json_cannot_hold_is_named_without_showing_it(sessions: Sessions, value: Any, why: str) -> None:
    with pytest.raises(InvalidData, match=why):
        await sessions.start(tag=TAG, data={**ANN, "value": value})


@pytest.mark.parametrize("data", [None, [], "text", 7, [("userId", "ann")], b"{}"])
@pytest.mark.any_store
async def test_data_that_is_no_dict_is_invalid(sessions: Sessions, data: Any) -> None:
    with pytest.raises(InvalidData):
        await sessions.start(tag=TAG, data=data)


async def test_bottomless_data_is_invalid(sessions: Sessions) -> None:
    endless: dict[str, Any] = {**ANN}
    endless["self"] = endless
    with pytest.raises(InvalidData):
        await sessions.start(tag=TAG, data=endless)
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidData):
        await sessions.start(tag=TAG, data={**ANN, "deep": deep})
    while deep:
        deep = deep.pop()


@pytest.mark.parametrize("identifier", ["ann", "ä\U0001f642", "x" * 500, " ", "a:b|c", "0"])
async def test_any_text_is_an_identifier(sessions: Sessions, identifier: str) -> None:
    issued = await sessions.start(tag=TAG, data={}, identifier=identifier)
    assert (await sessions.verify(tag=TAG, token=issued.token)).identifier == identifier
    (info,) = await sessions.list(tag=TAG, identifier=identifier)
    assert info.identifier == identifier


async def test_the_identifier_of_an_issued_session_is_that_of_its_session(sessions: Sessions) -> None:
    issued: IssuedSession = await sessions.start(tag=TAG, data=ANN, identifier="someone-else")
    assert issued.identifier == "someone-else"
    refreshed = await sessions.refresh(tag=TAG, refresh_token=issued.refresh_token)
    assert refreshed.identifier == "someone-else"
    assert (await sessions.verify(tag=TAG, token=refreshed.token)).identifier == "someone-else"


@pytest.mark.parametrize(
    "inner", [{"SECRET-KEY": object()}, {"a": {"SECRET-KEY": object()}}, [{"SECRET-KEY": [object()]}], [{"a": {1: 2}}]]
)
@pytest.mark.any_store
async def test_what_json_cannot_hold_is_named_by_its_place_at_the_top(sessions: Sessions, inner: Any) -> None:
    """Keys further in may be data, such as the addresses in a dict of them."""
    with pytest.raises(InvalidData, match=r"data\.cart") as caught:
        await sessions.start(tag=TAG, data={**ANN, "cart": inner})
    assert "SECRET" not in str(caught.value)
