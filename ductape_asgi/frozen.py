"""JSON values that nobody can change: dicts and lists whose mutating methods raise."""

from __future__ import annotations

from typing import Any, NoReturn, SupportsIndex, cast

from .encoding import to_json
from .errors import InvalidData

#: Deeper data is refused at `start`, so that no reader can be made to recurse far.
MAX_DEPTH = 64


def _refuse(self: object, *args: object, **kwargs: object) -> NoReturn:
    raise TypeError("session data cannot be changed; use sessions.update(...) or work on copy.deepcopy(data)")


_CONTAINERS = (dict, list)
_PLAIN = frozenset({str, int, float, bool, type(None)})


class FrozenDict(dict[str, Any]):
    """A read-only dict.  `copy.deepcopy` and pickling answer a plain one."""

    __slots__ = ()
    __init__ = __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return cast("dict[str, Any]", thaw(self))

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return (_plain, (thaw(self),))


class FrozenList(list[Any]):
    """A read-only list.  `copy.deepcopy` and pickling answer a plain one."""

    __slots__ = ()
    __init__ = __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = extend = insert = pop = remove = clear = sort = reverse = _refuse

    def __deepcopy__(self, memo: dict[int, Any]) -> list[Any]:
        return cast("list[Any]", thaw(self))

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return (_plain, (thaw(self),))


def _plain(value: Any) -> Any:
    return value


def freeze(value: Any) -> Any:
    """A frozen copy of a plain JSON value."""
    if type(value) is dict:
        frozen = FrozenDict.__new__(FrozenDict)
        dict.update(frozen, value)
        for key, item in value.items():
            if type(item) in _CONTAINERS:
                dict.__setitem__(frozen, key, freeze(item))
        return frozen
    if type(value) is list:
        items = FrozenList.__new__(FrozenList)
        list.extend(items, map(freeze, value))
        return items
    return value


def thaw(value: Any) -> Any:
    """A plain, changeable copy of a JSON value."""
    if isinstance(value, dict):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, list):
        return [thaw(item) for item in value]
    return value


def dump_json(data: object, *, what: str = "data") -> bytes:
    """Write `data` as compact UTF-8 JSON, and refuse whatever would not come back as it went in.

    Raises:
        InvalidData: not an object, a key that is not a string, a value JSON has no
            form for (NaN too), text that UTF-8 cannot hold, or nesting deeper than `MAX_DEPTH`.
    """
    if not isinstance(data, dict):
        raise InvalidData(f"{what} must be a dict, not {type(data).__name__}")
    _check(data, what, MAX_DEPTH)
    try:
        return to_json(data).encode()
    except UnicodeEncodeError:
        raise InvalidData(
            f"{what} holds text that UTF-8 has no form for, half of a surrogate pair; replace it"
        ) from None
    except ValueError:
        raise InvalidData(f"{what} holds a number that JSON has no form for, such as NaN; give None or text") from None
    except (TypeError, RecursionError) as error:
        raise InvalidData(f"{what} cannot be written as JSON: {type(error).__name__}") from None


def looks_written(document: bytes) -> bool:
    """Whether JSON that was parsed before is surely within what `dump_json` lets pass, as far as a glance can tell."""
    return document.count(b"{") + document.count(b"[") <= MAX_DEPTH and b"\\u" not in document


def _check(value: object, path: str, depth: int) -> None:
    if depth == 0:
        raise InvalidData(f"session data is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise InvalidData(f"{path} has a key of type {type(key).__name__}; JSON keys are strings")
            if type(item) not in _PLAIN:
                # Keys further in may be data, and messages hold none.
                _check(item, f"{path}.{key}" if depth == MAX_DEPTH else path, depth - 1)
    elif isinstance(value, list | tuple):
        for item in value:
            if type(item) not in _PLAIN:
                _check(item, f"{path}[]", depth - 1)
    elif value is not None and not isinstance(value, str | int | float):
        raise InvalidData(f"{path}: JSON cannot hold a {type(value).__name__}; convert it first")
