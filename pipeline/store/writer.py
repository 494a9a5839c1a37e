"""The one writer: everything a checkpoint holds goes in, or nothing of it does.

May import the store's own modules and `model`. Records, spool and the monitor's snapshot are one
transaction, so after `kill -9` the snapshot that is loaded and the records that are found belong
together: messages delivered again are counted once. Any thread may call; calls wait for each other.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.model import Counters, DeviceId, PipelineStatus, Record
from pipeline.store import rows, schema, spool
from pipeline.store.batch import Batch, Standing
from pipeline.store.errors import StoreWriteError
from pipeline.store.retention import Retention, Retired, retire
from pipeline.store.spool import Encode, Refused, Spooled
from pipeline.store.statements import add_counts, write_batch, write_counters, write_snapshot

# Readers that overlap without end keep the log from starting over; past this size they are waited
# for, shortly. Four times the size at which it should have. Engineering choice.
LOG_BYTES_MAX = 4 * schema.WAL_AUTOCHECKPOINT_PAGES * schema.PAGE_BYTES


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What one checkpoint stored, for the gauges."""

    records: int
    feature_seconds: int
    spooled: int
    dead_letters_dropped: int
    unstorable: int  # times beyond what SQLite can hold, from a device's clock


class Store:
    """The embedded store, open for writing. Use `Store.open`."""

    def __init__(
        self,
        directory: Path,
        lock: sqlite3.Connection,
        database: sqlite3.Connection,
        encode: Encode | None,
    ) -> None:
        self.directory = directory
        self._lock_file = lock
        self._database = database
        self._encode = encode
        self._one_at_a_time = threading.Lock()
        self._standing = _read_standing(database)
        self._under_way = 0  # the last line of the spool that somebody holds

    @classmethod
    def open(cls, directory: Path, *, encode: Encode | None = None) -> Self:
        """Open or create the store in `directory`; with `encode`, records also wait for InfluxDB.

        Raises StoreBusyError, StoreUnusableError or StoreVersionError.
        """
        lock = schema.lock_for_writing(directory)
        try:
            return cls(directory, lock, schema.open_writer(directory), encode)
        except BaseException:
            lock.close()
            raise

    def close(self) -> None:
        self._database.close()
        self._lock_file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def checkpoint(
        self, records: Sequence[Record], snapshot: bytes, counters: Counters | None = None
    ) -> Checkpoint:
        """Store `records` and the state that made them, `snapshot`, in one transaction.

        When it returns, all of it is on the disk. StoreWriteError: nothing is; it may be repeated.
        """
        with self._one_at_a_time:
            batch = self._sorted(records)
            with self._transaction() as database:
                dropped = write_batch(database, batch)
                write_snapshot(database, snapshot)
                if counters is not None:
                    write_counters(database, counters)
            batch.settle()
            self._restart_long_log()
        return Checkpoint(
            records=len(records),
            feature_seconds=len(batch.closed_seconds),
            spooled=len(batch.spool),
            dead_letters_dropped=dropped,
            unstorable=batch.unstorable,
        )

    def load_snapshot(self) -> bytes | None:
        """The snapshot of the last checkpoint, or None where there was none."""
        with self._one_at_a_time, self._transaction() as database:
            chunks = database.execute("SELECT bytes FROM snapshot ORDER BY chunk").fetchall()
        return b"".join(chunk for (chunk,) in chunks) if chunks else None

    def spool_read(self, lines_max: int, after: int = 0) -> tuple[Spooled, ...]:
        """The oldest lines behind position `after`, in the order they came.

        They stay until they are acknowledged. From 0, these are the oldest of all.
        """
        with self._one_at_a_time, self._transaction() as database:
            lines = spool.read(database, after, lines_max)
            self._under_way = lines[-1].position if lines else after
        return lines

    def spool_acknowledge(
        self, position: int, refused: Sequence[Refused] = (), now_ns: int = 0
    ) -> None:
        """InfluxDB has everything up to `position`; what it refused, with its words, is kept."""
        with self._one_at_a_time, self._transaction() as database:
            write_batch(database, self._sorted([each.letter(now_ns) for each in refused]))
            add_counts(database, spool.acknowledge(database, position, refused))

    def spool_status(self, status: PipelineStatus) -> None:
        """What the pipeline says of itself, on its way to InfluxDB."""
        with self._one_at_a_time:
            batch = self._sorted([])
            batch.add_status_of_pipeline(status)
            with self._transaction() as database:
                write_batch(database, batch)

    def retire(self, retention: Retention, now_ns: int) -> Retired:
        """Delete some of what is too old or too much; a bounded piece of work, to be repeated."""
        with self._one_at_a_time, self._transaction() as database:
            return retire(database, retention, now_ns, self._under_way)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        if not (self.directory / schema.DATABASE_NAME).exists():
            raise StoreWriteError(
                f"the store in {self.directory} was moved or deleted while it was in use: "
                "put it back, or restart myoguard to begin a new one"
            )
        database = self._database
        try:
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")
        except BaseException as error:
            if database.in_transaction:
                database.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise StoreWriteError(
                    f"the store in {self.directory} did not take a transaction ({error}): free "
                    "space on its disk or lower store.size_max_gb, and check that it is healthy"
                ) from error
            raise

    def _sorted(self, records: Iterable[Record]) -> Batch:
        batch = Batch(self._standing, self._encode)
        for record in records:
            batch.add(record)
        return batch

    def _restart_long_log(self) -> None:
        log = self.directory / schema.LOG_NAME
        if log.stat().st_size > LOG_BYTES_MAX:
            self._database.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()


def _read_standing(database: sqlite3.Connection) -> Standing:
    guns = {
        DeviceId(clinic, device): gun
        for gun, clinic, device in database.execute("SELECT gun, clinic, device FROM gun")
    }
    ids = {gun: id_ for id_, gun in guns.items()}
    seconds = {
        gun: rows.read_second(ids[gun], values)
        for gun, *values in database.execute("SELECT * FROM second_open")
    }
    minutes = {
        gun: rows.MINUTE.read(values, id=ids[gun])
        for gun, *values in database.execute("SELECT * FROM minute_open")
    }
    models = dict(database.execute("SELECT gun, model FROM device_status WHERE model IS NOT NULL"))
    (position,) = database.execute("SELECT max(position) FROM alarm_transition").fetchone()
    return Standing(guns, models, seconds, minutes, position or 0)
