"""A PostgreSQL URL: what is ours, what is the driver's, and what is nobody's to see."""

from __future__ import annotations

import pytest

from ductape_asgi.errors import ConfigurationError
from ductape_asgi.stores.postgres import PostgresStore
from ductape_asgi.stores.postgres.address import read_url
from ductape_asgi.stores.urls import store_from


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://db.example/shop",
        "postgres://app:hunter2@db.example:5433/shop",
        "postgresql://app@[::1]:5432/shop",
        "postgresql://one:5432,two:5433/shop?target_session_attrs=read-write",
        "postgresql:///shop?host=/run/postgresql",
        "postgresql://app:hun%2Fter%402@db/shop?sslmode=verify-full",
        "postgresql://",
    ],
)
def test_what_libpq_takes_is_taken_and_handed_on(url: str) -> None:
    assert read_url(url).dsn == url.replace("=/run/", "=%2Frun%2F")
    assert isinstance(store_from(url), PostgresStore)


def test_our_options_are_read_and_not_handed_on() -> None:
    address = read_url(
        "postgresql://db/shop?ductape_listen=off&sslmode=require&ductape_schema=my%20own&ductape_pool_size=3"
        "&ductape_statement_cache_size=7"
    )
    assert address.dsn == "postgresql://db/shop?sslmode=require"
    assert (address.listen, address.schema, address.pool_size, address.statement_cache_size) == (False, "my own", 3, 7)


def test_an_argument_wins_over_the_url() -> None:
    store = PostgresStore("postgresql://db/shop?ductape_listen=off&ductape_pool_size=3", listen=True, pool_size=4)
    assert (store._listens, store._pool_size, store._cached) == (True, 4, 100)
    assert PostgresStore("postgresql://db/shop", listen=False)._cached == 0
    assert PostgresStore("postgresql://db/shop", listen=False, statement_cache_size=50)._cached == 50


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mysql://db/x",
        "postgresql:db",
        "postgresql:/db/x",
        "postgresql://app:hunter2@db:port/x",
        "postgresql://app:hunter2@db:999999/x",
        "postgresql://app:hunter2@db:0/x",
        "postgresql://app:hunter2@db:65536/x",
        "postgresql://app:hunter2@db,other:99999/x",
        "postgresql://app:hun/ter2@db/x",
        "postgresql://app:hun@ter2@db/x",
        "postgresql://app:hun?ter2@db/x",
        "postgresql://app:hun#ter2@db/x",
        "postgresql://app:hunter2@[::1/x",
        "postgresql://app:hunter2@db/x?novalue",
        "postgresql://app:hunter2@/x?host=\udcff",
        "postgresql://app:hunter2@db/x?ductape_lisen=off",
        "postgresql://app:hunter2@db/x?ductape_listen=maybe",
        "postgresql://app:hunter2@db/x?ductape_pool_size=0",
        "postgresql://app:hunter2@db/x?ductape_pool_size=-1",
        "postgresql://app:hunter2@db/x?ductape_pool_size=many",
        "postgresql://app:hunter2@db/x?ductape_schema=",
        "postgresql://app:hunter2@db/x?ductape_schema=" + "x" * 64,
        b"postgresql://app:hunter2@db/x",
        None,
    ],
)
def test_what_is_none_is_refused_when_the_store_is_built_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        PostgresStore(url)
    assert "ter2" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://app:hunter2@db.example:5433/shop", "PostgresStore('db.example:5433/shop')"),
        ("postgresql:///shop?host=/run/postgresql&password=hunter2", "PostgresStore('/run/postgresql/shop')"),
        ("postgresql://app:hunter2@db/?password=hunter2", "PostgresStore('db/...')"),
        ("postgresql://", "PostgresStore('localhost/...')"),
    ],
)
def test_its_text_names_the_place_and_no_secret(url: str, shown: str) -> None:
    assert repr(PostgresStore(url)) == shown
    assert "hunter2" not in repr(read_url(url))
