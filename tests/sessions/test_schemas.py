"""`TagPolicy(schema=...)`: typed, fresh, and checked on the way in and out."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from typing import Any, TypedDict

import msgspec
import pydantic
import pytest
from typing_extensions import TypedDict as ExtendedTypedDict

from ductape_asgi import ConfigurationError, InvalidData, InvalidToken, Sessions, TagPolicy

from .conftest import MakeSessions
from .support import TAG

pytestmark = pytest.mark.anyio


class Model(pydantic.BaseModel):
    userId: str  # noqa: N815
    age: int
    roles: list[str] = []


class Struct(msgspec.Struct):
    userId: str  # noqa: N815
    age: int
    roles: list[str] = []


@dataclass
class Data:
    userId: str  # noqa: N815
    age: int
    roles: list[str] = field(default_factory=list)


class ExtendedTyped(ExtendedTypedDict):
    userId: str
    age: int
    roles: list[str]


class Typed(TypedDict):
    userId: str
    age: int
    roles: list[str]


KINDS: list[Any] = [Model, Struct, Data, Typed, ExtendedTyped]
TYPED_DICTS = (Typed, ExtendedTyped)
GOOD = {"userId": "ann", "age": 30, "roles": ["user"]}


def field_of(data: Any, name: str) -> Any:
    return data[name] if isinstance(data, dict) else getattr(data, name)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
async def typed(make_sessions: MakeSessions, kind: Any) -> Sessions:
    return await make_sessions(tags=[TagPolicy(TAG, schema=kind)])


async def test_data_is_an_instance_of_the_schema(typed: Sessions, kind: Any) -> None:
    issued = await typed.start(tag=TAG, data=GOOD)
    data = (await typed.verify(tag=TAG, token=issued.token)).data
    assert isinstance(data, dict if kind in TYPED_DICTS else kind)
    assert field_of(data, "age") == 30


async def test_start_takes_an_instance_too(typed: Sessions, kind: Any) -> None:
    issued = await typed.start(tag=TAG, data=kind(**GOOD))
    session = await typed.verify(tag=TAG, token=issued.token)
    assert session.identifier == "ann"
    assert session.roles == {"user"}
    assert session.data == kind(**GOOD)


async def test_each_access_answers_a_fresh_instance(typed: Sessions, kind: Any) -> None:
    issued = await typed.start(tag=TAG, data=GOOD)
    session = await typed.verify(tag=TAG, token=issued.token)
    field_of(session.data, "roles").append("admin")
    if kind not in TYPED_DICTS:
        session.data.age = 99
    assert field_of(session.data, "roles") == ["user"]
    again = await typed.verify(tag=TAG, token=issued.token)
    assert field_of(again.data, "roles") == ["user"]
    assert again.roles == {"user"}


@pytest.mark.parametrize("bad", [{**GOOD, "age": "thirty"}, {"userId": "ann", "roles": []}, {**GOOD, "roles": [1]}])
@pytest.mark.any_store
async def test_data_that_fails_its_schema_is_invalid_at_start_and_update(typed: Sessions, bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidData):
        await typed.start(tag=TAG, data=bad)
    issued = await typed.start(tag=TAG, data=GOOD)
    with pytest.raises(InvalidData):
        await typed.update(tag=TAG, identifier="ann", data=bad)
    assert field_of((await typed.verify(tag=TAG, token=issued.token)).data, "age") == 30


@pytest.mark.any_store
async def test_invalid_data_names_the_field_and_not_the_value(typed: Sessions) -> None:
    with pytest.raises(InvalidData, match="age") as caught:
        await typed.start(tag=TAG, data={**GOOD, "age": "secret-value"})
    assert "secret-value" not in str(caught.value)


class Item(pydantic.BaseModel):
    shoeSize: int = pydantic.Field(0, alias="shoe-size")  # noqa: N815


class Mappings(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    counts: dict[str, int] = {}
    items: dict[str, list[Item]] = {}
    listed: list[Item] = []


@dataclass
class MappingsData:
    counts: dict[str, int] = field(default_factory=dict)
    items: dict[str, list[Item]] = field(default_factory=dict)
    listed: list[Item] = field(default_factory=list)


class MappingsStruct(msgspec.Struct, forbid_unknown_fields=True):
    counts: dict[str, int] = {}
    items: dict[str, list[dict[str, int]]] = {}
    listed: list[dict[str, int]] = []


@pytest.mark.parametrize("kind", [Mappings, MappingsData, MappingsStruct], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"counts": {"SECRET-KEY": "x"}}, "counts"),
        ({"items": {"SECRET-KEY": [{"shoe-size": "x"}]}}, "items"),
        ({"listed": [{"shoe-size": 1}, {"shoe-size": "x"}]}, "listed"),
    ],
    ids=["value", "deep", "list"],
)
def test_what_does_not_fit_is_named_up_to_the_first_key_that_is_data(kind: Any, bad: Any, named: str) -> None:
    with pytest.raises(InvalidData, match=named) as caught:
        TagPolicy(TAG, schema=kind).codec.dump(bad)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("kind", [Mappings, MappingsStruct])
def test_a_field_that_the_schema_does_not_have_is_not_named(kind: Any) -> None:
    with pytest.raises(InvalidData, match=f"does not fit {kind.__name__}: ") as caught:
        TagPolicy(TAG, schema=kind).codec.dump({"SECRET-KEY": 1})
    assert "SECRET" not in str(caught.value)


def test_the_fields_of_models_in_lists_are_named_in_full() -> None:
    for kind in (Mappings, MappingsData):
        with pytest.raises(InvalidData, match=r"listed\.1\.shoe-size: int_parsing"):
            TagPolicy(TAG, schema=kind).codec.dump({"listed": [{"shoe-size": 1}, {"shoe-size": "x"}]})


@pytest.mark.any_store
async def test_an_instance_of_something_else_is_invalid(typed: Sessions) -> None:
    class Other(pydantic.BaseModel):
        userId: str = "ann"  # noqa: N815
        age: int = 30

    for other in (Other(), object(), "text", None):
        with pytest.raises(InvalidData):
            await typed.start(tag=TAG, data=other)


async def test_data_that_no_longer_fits_is_an_invalid_token_with_the_field_in_the_log(
    make_sessions: MakeSessions, kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    before = await make_sessions()
    issued = await before.start(tag=TAG, data={"userId": "ann", "age": "secret-value", "roles": []})
    after = await make_sessions(tags=[TagPolicy(TAG, schema=kind)])
    with caplog.at_level(logging.INFO), pytest.raises(InvalidToken):
        await after.verify(tag=TAG, token=issued.token)
    assert "age" in caplog.text
    assert "secret-value" not in caplog.text
    assert (await before.verify(tag=TAG, token=issued.token)).identifier == "ann"


async def test_a_refresh_gives_data_that_fits_again(typed: Sessions, make_sessions: MakeSessions) -> None:
    issued = await typed.start(tag=TAG, data=GOOD)
    await typed.update(tag=TAG, session_id=issued.session_id, data={**GOOD, "age": 31})
    issued = await typed.refresh(tag=TAG, refresh_token=issued.refresh_token)
    assert field_of((await typed.verify(tag=TAG, token=issued.token)).data, "age") == 31


@dataclass
class Unwritable:
    userId: str  # noqa: N815
    lock: threading.Lock


class UnwritableStruct(msgspec.Struct):
    lock: list[int] | tuple[int, ...]


@pytest.mark.parametrize("kind", [Unwritable, UnwritableStruct])
def test_a_class_that_cannot_be_read_from_json_is_a_configuration_error(kind: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"schema={kind.__name__}"):
        TagPolicy(TAG, schema=kind)


@pytest.mark.parametrize("kind", [int, "Model", Model(**GOOD), [Model], lambda: None])  # type: ignore[arg-type]
def test_what_is_no_schema_is_a_configuration_error(kind: Any) -> None:
    with pytest.raises(ConfigurationError, match="schema"):
        TagPolicy(TAG, schema=kind)
