"""Data schemas: from stored JSON to a pydantic model, msgspec struct, dataclass or TypedDict, and back.

pydantic and msgspec are used when the schema needs them and never imported before.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from itertools import takewhile
from typing import Any, NotRequired, Required, get_args, get_origin, get_type_hints

from .errors import ConfigurationError, InvalidData
from .frozen import dump_json


class Schema:
    """How the data of one tag is read and written.

    `load` answers a fresh value for stored JSON and raises `InvalidData`, naming the field, where it does not fit;
    None: any JSON object will do.
    """

    def __init__(self, load: Callable[[bytes], Any] | None, to_dict: Callable[[Any], Any]) -> None:
        self.load = load
        self._to_dict = to_dict

    def dump(self, data: object) -> bytes:
        """`data` (a dict or an instance of the schema) as JSON that `load` will accept.

        Raises:
            InvalidData: it does not fit the schema, or would not come back from JSON as it is.
        """
        if isinstance(data, dict) or self.load is None:
            document = dump_json(data)
            self.check(document)
        else:
            document = dump_json(self._plain(data))
            self._check_return(data, self.load(document))
        return document

    def _check_return(self, data: object, back: object) -> None:
        try:
            same = _same(data, back)
        except Exception as error:  # `__eq__` of the application may run in there
            raise InvalidData(f"data cannot be compared: {type(error).__name__}") from None
        if not same:
            raise InvalidData(
                f"this {type(data).__name__} would come back from JSON as another one (a secret, a field left out, a "
                "serialiser or subclass of one's own): give a dict of what shall be kept"
            )

    def _plain(self, data: object) -> Any:
        try:
            return self._to_dict(data)
        except InvalidData:
            raise
        except Exception as error:  # serialisers of the application may run in there
            raise InvalidData(f"data cannot be written as JSON: {type(error).__name__}") from None

    def check(self, document: bytes) -> None:
        """Whether stored JSON fits.

        Raises:
            InvalidData: it does not; names the field.
        """
        if self.load is not None:
            self.load(document)


def schema_for(kind: object) -> Schema:
    """The `Schema` for what a `TagPolicy` names.

    Raises:
        ConfigurationError: not a supported kind of type, one with fields that JSON cannot hold, or the library it
            needs is not installed.
    """
    try:
        return _schema_for(kind)
    except ConfigurationError:
        raise
    except Exception as error:  # each library has its own errors for a type that it cannot read
        raise ConfigurationError(f"schema={_name(kind)} cannot be read from JSON: {error}") from error


def _schema_for(kind: object) -> Schema:
    if kind is None:
        return Schema(None, lambda data: data)
    if isinstance(kind, type) and hasattr(kind, "__struct_fields__"):
        return _msgspec_schema(kind)
    if isinstance(kind, type) and hasattr(kind, "__pydantic_validator__"):
        return _pydantic_schema(kind)
    if (isinstance(kind, type) and dataclasses.is_dataclass(kind)) or _is_typed_dict(kind):
        if find_spec("pydantic"):
            return _pydantic_schema(_for_pydantic(kind) if _is_typed_dict(kind) else kind)
        if find_spec("msgspec"):
            return _msgspec_schema(kind)
        raise ConfigurationError("a dataclass or TypedDict schema needs pydantic or msgspec: pip install one of them")
    raise ConfigurationError(
        f"schema={kind!r} is none of: pydantic model, msgspec Struct, dataclass, TypedDict (give the class itself)"
    )


def _guarded(load: Callable[[bytes], Any], kind: object) -> Callable[[bytes], Any]:
    """`load`, with whatever a validator of the application's raises made an error of ours."""

    def guarded(document: bytes) -> Any:
        try:
            return load(document)
        except InvalidData:
            raise
        except Exception as error:  # any code may run in there, and none of it may become a server error
            raise InvalidData(
                f"data does not fit {_name(kind)}: its own checks failed: {type(error).__name__}"
            ) from None

    return guarded


def _pydantic_schema(kind: Any) -> Schema:
    pydantic = importlib.import_module("pydantic")
    adapter = pydantic.TypeAdapter(kind)

    @cache
    def fields() -> frozenset[str]:
        return frozenset(_fields_in(adapter.core_schema))

    def load(document: bytes) -> Any:
        try:
            return adapter.validate_json(document)
        except pydantic.ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            # A key of a mapping, or a field that the schema does not have, is data.
            ours = takewhile(lambda part: isinstance(part, int) or part in fields(), first["loc"])
            where = ".".join(map(str, ours)) or "data"
            raise InvalidData(f"data does not fit {_name(kind)}: {where}: {first['type']}") from None

    def to_dict(data: object) -> Any:
        _check_kind(data, kind)
        # By alias, as `load` reads it, and without computed fields.  Warnings would show values; `dump` compares.
        return adapter.dump_python(data, mode="json", by_alias=True, round_trip=True, warnings=False)

    return Schema(_guarded(load, kind), to_dict)


def _fields_in(core_schema: Any) -> Iterator[str]:
    """The names and aliases of all fields in a core schema of pydantic's."""
    if isinstance(core_schema, list | tuple):
        for item in core_schema:
            yield from _fields_in(item)
    elif isinstance(core_schema, Mapping):
        fields = core_schema.get("fields")
        if isinstance(fields, dict):
            yield from fields
        yield from (core_schema[key] for key in ("name", "validation_alias") if isinstance(core_schema.get(key), str))
        for item in core_schema.values():
            yield from _fields_in(item)


def _msgspec_schema(kind: Any) -> Schema:
    msgspec = importlib.import_module("msgspec")
    decoder = msgspec.json.Decoder(kind)

    def load(document: bytes) -> Any:
        try:
            return decoder.decode(document)
        except msgspec.ValidationError as error:
            # msgspec names types and the path, e.g. "Expected `int`, got `str` - at `$.age`"; never the value,
            # but for an enum or tag, so only the path is kept.
            where = str(error).rpartition(" - at ")[2].strip("`") if " - at " in str(error) else "data"
            raise InvalidData(f"data does not fit {_name(kind)}: {where}") from None

    def to_dict(data: object) -> Any:
        _check_kind(data, kind)
        return json.loads(msgspec.json.encode(data))

    return Schema(_guarded(load, kind), to_dict)


def _is_typed_dict(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, dict) and hasattr(kind, "__required_keys__")


def _for_pydantic(kind: Any) -> Any:
    """The same TypedDict as pydantic wants it below Python 3.12: made by typing_extensions, which it brings."""
    members: dict[str, Any] = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        bare = get_args(hint)[0] if get_origin(hint) in (Required, NotRequired) else hint
        members[name] = bare if name in kind.__required_keys__ else NotRequired[bare]
    return importlib.import_module("typing_extensions").TypedDict(kind.__name__, members)


def _check_kind(data: object, kind: Any) -> None:
    if not isinstance(kind, type) or _is_typed_dict(kind) or not isinstance(data, kind):
        raise InvalidData(f"data must be a dict or a {_name(kind)}, not {type(data).__name__}")


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal, as far as JSON can tell: a list is as good as a tuple, and a class needs no
    ``__eq__`` where it has fields."""
    if one == other:
        return True
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if type(one) is not type(other):
        return False
    ours, theirs = _members(one), _members(other)
    return bool(ours) and ours.keys() == theirs.keys() and all(_same(ours[name], theirs[name]) for name in ours)


def _members(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    if dataclasses.is_dataclass(value):
        names: Any = [field.name for field in dataclasses.fields(value)]
    else:
        names = getattr(type(value), "__struct_fields__", None) or getattr(type(value), "model_fields", ())
    return {name: getattr(value, name) for name in names} | (getattr(value, "model_extra", None) or {})


def _name(kind: object) -> str:
    return getattr(kind, "__name__", repr(kind))
