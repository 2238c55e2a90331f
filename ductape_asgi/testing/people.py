"""Session data of somebody who is made up."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ConfigurationError
from ..policy import TagPolicy
from ..sessions import Sessions

#: Whose session it is, where nothing else is said.
SOMEBODY = "test-user"
TAG = "user-session"


def only_tag(sessions: Sessions, tag: str | None) -> str:
    """`tag`, else the only one of `sessions`, else ``"user-session"`` where every tag works.

    Raises:
        ConfigurationError: there are several.
    """
    if tag is not None:
        return sessions.policy(tag).tag
    if len(sessions.tags) > 1:
        raise ConfigurationError(f"name the session type: tag= one of {', '.join(sessions.tags)}")
    return sessions.tags[0] if sessions.tags else TAG


def start_options(
    policy: TagPolicy, *, data: Any, role: str | None, permissions: Sequence[str], identifier: str | None
) -> dict[str, Any]:
    """Keywords of `Sessions.start`: data with the role, the permissions and the identifier where the policy has them.

    Raises:
        ConfigurationError: a role or permission for data that is no dict.
    """
    whole = {} if data is None else copy.deepcopy(dict(data)) if isinstance(data, Mapping) else data
    if not isinstance(whole, dict):
        if role is not None or permissions:
            raise ConfigurationError(f"put the role and the permissions into your {type(data).__name__}")
        return {"tag": policy.tag, "data": whole, "identifier": identifier}
    if role is not None:
        _put(whole, policy.roles[0], role)
    if permissions:
        _put(whole, policy.permissions[0], list(permissions))
    found = policy.identifier_in(whole)
    if identifier is None and found is None and not policy.anonymous:
        identifier = SOMEBODY
    if identifier is not None and found is None and policy.schema is None:
        _put(whole, policy.selector, identifier)
    return {"tag": policy.tag, "data": whole, "identifier": identifier}


def _put(data: dict[str, Any], path: str, value: object) -> None:
    *parents, last = path.split(".")
    for name in parents:
        data = data.setdefault(name, {})
    data[last] = value
