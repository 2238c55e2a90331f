"""A database is prepared, brought up to date, or refused with a word on what to do."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import anyio
import asyncpg
import pytest

from ductape_asgi.errors import ConfigurationError, StoreUnavailable
from ductape_asgi.stores.postgres import PostgresStore, opening, schema, statements
from ductape_asgi.testing.contract.records import NOW, REALM, TAG, all_at_once, must_read, position, start
from tests.servers import PostgresServer, ask_postgres

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def refusal(url: str) -> str:
    """What a store says when it is opened."""
    with pytest.raises(ConfigurationError) as refused:
        await PostgresStore(url).open()
    return str(refused.value)


async def make(url: str) -> None:
    store = PostgresStore(url)
    await store.open()
    await store.close()


@pytest.fixture
async def role(postgres_server: str, postgres_schema: str) -> AsyncIterator[str]:
    """A user who may log in, and nothing else yet."""
    name = f"user_{secrets.token_hex(4)}"
    await ask_postgres(postgres_server, f"CREATE ROLE {name} LOGIN PASSWORD 'hunter2'")
    yield name
    await ask_postgres(postgres_server, f"DROP OWNED BY {name} CASCADE", f"DROP ROLE {name}")


@pytest.fixture
async def database(postgres_server: str) -> AsyncIterator[str]:
    """A name under which a test may make a database."""
    name = f"test_{secrets.token_hex(6)}"
    yield name
    await ask_postgres(postgres_server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def as_user(url: str, role: str) -> str:
    assert "//postgres@" in url
    return url.replace("//postgres@", f"//{role}:hunter2@")


def in_database(url: str, database: str) -> str:
    assert "/postgres" in url.partition("@")[2]
    before, _, after = url.rpartition("/postgres")
    return f"{before}/{database}{after}"


async def version_of(url: str, schema_name: str) -> int:
    ((version,),) = await ask_postgres(url, f"SELECT version FROM {schema_name}.ductape_version")
    return int(version)


# What is made.


def test_building_touches_nothing() -> None:
    PostgresStore("postgresql://nobody:hunter2@no.such.host.invalid:1/none")


async def test_tables_are_made_in_the_schema_that_is_named_and_nowhere_else(
    postgres_server: str, postgres_url: str, postgres_schema: str
) -> None:
    await make(postgres_url)
    made = await ask_postgres(
        postgres_server, f"SELECT relname FROM pg_class WHERE relnamespace = '{postgres_schema}'::regnamespace"
    )
    tables = {"ductape_sessions", "ductape_log", "ductape_log_head", "ductape_secrets", "ductape_version"}
    names = {str(row["relname"]) for row in made}
    assert tables < names
    assert {name for name in names if not name.startswith("ductape_")} == set()


async def test_without_a_schema_the_search_path_decides_and_goes_on_to_find_it(
    postgres_server: str, database: str
) -> None:
    await ask_postgres(postgres_server, f"CREATE DATABASE {database}")
    url = in_database(postgres_server, database)
    store = PostgresStore(url)
    await store.open()
    record = await start(store)
    assert await version_of(url, "public") == len(schema.MIGRATIONS)
    # "$user" comes before public in the search path, from now on.
    await ask_postgres(url, "CREATE SCHEMA postgres")
    other = PostgresStore(url)
    await other.open()
    assert await must_read(other, record.session_id) == record
    await store.close()
    await other.close()


async def test_a_schema_may_have_any_name(postgres_server: str, database: str) -> None:
    await ask_postgres(postgres_server, f"CREATE DATABASE {database}")
    url = in_database(postgres_server, database)
    for name in ('we"ird; DROP', "Möbel", "select", "x" * 63):
        await ask_postgres(url, f"CREATE SCHEMA {statements.quoted(name)}")
        store = PostgresStore(url, schema=name)
        await store.open()
        record = await start(store)
        assert await store.revoke(REALM, TAG, record.session_id, now=NOW) is True
        await store.close()


async def test_two_fresh_stores_are_never_taken_for_each_other(
    postgres_server: str, postgres_url: str, postgres_schema: str
) -> None:
    positions = []
    for _ in range(2):
        store = PostgresStore(postgres_url)
        await store.open()
        positions.append(await position(store))
        await store.close()
        await ask_postgres(
            postgres_server, f"DROP SCHEMA {postgres_schema} CASCADE", f"CREATE SCHEMA {postgres_schema}"
        )
    first, second = positions
    assert first.epoch != second.epoch
    assert first.sequence != second.sequence


async def test_a_socket_directory_is_a_host(postgres_own_server: PostgresServer) -> None:
    store = PostgresStore(postgres_own_server.socket_url)
    await store.open()
    record = await start(store)
    assert await must_read(store, record.session_id) == record
    await store.close()


# Many at once, and later versions.


async def test_eight_workers_that_open_at_once_make_one_store(postgres_url: str) -> None:
    stores = [PostgresStore(postgres_url) for _ in range(8)]
    assert await all_at_once([store.open for store in stores]) == [None] * 8
    records = [await start(store) for store in stores]
    for store in stores:
        assert [await must_read(store, record.session_id) for record in records] == records
        await store.close()


async def test_opening_from_many_tasks_opens_one(postgres_url: str) -> None:
    store = PostgresStore(postgres_url)
    assert await all_at_once([store.open] * 5) == [None] * 5
    record = await start(store)
    assert await must_read(store, record.session_id) == record
    await store.close()


async def test_a_migration_keeps_what_is_there(
    postgres_url: str, postgres_server: str, postgres_schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PostgresStore(postgres_url)
    await store.open()
    record = await start(store)
    before = await position(store)
    later = (*schema.MIGRATIONS, ("CREATE TABLE {place}.later (x int)", "INSERT INTO {place}.later VALUES (1)"))
    monkeypatch.setattr(opening, "MIGRATIONS", later)
    others = [PostgresStore(postgres_url) for _ in range(4)]
    assert await all_at_once([other.open for other in others]) == [None] * 4
    assert await must_read(others[0], record.session_id) == record
    assert await must_read(store, record.session_id) == record  # who was open stays open
    assert (await others[1].log_since(before)).complete
    assert await version_of(postgres_server, postgres_schema) == 2
    assert len(await ask_postgres(postgres_server, f"SELECT x FROM {postgres_schema}.later")) == 1
    for one in (store, *others):
        await one.close()


async def test_a_migration_that_fails_leaves_the_old_version_whole(
    postgres_url: str, postgres_server: str, postgres_schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make(postgres_url)
    with monkeypatch.context() as patch:
        broken = ("CREATE TABLE {place}.later (x int)", "SELECT 1/0")
        patch.setattr(opening, "MIGRATIONS", (*schema.MIGRATIONS, broken))
        with pytest.raises(StoreUnavailable):
            await PostgresStore(postgres_url).open()
    assert await version_of(postgres_server, postgres_schema) == 1
    ((later,),) = await ask_postgres(postgres_server, f"SELECT to_regclass('{postgres_schema}.later')")
    assert later is None
    await make(postgres_url)


# What is refused.


async def test_a_store_of_a_newer_version_is_refused(
    postgres_url: str, postgres_server: str, postgres_schema: str
) -> None:
    await make(postgres_url)
    await ask_postgres(postgres_server, f"UPDATE {postgres_schema}.ductape_version SET version = 99")
    assert "upgrade this one" in await refusal(postgres_url)
    assert await version_of(postgres_server, postgres_schema) == 99


async def test_a_server_that_is_too_old_is_refused(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "OLDEST", 990000)
    assert "needs PostgreSQL 99 or newer" in await refusal(postgres_url)


async def test_a_database_of_another_encoding_is_refused(postgres_server: str, database: str) -> None:
    await ask_postgres(
        postgres_server,
        f"CREATE DATABASE {database} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0",
    )
    assert "ENCODING 'UTF8'" in await refusal(in_database(postgres_server, database))


async def test_a_database_that_is_not_there_is_refused(postgres_server: str) -> None:
    assert "no such database" in await refusal(in_database(postgres_server, "nowhere"))


async def test_a_user_whom_the_server_does_not_know_is_refused(postgres_server: str) -> None:
    text = await refusal(as_user(postgres_server, "nobody"))
    assert "does not know this user" in text
    assert "hunter2" not in text


@pytest.mark.parametrize("option", ["connect_timeout=5", "channel_binding=require", "listen=off", "sslmod=require"])
async def test_an_option_that_the_driver_makes_a_setting_of_is_refused(postgres_server: str, option: str) -> None:
    assert "connect_timeout" in await refusal(f"{postgres_server}?{option}")


async def test_a_setting_that_has_no_such_value_is_refused(postgres_server: str) -> None:
    assert "take as a setting" in await refusal(f"{postgres_server}?statement_timeout=soon")


async def test_a_port_that_is_none_is_refused_wherever_it_stands(postgres_server: str) -> None:
    database = postgres_server.rpartition("/")[2]
    assert "asyncpg does not take" in await refusal(f"postgresql:///{database}?host=127.0.0.1&port=99999")


async def test_tls_that_the_server_does_not_speak_is_refused(postgres_server: str) -> None:
    if await ask_postgres(postgres_server, "SELECT WHERE current_setting('ssl')::bool"):
        pytest.skip("this server speaks TLS")
    assert "speaks no TLS" in await refusal(f"{postgres_server}?sslmode=require")


async def test_certificates_that_are_not_there_are_refused(
    postgres_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / "none.crt"
    assert str(missing) in await refusal(f"{postgres_server}?sslmode=verify-full&sslrootcert={missing}")
    monkeypatch.setenv("HOME", str(tmp_path))  # where libpq looks for some by itself
    assert "sslrootcert=" in await refusal(f"{postgres_server}?sslmode=verify-full")


async def test_a_schema_that_is_not_there_is_refused(postgres_server: str) -> None:
    assert "CREATE SCHEMA" in await refusal(f"{postgres_server}?ductape_schema=nowhere")


async def test_a_user_who_may_not_make_tables_is_refused_and_one_who_may_is_not(
    postgres_server: str, postgres_url: str, postgres_schema: str, role: str
) -> None:
    url = as_user(postgres_url, role)
    assert "GRANT" in await refusal(url)
    await ask_postgres(postgres_server, f"GRANT USAGE, CREATE ON SCHEMA {postgres_schema} TO {role}")
    store = PostgresStore(url)
    await store.open()
    record = await start(store, generation=5)
    assert await store.revoke(REALM, TAG, record.session_id, now=NOW) is True
    assert (await store.log_since(await position(store))).complete
    await store.close()


async def test_a_user_who_may_make_nothing_uses_what_the_owner_has_made(
    postgres_server: str, postgres_url: str, postgres_schema: str, role: str
) -> None:
    await make(postgres_url)
    await ask_postgres(
        postgres_server,
        f"GRANT USAGE ON SCHEMA {postgres_schema} TO {role}",
        f"GRANT ALL ON ALL TABLES IN SCHEMA {postgres_schema} TO {role}",
    )
    store = PostgresStore(as_user(postgres_url, role))
    await store.open()
    record = await start(store)
    assert await store.revoke(REALM, TAG, record.session_id, now=NOW) is True
    await store.claim_secret(REALM, {"a": b"1"})
    await store.purge(before=NOW, limit=10)
    await store.close()


async def test_tables_of_another_application_are_refused_and_left_alone(
    postgres_url: str, postgres_server: str, postgres_schema: str
) -> None:
    await ask_postgres(postgres_server, f"CREATE TABLE {postgres_schema}.ductape_sessions (name text)")
    assert "a schema of their own" in await refusal(postgres_url)
    assert await ask_postgres(postgres_server, f"SELECT name FROM {postgres_schema}.ductape_sessions") == []


async def test_a_server_that_takes_no_writes_is_unavailable(postgres_url: str) -> None:
    with pytest.raises(StoreUnavailable, match="no writes"):
        await PostgresStore(f"{postgres_url}&default_transaction_read_only=on").open()


async def test_a_store_opens_once_what_was_wrong_is_mended(
    postgres_server: str, postgres_schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PostgresStore(postgres_server, schema=f"{postgres_schema}_2")
    with pytest.raises(ConfigurationError):
        await store.open()
    await ask_postgres(postgres_server, f"CREATE SCHEMA {postgres_schema}_2")
    await store.open()
    record = await start(store)
    assert await must_read(store, record.session_id) == record
    await store.close()
    await ask_postgres(postgres_server, f"DROP SCHEMA {postgres_schema}_2 CASCADE")


async def test_what_was_refused_leaves_no_connection(postgres_server: str) -> None:
    await refusal(f"{postgres_server}?ductape_schema=nowhere&application_name=refused")
    with anyio.fail_after(30):
        while await ask_postgres(postgres_server, "SELECT FROM pg_stat_activity WHERE application_name = 'refused'"):
            await anyio.sleep(0.01)


def test_without_the_driver_it_says_which_extra_to_install() -> None:
    code = (
        "import sys; sys.modules['asyncpg'] = None\n"
        "from ductape_asgi.errors import ConfigurationError\n"
        "from ductape_asgi.stores.urls import store_from\n"
        "try: store_from('postgresql://app:hunter2@db/x')\n"
        "except ConfigurationError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "ductape-asgi[postgres]"' in done.stdout
    assert "hunter2" not in done.stdout


# A server that follows another, and its promotion.


async def test_the_log_of_a_follower_is_no_proof_and_a_promoted_one_is_another_log(
    postgres_own_server: PostgresServer,
) -> None:
    store = PostgresStore(postgres_own_server.url())
    await store.open()
    record = await start(store)
    before = await position(store)

    follower = postgres_own_server.follower()
    follower.start()
    following = PostgresStore(follower.url())
    await following.open()
    assert await must_read(following, record.session_id) == record
    with pytest.raises(StoreUnavailable):
        await following.log_since(before)
    with pytest.raises(StoreUnavailable):
        await following.revoke(REALM, TAG, record.session_id, now=NOW)

    await store.close()
    postgres_own_server.kill()
    await ask_postgres(follower.url(), "SELECT pg_promote(true, 60)")
    page = await following.log_since(before)
    assert (page.complete, page.position.sequence) == (False, before.sequence)
    assert await following.revoke(REALM, TAG, record.session_id, now=NOW) is True
    assert (await following.log_since(page.position)).complete
    await following.close()
    follower.stop()


async def test_the_tail_of_the_log_is_trimmed_and_who_is_behind_it_is_told(
    postgres_url: str, postgres_server: str, postgres_schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "LOG_KEPT", 20)
    store = PostgresStore(postgres_url)
    await store.open()
    before = await position(store)
    for _ in range(30):
        await store.revoke(REALM, TAG, (await start(store)).session_id, now=NOW)
    recent = await position(store)
    await store.purge(before=NOW, limit=1)
    ((kept,),) = await ask_postgres(postgres_server, f"SELECT count(*) FROM {postgres_schema}.ductape_log")
    assert kept == 20
    assert not (await store.log_since(before)).complete
    for behind, complete in ((20, True), (21, False)):
        page = await store.log_since(type(recent)(recent.epoch, recent.sequence - behind))
        assert (page.complete, len(page.entries)) == (complete, 20 if complete else 0)

    aged = f"UPDATE {postgres_schema}.ductape_log SET appended_at = now() - interval '2 hours'"
    await ask_postgres(postgres_server, f"{aged} WHERE sequence <= {recent.sequence - 5}")
    await store.purge(before=NOW, limit=1)
    ((kept,),) = await ask_postgres(postgres_server, f"SELECT count(*) FROM {postgres_schema}.ductape_log")
    assert kept == 5
    assert not (await store.log_since(type(recent)(recent.epoch, recent.sequence - 6))).complete
    assert (await store.log_since(type(recent)(recent.epoch, recent.sequence - 5))).complete
    await store.close()


async def test_noting_a_use_changes_no_index(postgres_url: str, postgres_server: str, postgres_schema: str) -> None:
    store = PostgresStore(postgres_url)
    await store.open()
    record = await start(store, idle_ttl=600)
    connection = await asyncpg.connect(postgres_server)
    table = f"'{postgres_schema}.ductape_sessions'::regclass"
    steps = [
        partial(store.touch, {record.session_id: NOW + 1}),
        partial(store.rotate, record.session_id, generation=0, grace=0, refresh_key="k", client=None, now=NOW + 2),
        partial(store.verify, record.session_id, generation=1),
        partial(store.reseal, record),
    ]
    for step in steps:
        await step()
    await store.close()  # a server process counts what it has done when it ends
    statistics = f"SELECT pg_stat_get_tuples_updated({table}), pg_stat_get_tuples_hot_updated({table})"
    updated = hot = None
    with anyio.fail_after(30):
        while updated != len(steps):
            updated, hot = await connection.fetchrow(statistics)
            await anyio.sleep(0.01)
    assert (updated, hot) == (len(steps), len(steps))
    await connection.close()
