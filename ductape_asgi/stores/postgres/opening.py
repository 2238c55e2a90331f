# ruff: noqa: S608 - what is put together here are constants and a quoted schema
"""Opening a database: refuse what cannot work and say what to do, then bring its tables up to date."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import asyncpg

from ...errors import ConfigurationError, StoreUnavailable
from .driver import Connection
from .schema import MIGRATIONS
from .statements import lock_of, quoted

#: How long opening may take where tables are made or changed, in seconds, and how long it waits for others that
#: do so; else it is done within one step's patience.
MIGRATION_PATIENCE = 60.0
_BEGIN = (
    "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = '60s'; SET LOCAL lock_timeout = '10s';"
    " SET LOCAL idle_in_transaction_session_timeout = '10s'; "
)
#: The oldest server that is known to work, as ``server_version_num`` has it.
OLDEST = 140000

# Tables that are there already are used wherever the search path finds them: a schema that was put before them
# since must not make an empty store.
_LOOK = """SELECT current_setting('server_version_num')::int AS server,
    current_setting('server_encoding') AS encoding,
    pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS read_only,
    current_database()::text AS database,
    coalesce(
        (SELECT n.nspname FROM pg_namespace n WHERE n.nspname = $1),
        CASE WHEN $1::text IS NULL THEN coalesce(
            (SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE c.oid = to_regclass('ductape_version')),
            current_schema()) END
    )::text AS schema"""


_MADE = """SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = 'ductape_version' AND n.nspname = $1"""


async def look(connection: Connection, schema: str | None) -> tuple[str, bool]:
    """The schema the tables are in or belong in, and whether all is ready there.

    Raises:
        ConfigurationError: the server, the database or the schema cannot be used; says what to do.
        StoreUnavailable: the server takes no writes now.
    """
    (found,) = await connection.fetch(_LOOK, schema)
    if found["server"] < OLDEST:
        raise ConfigurationError(
            f"the session store needs PostgreSQL {OLDEST // 10000} or newer, this server is"
            f" {found['server'] // 10000}: upgrade it, or change store="
        )
    if found["encoding"] != "UTF8":
        raise ConfigurationError(
            f"the database {found['database']!r} is encoded in {found['encoding']}: give sessions one in UTF8"
            " (CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0)"
        )
    if found["schema"] is None:
        raise ConfigurationError(_no_schema(schema, found["database"]))
    ready = await _version(connection, found["schema"]) == len(MIGRATIONS)
    if found["read_only"] and not ready:
        raise StoreUnavailable("the PostgreSQL server takes no writes: it follows another, or was set read-only")
    return str(found["schema"]), ready


def _no_schema(schema: str | None, database: str) -> str:
    if schema is None:
        return f"no schema of the search_path is in the database {database!r}: name one with ductape_schema="
    return f"there is no schema {schema!r} in the database {database!r}: CREATE SCHEMA {quoted(schema)}, or change it"


def check_files(files: Mapping[str, str]) -> None:
    """See to it that what the URL names for TLS is there: its absence would look like that of the server.

    Raises:
        ConfigurationError: it is not.
    """
    for name, path in files.items():
        if not Path(path).is_file():
            raise ConfigurationError(
                f"{name} in the PostgreSQL URL names no file: put the certificate or key there ({path})"
            )


async def migrate(connection: Connection, schema: str) -> None:
    """Step by step inside one transaction, so that of many processes one migrates and none sees half of it."""
    await connection.execute(f"{_BEGIN}SELECT pg_advisory_xact_lock({lock_of(schema, 'migrations')})")
    try:
        for migration in MIGRATIONS[await _version(connection, schema) :]:
            for statement in migration:
                await connection.execute(statement.replace("{place}", quoted(schema)))
        await connection.execute(f"UPDATE {quoted(schema)}.ductape_version SET version = {len(MIGRATIONS)}")
    except (asyncpg.PostgresError, ConfigurationError):
        await connection.execute("ROLLBACK")
        raise
    await connection.execute("COMMIT")


async def _version(connection: Connection, schema: str) -> int:
    """How many migrations the tables have seen; 0 where there are none."""
    # Not `to_regclass`: inside a transaction it may remember that there was none, after another has made one.
    if await connection.fetchval(_MADE, schema) == 0:
        return 0
    version: int = await connection.fetchval(f"SELECT version FROM {quoted(schema)}.ductape_version")
    if version > len(MIGRATIONS):
        raise ConfigurationError(
            f"the session store in schema {schema!r} was written by a newer version of ductape-asgi: upgrade this"
            " one, or change store="
        )
    return version


def refusal(error: BaseException) -> ConfigurationError | None:
    """What to tell the user, where trying again cannot help."""
    for kinds, advice in _REFUSALS:
        if isinstance(error, kinds):
            return _unusable(error, advice)
    if "rejected SSL upgrade" in str(error):  # for which asyncpg has no class
        return _unusable(error, "the server speaks no TLS; switch it on there (ssl = on), or change sslmode=")
    return None


def _unusable(error: BaseException, advice: str) -> ConfigurationError:
    return ConfigurationError(f"the PostgreSQL session store cannot be used ({type(error).__name__}): {advice}")


_REFUSALS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    (
        (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError),
        "the server does not know this user or password, or pg_hba.conf does not let them in; see the URL",
    ),
    ((asyncpg.InvalidCatalogNameError,), "there is no such database; make it, or change the URL"),
    (
        (asyncpg.InsufficientPrivilegeError,),
        (
            "this user may not make or use the tables; GRANT it USAGE and CREATE on the schema, or let the tables'"
            " owner open the store once and GRANT it ALL ON the ductape_ tables"
        ),
    ),
    (
        (asyncpg.DuplicateTableError, asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError),
        (
            "the schema holds tables of these names that are not ours or not whole; give sessions a schema of their"
            " own (ductape_schema=)"
        ),
    ),
    (
        (asyncpg.ProtocolViolationError,),
        (
            "behind a pooler in transaction mode, add ductape_listen=off to the URL; where it is there already, the"
            " pooler does not know the database or the user, or lets no such setting through: see its log"
        ),
    ),
    (
        (asyncpg.UndefinedObjectError, asyncpg.InvalidParameterValueError, asyncpg.CantChangeRuntimeParamError),
        (
            "the URL holds an option that the server does not take as a setting, which is what asyncpg makes of all"
            " that it does not know, such as connect_timeout, keepalives and channel_binding: leave it out, and begin"
            " options of this store with ductape_"
        ),
    ),
    (
        (asyncpg.ClientConfigurationError, ValueError, TypeError, OverflowError),
        (
            "the URL, the PG... variables or the service file say something that asyncpg does not take; with"
            " sslmode=verify-ca or verify-full, does sslrootcert= name a file of certificates?"
        ),
    ),
)
