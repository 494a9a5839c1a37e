"""The tables, and how a connection to them is opened; may import `rows` and `errors`.

Table definitions are built from the nouns' own fields. `PRAGMA user_version` counts the layouts;
a digest of the definitions beside it catches a layout that changed without being counted.
`features` and `rollup_1min` are WITHOUT ROWID with key (gun, time), so that a gun's history lies in
one piece: rowid tables with indexes made a fleet query 300 times slower (design, "Storage").
"""

# ruff: noqa: S608 - definitions are put together from the column names of the nouns, never from input

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.store import rows
from pipeline.store.errors import (
    StoreBusyError,
    StoreMissingError,
    StoreUnusableError,
    StoreVersionError,
)

DATABASE_NAME = "myoguard.sqlite3"
LOG_NAME = f"{DATABASE_NAME}-wal"  # SQLite's write-ahead log
LOCK_NAME = "myoguard.lock"
SCHEMA_VERSION = 1
APPLICATION_ID = 0x4D474631  # "MGF1", the frame's magic: tells `file` and us whose database it is

PAGE_BYTES = 4096  # SQLite's default, and the block size of most disks
# A commit rewrites many of the pages the last one wrote, so a long write-ahead log saves copying
# them into the database each time: 16384 pages (64 MiB) hold some seconds of 2,000 guns.
# Engineering choice.
WAL_AUTOCHECKPOINT_PAGES = 16_384
WAL_KEPT_BYTES = 128 * 2**20  # above this the log file is cut back once it is empty
OPEN_TIMEOUT_S = 5.0  # another connection may be recovering the log after a crash
READERS_TIMEOUT_MS = 100  # then only readers can be in the way, and only of starting the log over

TABLES = f"""
CREATE TABLE layout (digest TEXT NOT NULL);
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE pipeline_counters (
  only INTEGER PRIMARY KEY CHECK (only = 1), json TEXT NOT NULL
);
CREATE TABLE snapshot (chunk INTEGER PRIMARY KEY, bytes BLOB NOT NULL);

CREATE TABLE gun (
  gun INTEGER PRIMARY KEY, clinic TEXT NOT NULL, device TEXT NOT NULL, UNIQUE (clinic, device)
);
CREATE TABLE device_status (gun INTEGER PRIMARY KEY, {rows.STATUS.ddl()});

CREATE TABLE features (
  gun INTEGER NOT NULL, {rows.SECOND_DDL}, PRIMARY KEY (gun, t_ns)
) WITHOUT ROWID;
CREATE TABLE second_open (gun INTEGER PRIMARY KEY, {rows.SECOND_DDL});
CREATE VIEW latest_second AS
  SELECT * FROM second_open UNION ALL
  SELECT features.* FROM gun JOIN features ON features.gun = gun.gun
    AND features.t_ns = (SELECT max(t_ns) FROM features WHERE features.gun = gun.gun)
  WHERE gun.gun NOT IN (SELECT gun FROM second_open);

CREATE TABLE rollup_1min (
  gun INTEGER NOT NULL, {rows.MINUTE.ddl()}, PRIMARY KEY (gun, t_ns)
) WITHOUT ROWID;
CREATE TABLE minute_open (gun INTEGER PRIMARY KEY, {rows.MINUTE.ddl()});

CREATE TABLE alarm_transition (
  position INTEGER PRIMARY KEY, gun INTEGER NOT NULL, {rows.ALARM.ddl()}
);
CREATE INDEX alarm_by_time ON alarm_transition (changed_at_ns);
CREATE INDEX alarm_by_gun ON alarm_transition (gun, changed_at_ns);
CREATE TABLE alarm_current (
  gun INTEGER NOT NULL, rule TEXT NOT NULL, session_id TEXT NOT NULL, position INTEGER NOT NULL,
  PRIMARY KEY (gun, rule, session_id)
) WITHOUT ROWID;

CREATE TABLE session (
  gun INTEGER NOT NULL, {rows.SESSION.ddl()}, PRIMARY KEY (gun, session_id)
) WITHOUT ROWID;
CREATE INDEX session_by_start ON session (started_at_ns);
CREATE TABLE operator_exposure (
  {rows.EXPOSURE.ddl()}, PRIMARY KEY (clinic, operator, day)
) WITHOUT ROWID;

CREATE TABLE dead_letter (
  position INTEGER PRIMARY KEY AUTOINCREMENT, {rows.DEAD_LETTER.ddl()}
);
CREATE TABLE spool (
  position INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, line TEXT NOT NULL
);
"""

LAYOUT_DIGEST = hashlib.sha256(TABLES.encode()).hexdigest()[:16]


def open_writer(directory: Path) -> sqlite3.Connection:
    """The writing connection to the store in `directory`; both are created, private, if missing."""
    database = directory / DATABASE_NAME
    _make_private(directory, database)
    connection = _connect(str(database), uri=False)
    with _closed_on_error(connection, database):
        if _is_empty(connection):
            _create(connection)
        _check_layout(connection, database)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_AUTOCHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
        connection.execute(f"PRAGMA busy_timeout = {READERS_TIMEOUT_MS}")
    return connection


def open_reader(directory: Path) -> sqlite3.Connection:
    """A connection that can only read, and never holds up the writer."""
    database = directory / DATABASE_NAME
    if not database.is_file() or database.stat().st_size == 0:
        raise StoreMissingError(
            f"{directory} holds no store yet ({DATABASE_NAME} is missing or empty): "
            "start `myoguard run` first, or set store.directory to where it writes"
        )
    connection = _connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)
    with _closed_on_error(connection, database):
        connection.execute("PRAGMA query_only = ON")
        _check_layout(connection, database)
    return connection


def lock_for_writing(directory: Path) -> sqlite3.Connection:
    """Hold the store's writer lock for as long as the returned connection is open.

    An exclusive transaction on an empty database: the operating system drops it with the process,
    however that ends, and it works wherever SQLite does.
    """
    lock = directory / LOCK_NAME
    _make_private(directory, lock)
    connection = sqlite3.connect(lock, timeout=0, isolation_level=None, check_same_thread=False)
    with _closed_on_error(connection, lock):
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            raise StoreBusyError(
                f"another process is already writing to the store in {directory}: "
                "stop it, or give this one another store.directory"
            ) from error
    return connection


def _connect(database: str, *, uri: bool) -> sqlite3.Connection:
    return sqlite3.connect(
        database, uri=uri, timeout=OPEN_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )


def _make_private(directory: Path, file: Path) -> None:
    """Create both readable by their owner alone: they say who was treated when, and by whom."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StoreUnusableError(
            f"the store cannot write {file} ({error.strerror}): "
            "make the directory writable, or set store.directory to one that is"
        ) from error


def _is_empty(connection: sqlite3.Connection) -> bool:
    (objects,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    return bool(objects == 0)


def _create(connection: sqlite3.Connection) -> None:
    connection.executescript(
        f"BEGIN; {TABLES}"
        f"INSERT INTO layout VALUES ('{LAYOUT_DIGEST}');"
        f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
    )


def _check_layout(connection: sqlite3.Connection, database: Path) -> None:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    if application_id != APPLICATION_ID:
        raise StoreUnusableError(
            f"{database} is not a MyoGuard store: "
            "move it away, or set store.directory to another place"
        )
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise StoreVersionError(
            f"{database} was written by a newer MyoGuard (layout {version}, this one reads "
            f"{SCHEMA_VERSION}): upgrade myoguard, or set store.directory to another place"
        )
    if connection.execute("SELECT digest FROM layout").fetchone() != (LAYOUT_DIGEST,):
        raise StoreVersionError(
            f"{database} was written by another build of MyoGuard with other columns: "
            "use that build, or move the directory away to start a new store"
        )


@contextmanager
def _closed_on_error(connection: sqlite3.Connection, file: Path) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.DatabaseError):
            raise _unusable(file, error) from error
        raise


def _unusable(file: Path, error: sqlite3.Error) -> StoreUnusableError:
    return StoreUnusableError(
        f"SQLite cannot use {file} ({error}): restore it from a backup, "
        "or move it away to start a new store"
    )
