"""What has to be true of a server before sessions are kept there."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    AuthorizationError,
    NoPermissionError,
    ResponseError,
)
from redis.sentinel import MasterNotFoundError

from ...audit import logger
from ...errors import ConfigurationError, StoreUnavailable
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
    _check_files(opened.address)
    try:
        with explained():
            async with asyncio.timeout(LONGEST_WAIT):
                await opened.topology.look()
                for node in opened.topology.nodes:
                    await _check_node(node, opened)
    except StoreUnavailable as error:
        advice = _advice(error.__cause__, opened.address)
        if advice is not None:
            raise ConfigurationError(advice) from error.__cause__
        if opened.address.tls and _behind(error.__cause__, TimeoutError):
            # It may be busy, too, and answer the next time.
            hint = "a server that speaks no TLS does not answer to it: is redis:// meant instead of rediss://?"
            raise type(error)(f"{error}; {hint}") from error.__cause__
        raise


def _check_files(address: Address) -> None:
    for name, path in address.files:
        if not Path(path).is_file():
            raise ConfigurationError(
                f"{name} in the Redis URL names no file: put the certificate or key there ({path})"
            )


def _advice(cause: BaseException | None, address: Address) -> str | None:
    """What to do about a failure that would come again; None for one that may pass."""
    text = str(cause).lower()
    if _behind(cause, *_REFUSED):
        return (
            f"Redis refuses user and password, or does not let them do what sessions need, at {address}: put them into"
            " the URL (user:password@ before the hosts; those of Sentinel itself as sentinel_username= and"
            " sentinel_password=), and see docs/stores.md for the rights, on what begins with prefix="
        )
    if _behind(cause, MasterNotFoundError):
        return f"Sentinel watches no service of this name: {address}; SENTINEL MASTERS tells the names"
    if "cluster support disabled" in text:
        return f"this is no cluster: use redis:// instead of {address}"
    if "index is out of range" in text:
        return f"Redis has no such database: {address}"
    if _behind(cause, ssl.SSLCertVerificationError):
        return (
            f"Redis shows a certificate that is not believed: check ssl_ca_certs= and the name of the host ({address})"
        )
    return None


def _behind(error: BaseException | None, *kinds: type[BaseException]) -> bool:
    while error is not None:
        if isinstance(error, kinds):
            return True
        error = error.__cause__ or error.__context__
    return False


async def _check_node(node: Node, opened: Opened) -> None:
    address = opened.address
    # Any key of ours: a user who may not look at it is told so here, and not at each request.
    answer, looked = await node.ask(("INFO",), ("EXISTS", opened.keys.heads[0]))
    if isinstance(answer, ResponseError):
        raise answer
    if isinstance(looked, NoPermissionError):
        raise looked
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
