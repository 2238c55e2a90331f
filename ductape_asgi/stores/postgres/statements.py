# ruff: noqa: S608 - what is put together here are constants and a quoted schema; every value is bound
"""Every statement the PostgreSQL store sends in its daily work, as text, for one schema.

Each is one atomic step under READ COMMITTED.  Three rules keep it so:

- Rows of sessions are locked in the order of their ids, then the one row of the log's head, then nothing: no
  two steps can wait for each other in a circle.
- The head is locked until the commit, so that the order of the log is the order of the commits, without gaps.
- Rows found by one part of a statement are reached from another by ``number = ANY (ARRAY (...))``, which the
  planner answers with an index whatever it believes about their count.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields

from ...figures import DAY
from ...models import TOUCH_EVERY, SessionRecord

COLUMNS = ", ".join(field.name for field in fields(SessionRecord))
_NAMES = [field.name for field in fields(SessionRecord)]

#: How many entries of the log are kept, and for how long.  Who is further behind forgets all it has cached.
LOG_KEPT = 10_000
LOG_KEPT_FOR = "1 hour"
_TRIM_STEP = 50_000

#: Begins a transaction of several statements.  A worker that vanishes in the middle of one must not keep its locks.
BEGIN_LOCKED = (
    "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = '2s';"
    " SET LOCAL statement_timeout = '2s'; "
)

_IDLE_END = f"last_seen_at + idle_ttl + {TOUCH_EVERY}"
#: When a session has been over for good, unless it is used meanwhile.  `least` passes over NULL.
_DEADLINE = f"least(ends_at, {_IDLE_END})"


def _live(now: str) -> str:
    now = f"{now}::double precision"
    return f"(ends_at > {now} AND (idle_ttl IS NULL OR {_IDLE_END} > {now}))"


def _person(realm: str, tag: str, subject: str) -> str:
    return f"realm = {realm} AND tag = {tag} AND subject = {subject}"


def quoted(name: str) -> str:
    """A name as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'


def channel_of(schema: str) -> str:
    """Where the log of `schema` is announced.  Channels belong to one database already."""
    return "ductape_" + hashlib.sha256(schema.encode()).hexdigest()[:16]


def lock_of(schema: str, *what: str) -> int:
    """The advisory lock for something in `schema`, as PostgreSQL wants it: 64 bits with a sign."""
    digest = hashlib.sha256("\0".join(["ductape", schema, *what]).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


@dataclass(frozen=True, slots=True)
class Statements:
    """The texts.  Each says which values it takes, in order."""

    schema: str
    #: session_id
    find: str
    #: session_id, generation
    mark_seen: str
    #: the columns of a record, the secret behind its subject; nothing is inserted where that is not kept
    insert: str
    #: the columns of a record, limit or NULL, evict, replaces or NULL, now
    insert_limited: str
    #: session_id, generation, refresh_key, client or NULL, now
    rotate: str
    #: session_id, generation
    end_reused: str
    #: session_id, version, identity, client, data
    reseal: str
    #: session_id, realm, tag, now
    revoke: str
    #: realm, tag, subject, now, spare or NULL
    revoke_all: str
    #: session_id, realm, tag, now, data
    update_one: str
    #: realm, tag, subject, now, data
    update_person: str
    #: realm, tag, subject, now, number before which the page begins, how many rows
    list_page: str
    #: realm, tag, subject after which the part begins, now, since, how many sessions
    census: str
    #: realm, tag, subject after which the page begins, now, how many rows
    people: str
    #: session ids in order, last uses
    touch: str
    #: before, how many rows
    purge: str
    #: none
    trim: str
    #: epoch or NULL, sequence or NULL; no row where there is no log
    log_since: str
    #: none
    begin_log: str
    #: realm, names
    secrets: str
    #: realm, name, secret
    proven: str
    #: realm, names, secrets
    keep_secrets: str


def statements_for(schema: str) -> Statements:
    """The statements for the tables in `schema`."""
    place = quoted(schema) + ".ductape_"
    realm, name = (f"${_NAMES.index(column) + 1}" for column in ("realm", "refresh_key"))
    kept = f"kept.realm = {realm} AND kept.name = {name} AND kept.secret = ${len(_NAMES) + 1}"
    sessions, log, head, secrets = (place + name for name in ("sessions", "log", "log_head", "secrets"))
    append = _append(log, head, channel_of(schema))
    return Statements(
        schema=schema,
        find=f"SELECT {COLUMNS} FROM {sessions} WHERE session_id = $1",
        mark_seen=(
            f"UPDATE {sessions} SET seen_generation = $2"
            f" WHERE session_id = $1 AND generation = $2 AND seen_generation < $2 RETURNING {COLUMNS}"
        ),
        insert=(
            f"INSERT INTO {sessions} ({COLUMNS}, purge_at) SELECT {_given()}, {_given_deadline()}"
            f" FROM {secrets} AS kept WHERE {kept}"
        ),
        insert_limited=_insert_limited(sessions, append),
        rotate=(
            f"UPDATE {sessions} SET generation = $2::bigint + 1, refresh_key = $3, client = coalesce($4, client),"
            # A clock behind the one that wrote last must not bring the end nearer, so that `purge_at` stays true.
            " rotated_at = $5::double precision, last_seen_at = greatest(last_seen_at, $5::double precision)"
            f" WHERE session_id = $1 AND generation <= $2::bigint AND {_live('$5')} RETURNING {COLUMNS}"
        ),
        end_reused=(
            f"WITH ended AS (DELETE FROM {sessions} WHERE session_id = $1 AND generation > $2 RETURNING {COLUMNS}),"
            f" entries AS ({_ENDED_EACH}), {append}"
            f" SELECT {COLUMNS}, ({_RUNG}) AS rung FROM ended"
        ),
        reseal=(f"UPDATE {sessions} SET identity = $3, client = $4, data = $5 WHERE session_id = $1 AND version = $2"),
        revoke=(
            f"WITH ended AS (DELETE FROM {sessions} WHERE session_id = $1 AND realm = $2 AND tag = $3"
            f" RETURNING realm, tag, session_id, {_live('$4')} AS live),"
            f" entries AS ({_ENDED_EACH}), {append}"
            f" SELECT live, ({_RUNG}) AS rung FROM ended"
        ),
        revoke_all=_revoke_all(sessions, append),
        update_one=(
            f"WITH changed AS (UPDATE {sessions} SET data = $5, version = version + 1"
            f" WHERE session_id = $1 AND realm = $2 AND tag = $3 AND {_live('$4')} RETURNING session_id),"
            " entries AS (SELECT 1 AS place, $2::text AS realm, $3::text AS tag, session_id, NULL::text AS subject,"
            f" NULL::text AS spared, false AS ended FROM changed), {append}"
            f" SELECT count(*) AS changed, ({_RUNG}) AS rung FROM changed"
        ),
        update_person=_update_person(sessions, append),
        list_page=(
            f"SELECT counted.live, page.* FROM (SELECT count(*) AS live FROM {sessions}"
            f" WHERE {_person('$1', '$2', '$3')} AND {_live('$4')}) AS counted"
            f" LEFT JOIN (SELECT number, {COLUMNS} FROM {sessions}"
            f" WHERE {_person('$1', '$2', '$3')} AND {_live('$4')} AND number < $5"
            " ORDER BY number DESC LIMIT $6) AS page ON true ORDER BY page.number DESC"
        ),
        census=_census(sessions),
        people=_people(sessions),
        touch=(
            "WITH seen AS MATERIALIZED (SELECT found.number, used.at"
            " FROM unnest($1::text[], $2::double precision[]) AS used (session_id, at)"
            # Locked one by one, in the order they were given.
            f" CROSS JOIN LATERAL (SELECT number FROM {sessions} AS kept"
            " WHERE kept.session_id = used.session_id AND kept.last_seen_at < used.at FOR UPDATE) AS found)"
            f" UPDATE {sessions} AS kept SET last_seen_at = seen.at FROM seen"
            " WHERE kept.number = seen.number AND kept.last_seen_at < seen.at"
        ),
        purge=_purge(sessions),
        trim=(
            f"DELETE FROM {log} WHERE sequence < (SELECT min(sequence) FROM {log}) + {_TRIM_STEP}"
            f" AND (sequence <= (SELECT sequence FROM {head}) - {LOG_KEPT}"
            f" OR appended_at < clock_timestamp() - interval '{LOG_KEPT_FOR}')"
        ),
        log_since=_log_since(log, head),
        begin_log=f"INSERT INTO {head} (epoch, sequence) SELECT {_NEW_LOG} ON CONFLICT DO NOTHING",
        secrets=f"SELECT name, secret FROM {secrets} WHERE realm = $1 AND name = ANY ($2::text[])",
        proven=f"SELECT true FROM {secrets} WHERE realm = $1 AND name = $2 AND secret = $3",
        keep_secrets=(
            f"INSERT INTO {secrets} (realm, name, secret)"
            " SELECT $1::text, offer.name, offer.secret FROM unnest($2::text[], $3::bytea[]) AS offer (name, secret)"
        ),
    )


def _given() -> str:
    return ", ".join(f"${place}" for place in range(1, len(_NAMES) + 1))


def _given_deadline() -> str:
    """As `_DEADLINE`, of a record that is not in the table yet."""
    ends_at, last_seen_at, idle_ttl = (
        f"${_NAMES.index(name) + 1}::{kind}"
        for name, kind in (("ends_at", "bigint"), ("last_seen_at", "double precision"), ("idle_ttl", "bigint"))
    )
    return f"least({ends_at}, {last_seen_at} + {idle_ttl} + {TOUCH_EVERY})"


#: Each row of `ended` as an entry of the log.
_ENDED_EACH = (
    "SELECT row_number() OVER () AS place, realm, tag, session_id, NULL::text AS subject, NULL::text AS spared,"
    " true AS ended FROM ended"
)
#: Epoch and sequence of a log that is no other's continuation, as the first migration draws them.
_NEW_LOG = "replace(gen_random_uuid()::text, '-', ''), 1 + (random() * 70368744177664)::bigint"
#: To be asked for in the last part of a statement, so that who listens is told.
_RUNG = "SELECT count(*) FROM rung"


def _append(log: str, head: str, channel: str) -> str:
    """Parts of a statement that log the rows of `entries`, if there are any."""
    return (
        # Where somebody has emptied the tables, what is logged begins a log: nothing may be ended and not be in one.
        f"head AS (INSERT INTO {head} AS kept (epoch, sequence) SELECT {_NEW_LOG} + added.count"
        " FROM (SELECT count(*) FROM entries) AS added WHERE added.count > 0"
        " ON CONFLICT (one) DO UPDATE SET sequence = kept.sequence + (SELECT count(*) FROM entries)"
        " RETURNING sequence),"
        f" logged AS (INSERT INTO {log} (sequence, realm, tag, session_id, subject, spared, ended)"
        " SELECT head.sequence - (SELECT count(*) FROM entries) + entries.place, entries.realm, entries.tag,"
        " entries.session_id, entries.subject, entries.spared, entries.ended FROM head CROSS JOIN entries),"
        f" rung AS MATERIALIZED (SELECT pg_notify('{channel}', '') FROM head)"
    )


def _insert_limited(sessions: str, append: str) -> str:
    """Only under the person's advisory lock, taken by a statement before it: what this one sees is then the latest."""
    realm, tag, subject, own_id = (f"${_NAMES.index(name) + 1}" for name in ("realm", "tag", "subject", "session_id"))
    limit, evict, replaces, now = (f"${len(_NAMES) + place}" for place in range(1, 5))
    replaced = f"SELECT number FROM {sessions} WHERE session_id = {replaces}::text AND realm = {realm}"
    return (
        f"WITH others AS MATERIALIZED (SELECT number FROM {sessions}"
        f" WHERE {_person(realm, tag, subject)} AND {_live(now)} AND session_id IS DISTINCT FROM {replaces}::text),"
        # `greatest` passes over NULL: without a limit nothing is in excess.
        " excess AS MATERIALIZED (SELECT number FROM others ORDER BY number"
        f" LIMIT greatest(0, (SELECT count(*) FROM others) + 1 - {limit}::bigint)),"
        f" taken AS MATERIALIZED (SELECT EXISTS (SELECT FROM {sessions} WHERE session_id = {own_id}::text) AS yes),"
        " allowed AS MATERIALIZED (SELECT NOT (SELECT yes FROM taken)"
        f" AND ({evict}::boolean OR NOT EXISTS (SELECT FROM excess)) AS yes),"
        f" ending AS MATERIALIZED (SELECT number FROM {sessions} WHERE (SELECT yes FROM allowed)"
        f" AND number = ANY (ARRAY (SELECT number FROM excess UNION ALL ({replaced})))"
        " ORDER BY session_id FOR UPDATE),"
        f" ended AS (DELETE FROM {sessions} WHERE number = ANY (ARRAY (SELECT number FROM ending))"
        f" RETURNING realm, tag, session_id, {_live(now)} AS live),"
        f" entries AS ({_ENDED_EACH}), {append},"
        f" started AS (INSERT INTO {sessions} ({COLUMNS}, purge_at)"
        f" SELECT {_given()}, {_given_deadline()} FROM allowed WHERE yes)"
        " SELECT (SELECT yes FROM allowed) AS allowed, (SELECT yes FROM taken) AS taken,"
        f" ARRAY (SELECT session_id FROM ended WHERE live) AS ended, ({_RUNG}) AS rung"
    )


def _revoke_all(sessions: str, append: str) -> str:
    return (
        f"WITH theirs AS MATERIALIZED (SELECT number, session_id, {_live('$4')} AS live FROM {sessions}"
        f" WHERE {_person('$1', '$2', '$3')} ORDER BY session_id FOR UPDATE),"
        " allowed AS MATERIALIZED (SELECT $5::text IS NULL"
        " OR EXISTS (SELECT FROM theirs WHERE session_id = $5::text AND live) AS yes),"
        f" ended AS (DELETE FROM {sessions} WHERE (SELECT yes FROM allowed) AND number = ANY (ARRAY ("
        f"SELECT number FROM theirs WHERE session_id IS DISTINCT FROM $5::text)) RETURNING {_live('$4')} AS live),"
        " entries AS (SELECT 1 AS place, $1::text AS realm, $2::text AS tag, NULL::text AS session_id,"
        " $3::text AS subject, $5::text AS spared, true AS ended WHERE EXISTS (SELECT FROM ended)),"
        f" {append}"
        " SELECT (SELECT yes FROM allowed) AS allowed,"
        f" (SELECT count(*) FROM ended WHERE live) AS ended, ({_RUNG}) AS rung"
    )


def _update_person(sessions: str, append: str) -> str:
    return (
        f"WITH theirs AS MATERIALIZED (SELECT number FROM {sessions}"
        f" WHERE {_person('$1', '$2', '$3')} AND {_live('$4')} ORDER BY session_id FOR UPDATE),"
        f" changed AS (UPDATE {sessions} SET data = $5, version = version + 1"
        " WHERE number = ANY (ARRAY (SELECT number FROM theirs)) RETURNING number),"
        " entries AS (SELECT 1 AS place, $1::text AS realm, $2::text AS tag, NULL::text AS session_id,"
        " $3::text AS subject, NULL::text AS spared, false AS ended WHERE EXISTS (SELECT FROM changed)),"
        f" {append}"
        f" SELECT (SELECT count(*) FROM changed) AS changed, ({_RUNG}) AS rung"
    )


def _purge(sessions: str) -> str:
    """Goes by `purge_at`, which no use moves: a use would then have to change an index.  What was used since is
    looked at again when its time is over anew.  Waits for nobody."""
    return (
        f"WITH due AS MATERIALIZED (SELECT number, {_DEADLINE} AS deadline FROM {sessions}"
        " WHERE purge_at <= $1::double precision ORDER BY purge_at LIMIT $2 FOR UPDATE SKIP LOCKED),"
        f" gone AS (DELETE FROM {sessions} WHERE number = ANY (ARRAY ("
        "SELECT number FROM due WHERE deadline <= $1::double precision)) RETURNING number),"
        f" later AS (UPDATE {sessions} SET purge_at = {_DEADLINE} WHERE number = ANY (ARRAY ("
        "SELECT number FROM due WHERE deadline > $1::double precision)) RETURNING number)"
        " SELECT (SELECT count(*) FROM gone) AS removed, (SELECT count(*) FROM later) AS later"
    )


def _census(sessions: str) -> str:
    """A row for each day, or one without a day.  Goes along the index of each person's sessions."""
    after = "realm = $1 AND tag = $2 AND subject > $3"
    return (
        f"WITH edge AS MATERIALIZED (SELECT (SELECT subject FROM {sessions} WHERE {after}"
        " ORDER BY subject OFFSET $6 LIMIT 1) AS subject),"
        f" theirs AS MATERIALIZED (SELECT subject, created_at, {_live('$4')} AS live FROM {sessions} WHERE {after}"
        # As long as nobody's subject begins with the last of all characters.
        " AND subject <= coalesce((SELECT subject FROM edge), chr(1114111))),"
        " totals AS (SELECT count(*) AS held, count(*) FILTER (WHERE live) AS live,"
        " count(DISTINCT subject) FILTER (WHERE live) AS people FROM theirs),"
        f" days AS (SELECT floor(created_at / {DAY})::bigint AS day, count(*) AS sessions,"
        " count(DISTINCT subject) AS people FROM theirs WHERE created_at >= $5::double precision GROUP BY 1)"
        " SELECT totals.held, totals.live, totals.people, edge.subject AS edge,"
        " days.day, days.sessions AS day_sessions, days.people AS day_people"
        " FROM totals CROSS JOIN edge LEFT JOIN days ON true ORDER BY days.day"
    )


def _people(sessions: str) -> str:
    return (
        f"WITH person AS MATERIALIZED (SELECT subject, count(*) AS live, min(created_at) AS first_created_at,"
        f" max(last_seen_at) AS last_seen_at, max(number) AS newest FROM {sessions}"
        f" WHERE realm = $1 AND tag = $2 AND subject > $3 AND {_live('$4')} GROUP BY subject ORDER BY subject LIMIT $5)"
        " SELECT person.subject, person.live, person.first_created_at, person.last_seen_at,"
        f" newest.session_id, newest.identity FROM person JOIN {sessions} AS newest ON newest.number = person.newest"
        " ORDER BY person.subject"
    )


def _log_since(log: str, head: str) -> str:
    """A server that follows another cannot tell its write position, and fails here: its log may be behind.  One
    that was promoted has a new timeline: what it lost may have had the same sequences."""
    return (
        "WITH head AS MATERIALIZED (SELECT epoch || '.' || left(pg_walfile_name(pg_current_wal_lsn()), 8) AS epoch,"
        f" sequence FROM {head})"
        " SELECT head.epoch, head.sequence AS reached, entry.sequence, entry.realm, entry.tag, entry.session_id,"
        " entry.subject, entry.spared, entry.ended FROM head"
        f" LEFT JOIN {log} AS entry ON head.epoch = $1::text"
        f" AND $2::bigint >= head.sequence - {LOG_KEPT}"
        " AND entry.sequence > $2::bigint AND entry.sequence <= head.sequence ORDER BY entry.sequence"
    )
