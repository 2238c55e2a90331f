"""What has to be true of a server before sessions are kept there."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    AuthorizationError,
    NoPermissionError,
    RedisError,
    ResponseError,
)

from ...audit import logger
from ...errors import ConfigurationError
from .address import Address
from .node import Node
from .opened import LONGEST_WAIT, Opened, explained

_OLDEST = (7, 0)
_REFUSED = (AuthenticationError, AuthenticationWrongNumberOfArgsError, AuthorizationError, NoPermissionError)


def require_asyncio() -> None:
    """Refuse any other event loop.

    Raises:
        ConfigurationError: this is trio.
    """
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    if task is None:  # also in trio's guest mode, which runs inside of asyncio but not in a task of it
        raise ConfigurationError(
            "the Redis store runs on asyncio only, as redis-py does (a driver for trio, coredis, is not built in yet):"
            " run the app on asyncio (uvicorn and granian do), or use sqlite:///, which runs on trio as well"
        )


async def check(opened: Opened) -> None:
    """Look at all servers once.

    Raises:
        ConfigurationError: sessions cannot be kept there; says what to do.
        StoreUnavailable: they do not answer.
    """
    try:
        with explained():
            async with asyncio.timeout(LONGEST_WAIT):
                await opened.topology.look()
                for node in opened.topology.nodes:
                    await _check_node(node, opened.address)
    except Exception as error:
        if isinstance(error, ConfigurationError):
            raise
        cause = error.__cause__
        if isinstance(cause, _REFUSED):
            raise ConfigurationError(
                f"Redis refuses user and password, or does not let them do what sessions need, at {opened.address}:"
                " put them into the URL (redis://user:password@host), and see docs/stores.md for the rights"
            ) from cause
        if isinstance(cause, RedisError) and "index is out of range" in str(cause):
            raise ConfigurationError(f"Redis has no such database: {opened.address}") from cause
        if isinstance(cause, RedisError) and "cluster support disabled" in str(cause).lower():
            raise ConfigurationError(f"this is no cluster: use redis:// instead of {opened.address}") from cause
        raise


async def _check_node(node: Node, address: Address) -> None:
    (answer,) = await node.ask(("INFO",))
    if isinstance(answer, ResponseError):
        raise answer
    facts = dict(line.split(":", 1) for line in answer.decode(errors="replace").splitlines() if ":" in line)
    _check_version(facts)
    clustered = facts.get("cluster_enabled") == "1"
    if clustered != (address.form == "cluster"):
        fitting = "redis+cluster://" if clustered else "redis:// or redis+sentinel://"
        raise ConfigurationError(f"the URL does not fit the server: use {fitting} instead of {address}")
    _warn_of_eviction(facts)


def _check_version(facts: dict[str, Any]) -> None:
    # Valkey tells the version of Redis that it is compatible with.
    version = facts.get("redis_version", "0")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < _OLDEST:
        raise ConfigurationError(f"Redis {version} is too old: sessions need Redis 7.0 or later, or Valkey")


def _warn_of_eviction(facts: dict[str, Any]) -> None:
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        logger.warning(
            "Redis may drop sessions when its memory is full (maxmemory-policy %s), which signs people out:"
            " set it to noeviction",
            policy,
        )
