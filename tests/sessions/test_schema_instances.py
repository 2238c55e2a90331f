"""An instance of a schema goes through JSON and comes back the same, or is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pydantic
import pytest
from pydantic.alias_generators import to_camel

from ductape_asgi import InvalidData, TagPolicy

from .conftest import MakeSessions
from .support import TAG

pytestmark = pytest.mark.anyio


class Camel(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(alias_generator=to_camel)
    user_id: str
    shoe_size: int = 40


class ByEitherName(Camel):
    model_config = pydantic.ConfigDict(populate_by_name=True)


class Computed(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    userId: str  # noqa: N815

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def initial(self) -> str:
        return self.userId[0]


class Renamed(msgspec.Struct, rename="camel"):
    user_id: str
    shoe_size: int = 40


@dataclass(eq=False)
class Unequal:
    userId: str  # noqa: N815
    roles: Sequence[str] = ()


class WithTuple(pydantic.BaseModel):
    userId: str  # noqa: N815
    roles: Sequence[str] = ()


class Rich(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    userId: str  # noqa: N815
    at: datetime = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    price: Decimal = Decimal("1.10")
    tags: frozenset[str] = frozenset({"a"})


INSTANCES: list[Any] = [
    Camel(userId="ann"),
    ByEitherName(user_id="ann"),
    ByEitherName(userId="ann", shoe_size=39),
    Computed(userId="ann"),
    Renamed("ann", 39),
    Unequal("ann"),
    Unequal("ann", ["staff"]),
    WithTuple(userId="ann"),
    Rich(userId="ann", more={"a": [1, None]}),  # type: ignore[call-arg]
]


@pytest.mark.parametrize("data", INSTANCES, ids=lambda one: type(one).__name__)
async def test_an_instance_comes_back_as_it_went_in(make_sessions: MakeSessions, data: Any) -> None:
    sessions = await make_sessions(tags=[TagPolicy(TAG, schema=type(data))])
    issued = await sessions.start(tag=TAG, data=data)
    session = await sessions.verify(tag=TAG, token=issued.token)
    assert session.identifier == "ann"
    back = session.data
    assert type(back) is type(data)
    assert plain(back) == plain(data)
    # And what came back may be handed in again.
    assert await sessions.update(tag=TAG, identifier="ann", data=back) == 1
    assert plain((await sessions.verify(tag=TAG, token=issued.token)).data) == plain(data)


def plain(data: Any) -> Any:
    return pydantic.TypeAdapter(dict[str, Any]).dump_python(
        data.model_dump() if isinstance(data, pydantic.BaseModel) else members(data), mode="json"
    )


def members(data: Any) -> dict[str, Any]:
    names = getattr(data, "__struct_fields__", None) or vars(data)
    return {name: getattr(data, name) for name in names}


async def test_data_that_was_read_may_be_changed_by_copy_and_handed_in_again(make_sessions: MakeSessions) -> None:
    sessions = await make_sessions(tags=[TagPolicy(TAG, schema=Camel)])
    issued = await sessions.start(tag=TAG, data={"userId": "ann"})
    data = (await sessions.verify(tag=TAG, token=issued.token)).data
    assert await sessions.update(tag=TAG, identifier="ann", data=data.model_copy(update={"shoe_size": 41})) == 1
    assert (await sessions.verify(tag=TAG, token=issued.token)).data.shoe_size == 41


class Secret(pydantic.BaseModel):
    userId: str = "ann"  # noqa: N815
    password: pydantic.SecretStr = pydantic.SecretStr("hunter2")


class Masked(pydantic.BaseModel):
    userId: str = "ann"  # noqa: N815
    password: str = "hunter2"

    @pydantic.field_serializer("password")
    def mask(self, value: str) -> str:
        return "***"


class LeftOut(pydantic.BaseModel):
    userId: str = "ann"  # noqa: N815
    password: str = pydantic.Field(default="", exclude=True)


class Base(pydantic.BaseModel):
    userId: str = "ann"  # noqa: N815


class Derived(Base):
    password: str = "hunter2"


class BaseStruct(msgspec.Struct):
    userId: str = "ann"  # noqa: N815


class DerivedStruct(BaseStruct):
    password: str = "hunter2"


class Inner(pydantic.BaseModel):
    roles: Sequence[str] = ()
    secrets: Sequence[pydantic.SecretStr] = (pydantic.SecretStr("hunter2"),)


class Outer(pydantic.BaseModel):
    userId: str = "ann"  # noqa: N815
    inner: Inner = Inner()


class AnyExtra(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    userId: str = "ann"  # noqa: N815
    roles: Sequence[str] = ()


LOSSY: list[tuple[Any, Any]] = [
    (Secret, Secret()),
    (Masked, Masked()),
    (LeftOut, LeftOut(password="hunter2")),
    (Base, Derived()),
    (BaseStruct, DerivedStruct()),
    (Outer, Outer()),
    (AnyExtra, AnyExtra(password=pydantic.SecretStr("hunter2"))),  # type: ignore[call-arg]
]


@pytest.mark.parametrize(("schema", "data"), LOSSY, ids=[type(data).__name__ for _, data in LOSSY])
async def test_an_instance_that_json_would_change_is_refused(
    make_sessions: MakeSessions, schema: Any, data: Any
) -> None:
    sessions = await make_sessions(tags=[TagPolicy(TAG, schema=schema)])
    with pytest.raises(InvalidData, match="another") as caught:
        await sessions.start(tag=TAG, data=data)
    assert "hunter2" not in str(caught.value)
    assert (await sessions.list(tag=TAG, identifier="ann")).count == 0


async def test_a_secret_in_a_dict_is_kept(make_sessions: MakeSessions) -> None:
    sessions = await make_sessions(tags=[TagPolicy(TAG, schema=Secret)])
    issued = await sessions.start(tag=TAG, data={"userId": "ann", "password": "hunter2"})
    assert (await sessions.verify(tag=TAG, token=issued.token)).data == Secret()


@dataclass
class Loose:
    userId: str  # noqa: N815
    age: int


async def test_an_instance_that_was_never_checked_warns_of_no_value(
    make_sessions: MakeSessions, recwarn: pytest.WarningsRecorder
) -> None:
    """pydantic's own warning would show the value."""
    sessions = await make_sessions(tags=[TagPolicy(TAG, schema=Loose)])
    with pytest.raises(InvalidData, match="age: int_parsing"):
        await sessions.start(tag=TAG, data=Loose("ann", "hunter2"))  # type: ignore[arg-type]
    assert not [warning for warning in recwarn if "hunter2" in str(warning.message)]
