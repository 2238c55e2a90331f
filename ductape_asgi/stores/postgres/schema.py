"""The tables of the PostgreSQL store: numbered migrations, and how a record becomes a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from operator import attrgetter
from typing import Any

from ...models import SessionRecord

#: ``MIGRATIONS[n]`` leads from version n to n + 1; ``{place}`` is the quoted schema.  A released one never changes.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # A person's sessions are listed, and evicted, by `number`: start order, also within one clock tick.
        # `last_seen_at` is in no index, so that noting a use changes none.
        """CREATE TABLE {place}.ductape_sessions (
            number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            session_id text COLLATE "C" NOT NULL UNIQUE,
            realm text COLLATE "C" NOT NULL,
            tag text COLLATE "C" NOT NULL,
            subject text COLLATE "C" NOT NULL,
            identity bytea NOT NULL,
            client bytea NOT NULL,
            data bytea NOT NULL,
            refresh_key text COLLATE "C" NOT NULL,
            created_at double precision NOT NULL,
            last_seen_at double precision NOT NULL,
            auth_time bigint NOT NULL,
            ends_at bigint NOT NULL,
            expires_in bigint NOT NULL,
            idle_ttl bigint,
            version bigint NOT NULL,
            generation bigint NOT NULL,
            seen_generation bigint NOT NULL,
            rotated_at double precision NOT NULL,
            purge_at double precision NOT NULL
        ) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.05)""",
        # Sealed bytes cannot be compressed; trying costs more than all else.
        """ALTER TABLE {place}.ductape_sessions
            ALTER identity SET STORAGE EXTERNAL, ALTER client SET STORAGE EXTERNAL, ALTER data SET STORAGE EXTERNAL""",
        "CREATE INDEX ductape_sessions_of_a_person ON {place}.ductape_sessions (realm, tag, subject, number)",
        "CREATE INDEX ductape_sessions_by_purge ON {place}.ductape_sessions (purge_at)",
        """CREATE TABLE {place}.ductape_log (
            sequence bigint PRIMARY KEY,
            realm text COLLATE "C" NOT NULL,
            tag text COLLATE "C" NOT NULL,
            session_id text COLLATE "C",
            subject text COLLATE "C",
            spared text COLLATE "C",
            ended boolean NOT NULL,
            appended_at timestamptz NOT NULL DEFAULT clock_timestamp()
        )""",
        # One row: where the log stands.  Drawn by chance, so that another database is never taken for this one.
        """CREATE TABLE {place}.ductape_log_head (
            one boolean PRIMARY KEY DEFAULT true CHECK (one),
            epoch text COLLATE "C" NOT NULL,
            sequence bigint NOT NULL
        ) WITH (fillfactor = 20)""",
        """INSERT INTO {place}.ductape_log_head (epoch, sequence)
            VALUES (replace(gen_random_uuid()::text, '-', ''), 1 + (random() * 70368744177664)::bigint)""",
        """CREATE TABLE {place}.ductape_secrets (
            realm text COLLATE "C" NOT NULL,
            name text COLLATE "C" NOT NULL,
            secret bytea NOT NULL,
            PRIMARY KEY (realm, name)
        )""",
        "CREATE TABLE {place}.ductape_version (one boolean PRIMARY KEY DEFAULT true CHECK (one), version int NOT NULL)",
        "INSERT INTO {place}.ductape_version (version) VALUES (0)",
    ),
)

#: A record's values, in the order of its fields.
to_row: Callable[[SessionRecord], tuple[Any, ...]] = attrgetter(*(field.name for field in fields(SessionRecord)))
