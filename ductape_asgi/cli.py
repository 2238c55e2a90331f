"""`ductape`, the command: keys, sessions and tokens from a shell, and the demo.

Answers go to standard output, as aligned tables or, with ``--json``, for scripts; advice and errors go to
standard error.  Exit codes: 0 done, 1 one of our errors, 2 wrong usage.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import runpy
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from .errors import ConfigurationError, DuctapeError
from .keys import load_access_keys, new_access_key
from .models import SessionInfo, TokenClaims
from .sessions import Sessions
from .stores.memory import MemoryStore

try:
    import click
except ModuleNotFoundError:
    raise SystemExit('the ductape command needs click: pip install "ductape-asgi[cli]"') from None

T = TypeVar("T")

#: How many sessions one question to the store brings.
PAGE = 100

#: Modules of the `demo` extra.  Looked for before it starts, since each fails in a way of its own when it is missing.
DEMO_NEEDS = ("fastapi", "jinja2", "python_multipart", "uvicorn")

as_json = click.option("--json", "as_json", is_flag=True, help="Answer in JSON, for scripts.")
tag_option = click.option("--tag", required=True, help='The session type, e.g. "user-session".')
identifier_option = click.option("--identifier", required=True, help="Whose sessions.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; ends the process."""
    try:
        ductape(arguments)
    except DuctapeError as error:
        click.echo(f"ductape: {error}", err=True)
        sys.exit(1)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ductape-asgi")
def ductape() -> None:
    """Keys, sessions and tokens of ductape-asgi.

    Reads DUCTAPE_ACCESS_KEY (or DUCTAPE_PUBLISHABLE_KEY), DUCTAPE_PRODUCT, DUCTAPE_ENV and DUCTAPE_STORE,
    as your app does with Sessions.from_env().
    """


@ductape.group()
def keys() -> None:
    """Draw, publish and roll access keys."""


@keys.command("new")
def keys_new() -> None:
    """Draw a fresh access key.  Keep it where you keep passwords."""
    click.echo(new_access_key())


@keys.command("publishable")
def keys_publishable() -> None:
    """Print the verification-only key of this realm; a frontend may hold it."""
    click.echo(Sessions.from_env().publishable_key)


@keys.command("rotate")
@click.option("--step", type=click.Choice(["add", "promote", "retire"]), help="add, then promote, then retire.")
def keys_rotate(step: str | None) -> None:
    """Print what DUCTAPE_ACCESS_KEY should be next.

    Three steps, each deployed to every worker before the next one: add (old,new: all workers learn to verify
    with the new key), promote (new,old: it signs), retire (new: the old one is dropped).
    """
    texts = _access_keys_from_env()
    step = step or ("add" if len(texts) == 1 else None)
    if step is None:
        raise click.UsageError("two keys are in use: say --step promote (new,old) or --step retire (new)")
    value, advice = _rotation(step, texts)
    click.echo(value)
    click.echo(advice, err=True)


def _access_keys_from_env() -> list[str]:
    texts = [text.strip() for text in os.environ.get("DUCTAPE_ACCESS_KEY", "").split(",") if text.strip()]
    if not texts:
        raise ConfigurationError("DUCTAPE_ACCESS_KEY is not set; make one with: ductape keys new")
    load_access_keys(texts)
    return texts


def _rotation(step: str, texts: list[str]) -> tuple[str, str]:
    """The next value of DUCTAPE_ACCESS_KEY, and what to do with it."""
    if len(texts) != (1 if step == "add" else 2):
        wanted = "one key: finish the rotation under way first" if step == "add" else "two keys: begin with --step add"
        raise ConfigurationError(f"--step {step} starts from {wanted}; DUCTAPE_ACCESS_KEY has {len(texts)}")
    if step == "add":
        advice = "Deploy this to every worker. When all have it: ductape keys rotate --step promote"
        return f"{texts[0]},{new_access_key()}", advice
    if step == "promote":
        advice = (
            "Deploy this to every worker. When the longest session_ttl has passed (30 days unless you set it):"
            " ductape keys rotate --step retire"
        )
        return f"{texts[1]},{texts[0]}", advice
    return texts[0], "Deploy this to every worker. Sessions that only the old key could open end now."


@ductape.group()
def sessions() -> None:
    """List and end sessions."""


@sessions.command("list")
@tag_option
@identifier_option
@click.option("--limit", type=click.IntRange(min=1), default=PAGE, show_default=True, help="Show at most so many.")
@as_json
def sessions_list(tag: str, identifier: str, limit: int, as_json: bool) -> None:
    """The live sessions of one person, newest first."""
    count, found = _run(lambda sessions: _collect(sessions, tag, identifier, limit))
    if as_json:
        _echo_json({"count": count, "sessions": [_info_json(info) for info in found]})
        return
    if not found:
        click.echo(_nobody(tag, identifier), err=True)
        return
    heads = ("SESSION", "CREATED", "LAST SEEN", "ENDS", "ADDRESS", "CLIENT")
    _echo_table(heads, [_info_row(info) for info in found])
    if count > len(found):
        click.echo(f"{len(found)} of {count} shown; see more with --limit {count}", err=True)


async def _collect(sessions: Sessions, tag: str, identifier: str, limit: int) -> tuple[int, list[SessionInfo]]:
    """The count of all live sessions, and the newest `limit` of them."""
    found: list[SessionInfo] = []
    cursor: str | None = None
    while True:
        size = min(PAGE, limit - len(found))
        page = await sessions.list(tag=tag, identifier=identifier, limit=size, cursor=cursor)
        found.extend(page.sessions)
        cursor = page.next_cursor
        if cursor is None or len(found) >= limit:
            return page.count, found


@sessions.command("revoke")
@tag_option
@click.option("--session-id", required=True, help="As `ductape sessions list` shows it.")
@as_json
def sessions_revoke(tag: str, session_id: str, as_json: bool) -> None:
    """End one session, everywhere.  Exit code 1 if there was none to end."""
    ended = _run(lambda sessions: sessions.revoke(tag=tag, session_id=session_id))
    if as_json:
        _echo_json({"revoked": ended})
    elif ended:
        click.echo("ended 1 session")
    if not ended:
        click.echo(f"no live session in {_realm()} has this id and tag", err=True)
        sys.exit(1)


@sessions.command("revoke-all")
@tag_option
@identifier_option
@click.option("--except", "spared", metavar="SESSION_ID", help="A session that lives on.")
@as_json
def sessions_revoke_all(tag: str, identifier: str, spared: str | None, as_json: bool) -> None:
    """End all sessions of one person, everywhere.  Exit code 1 if there was none to end."""
    ended = _run(lambda sessions: sessions.revoke_all(tag=tag, identifier=identifier, exclude_current_session=spared))
    _answer(as_json, {"revoked": ended}, f"ended {_plural(ended)}")
    if not ended:
        click.echo(_nobody(tag, identifier), err=True)
        sys.exit(1)


@sessions.command("purge")
@as_json
def sessions_purge(as_json: bool) -> None:
    """Remove what is left of sessions that are over.

    An app that runs does so by itself, an hour after their end.  This is for a store whose app is off.
    """
    removed = _run(lambda sessions: sessions.purge())
    _answer(as_json, {"purged": removed}, f"removed {_plural(removed)}")


@ductape.group()
def token() -> None:
    """Look at access tokens."""


@token.command("inspect")
@click.argument("text", metavar="[TOKEN]", default="-")
@as_json
def token_inspect(text: str, as_json: bool) -> None:
    """Show the readable claims of a token whose signature holds, and no data.

    Nothing is looked up: the token may have expired, and its session may have been ended.

    Without TOKEN it is read from standard input, which keeps it out of the shell's history.
    """
    given = sys.stdin.read() if text == "-" else text
    claims = asyncio.run(_inspect(given.strip()))
    if as_json:
        _echo_json(_claims_json(claims))
    else:
        _echo_table((), [(name, str(value)) for name, value in _claims_json(claims).items()])


async def _inspect(text: str) -> TokenClaims:
    return await Sessions.from_env().inspect(token=text)


@ductape.command("demo")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
def demo(port: int) -> None:
    """Serve the example app on this machine."""
    if not all(map(importlib.util.find_spec, DEMO_NEEDS)):
        raise ConfigurationError('the demo needs more: pip install "ductape-asgi[demo]"')
    arguments = sys.argv
    sys.argv = ["ductape demo", "--port", str(port)]
    try:
        runpy.run_path(str(_demo_folder()), run_name="__main__")
    finally:
        sys.argv = arguments


def _demo_folder() -> Path:
    """Where the example is: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parent
    folders = (package / "demo", package.parent / "examples" / "demo")
    found = next((folder for folder in folders if (folder / "__main__.py").exists()), None)
    if found is None:
        raise ConfigurationError("this installation has no demo; it is in the sources under examples/demo")
    return found


def _run(verb: Callable[[Sessions], Awaitable[T]]) -> T:
    """Ask one thing of the sessions that the environment describes."""

    async def ask() -> T:
        sessions = Sessions.from_env()
        _check_store(sessions)
        async with sessions:
            return await verb(sessions)

    return asyncio.run(ask())


def _check_store(sessions: Sessions) -> None:
    """Opening a SQLite store makes its file, which would then answer as if nobody were signed in.

    Raises:
        ConfigurationError: the file is not there, or the store lives in another process's memory.
    """
    if isinstance(sessions.worker.store, MemoryStore):
        raise ConfigurationError("a memory:// store lives inside your app, where no command can reach it")
    path = getattr(sessions.worker.store, "path", None)
    if isinstance(path, str) and not Path(path).exists():
        raise ConfigurationError(f"no session store at {path}; set DUCTAPE_STORE to the one your app uses")


def _nobody(tag: str, identifier: str) -> str:
    found = f'no live sessions of "{_printable(identifier)}" with tag "{tag}" in {_realm()}'
    return f"{found}; are access key, product, env, tag and store those of your app?"


def _realm() -> str:
    return str(Sessions.from_env().realm)


def _answer(as_json: bool, document: dict[str, object], sentence: str) -> None:
    if as_json:
        _echo_json(document)
    else:
        click.echo(sentence)


def _echo_json(document: object) -> None:
    click.echo(json.dumps(document))


def _echo_table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    lines = [tuple(map(_printable, row)) for row in ([heads] if heads else [])] + [
        tuple(map(_printable, row)) for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _printable(text: str) -> str:
    """A client chooses its own user agent: no control character of it reaches the terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _plural(count: int) -> str:
    return f"{count} session" if count == 1 else f"{count} sessions"


def _info_row(info: SessionInfo) -> tuple[str, ...]:
    client = info.client
    instants = (info.created_at, info.last_seen_at, info.expires_at)
    name = client.label or client.user_agent or "-"
    return (info.session_id, *map(_instant, instants), client.ip or "-", name[:60])


def _info_json(info: SessionInfo) -> dict[str, object]:
    client = {"ip": info.client.ip, "userAgent": info.client.user_agent, "label": info.client.label}
    return {
        "sessionId": info.session_id,
        "tag": info.tag,
        "identifier": info.identifier,
        "createdAt": _instant(info.created_at),
        "lastSeenAt": _instant(info.last_seen_at),
        "expiresAt": _instant(info.expires_at),
        "client": client,
    }


def _claims_json(claims: TokenClaims) -> dict[str, object]:
    return {
        "sessionId": claims.session_id,
        "tag": claims.tag,
        "realm": str(claims.realm),
        "subject": claims.subject,
        "issuedAt": _instant(claims.issued_at),
        "notBefore": _instant(claims.not_before),
        "expiresAt": _instant(claims.expires_at),
        "authTime": _instant(claims.auth_time),
        "version": claims.version,
        "kid": claims.kid,
    }


def _instant(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
