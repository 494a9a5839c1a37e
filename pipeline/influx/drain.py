"""The spool into InfluxDB: in order, for ever, until every line is stored or refused for good.

`Drain.turn` does one bounded piece of work and says how long to wait; `run` repeats it in a thread,
so that a server that hangs holds up nobody. There is one request at a time. While it waits for the
server, the batch before is acknowledged in the spool and the batch behind is read. What is in
doubt, a lost answer or a crash, is written again: the same lines, which InfluxDB then has once.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import structlog

from pipeline.influx.server import DeniedError, RefusedError, Server, UnreachableError
from pipeline.store import Refused, Spooled, SpoolKind, Store, StoreWriteError

LINES_A_REQUEST: Final = 5_000  # design.md, "Storage"
IDLE_S: Final = 0.5  # engineering choice: a checkpoint a second brings something new
# Engineering choices: soon at first, for a server that restarts; then seldom, with jitter so that
# many pipelines do not come back at once.
BACKOFF_S_MIN: Final = 0.5
BACKOFF_S_MAX: Final = 30.0
DENIED_S: Final = 15.0  # engineering choice: how soon a token or database set right is noticed
TURN_S: Final = 2.0  # engineering choice: who stops us waits no longer, and one request, for it
STORE_FAILED_S: Final = 1.0

_log = structlog.get_logger("myoguard")


class DrainState(StrEnum):
    """What stands between the spool and the server."""

    FLOWING = "flowing"  # nothing
    UNREACHABLE = "unreachable"  # network, server or its load: tried again
    DENIED = "denied"  # settings or rights: waits for a person, and looks again


@dataclass(frozen=True, slots=True)
class DrainStatus:
    """How it goes; counts are since this process began."""

    state: DrainState = DrainState.FLOWING
    reason: str = ""
    failing_since_ns: int | None = None
    server_version: str | None = None
    lines_written: int = 0
    lines_refused: int = 0
    requests: int = 0
    failures: int = 0


@dataclass(slots=True)
class _Batch:
    """What was read from the spool, and which parts of it are still to be written."""

    position: int
    left: list[tuple[str, list[Spooled]]]  # (database, lines), next one last
    refused: list[Refused]


class Drain:
    """Moves one store's spool to one server. `databases` says where a kind of line belongs."""

    def __init__(
        self,
        store: Store,
        server: Server,
        databases: Mapping[SpoolKind, str],
        *,
        lines_a_request: int = LINES_A_REQUEST,
    ) -> None:
        self.status = DrainStatus()
        self._store = store
        self._server = server
        self._databases = databases
        self._lines_a_request = lines_a_request
        self._written: _Batch | None = None  # the server has it, the spool does not know yet
        self._batch: _Batch | None = None
        self._ahead: _Batch | None = None  # read while that one is written
        self._backoff_s = BACKOFF_S_MIN

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; what is under way then is waited for, at most for the server's timeout."""
        while not stop.is_set():
            pause_s = await asyncio.to_thread(self.turn)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause_s)

    def turn(self) -> float:
        """Write a batch, or as much of it as goes in some seconds; how long to wait then."""
        try:
            if self._batch is None:
                if self._ahead is None:
                    self._keep_books()
                self._batch, self._ahead = self._ahead, None
            if self._batch is None:
                return IDLE_S
            with ThreadPoolExecutor(1, "spool") as beside:
                books = beside.submit(self._keep_books)
                self._write(self._batch)
            books.result()
        except UnreachableError as error:
            return self._failed(DrainState.UNREACHABLE, error, self._wait_s(error.retry_after_s))
        except DeniedError as error:
            return self._failed(DrainState.DENIED, error, DENIED_S)
        except StoreWriteError:
            return STORE_FAILED_S  # whoever stores the records says so
        if not self._batch.left:
            self._written, self._batch = self._batch, None
        return 0.0

    def _keep_books(self) -> None:
        """Acknowledge the batch before, and read the one behind. May be repeated if it fails."""
        if (done := self._written) is not None:
            self._store.spool_acknowledge(done.position, done.refused, time.time_ns())
            self._written = None
            if done.refused:
                # The rest of its words quote the line, and with it who was treated.
                status = done.refused[-1].words.partition(":")[0]
                _log.warning(
                    "InfluxDB refused points for good; why is among the dead letters",
                    points=len(done.refused),
                    status=status,
                )
        if self._ahead is None:
            after = 0 if self._batch is None else self._batch.position
            self._ahead = self._read(after)

    def _read(self, after: int) -> _Batch | None:
        lines = self._store.spool_read(self._lines_a_request, after)
        if not lines:
            return None
        by_database: dict[str, list[Spooled]] = {}
        for line in sorted(lines, key=_series):
            by_database.setdefault(self._databases[line.kind], []).append(line)
        return _Batch(lines[-1].position, [*by_database.items()][::-1], [])

    def _write(self, batch: _Batch) -> None:
        end_s = time.monotonic() + TURN_S
        while batch.left and time.monotonic() < end_s:
            self._write_next(batch)

    def _write_next(self, batch: _Batch) -> None:
        database, lines = batch.left[-1]
        self.status = replace(self.status, requests=self.status.requests + 1)
        try:
            self._server.write(database, [each.line for each in lines])
        except RefusedError as error:
            batch.left.pop()
            self._take_apart(batch, database, lines, error)
        else:
            batch.left.pop()
            self._wrote(len(lines))
        self._reached()

    def _take_apart(
        self, batch: _Batch, database: str, lines: Sequence[Spooled], error: RefusedError
    ) -> None:
        """Halve until the bad line stands alone. A server that dropped them all has said enough."""
        if len(lines) == 1 or error.dropped == len(lines):
            batch.refused += [Refused(line, str(error)) for line in lines]
            count = self.status.lines_refused + len(lines)
            self.status = replace(self.status, lines_refused=count)
            return
        middle = len(lines) // 2
        batch.left += [(database, list(lines[middle:])), (database, list(lines[:middle]))]

    def _wrote(self, lines: int) -> None:
        written = self.status.lines_written + lines
        self.status = replace(self.status, lines_written=written)

    def _reached(self) -> None:
        """The server answers, whatever it says of the lines."""
        self._backoff_s = BACKOFF_S_MIN
        if self.status.state is not DrainState.FLOWING:
            _log.info("InfluxDB takes points again", version=self._server.version)
        self.status = replace(
            self.status,
            state=DrainState.FLOWING,
            reason="",
            failing_since_ns=None,
            server_version=self._server.version,
        )

    def _failed(self, state: DrainState, error: Exception, pause_s: float) -> float:
        self._server.forget()
        reason = str(error)
        if (state, reason) != (self.status.state, self.status.reason):
            _log.warning("InfluxDB takes nothing; the spool keeps it all", reason=reason)
        self.status = replace(
            self.status,
            state=state,
            reason=reason,
            failing_since_ns=self.status.failing_since_ns or time.time_ns(),
            failures=self.status.failures + 1,
        )
        return pause_s

    def _wait_s(self, retry_after_s: float | None) -> float:
        """As long as the server asks for; else twice as long each time."""
        jittered = self._backoff_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, no secret
        self._backoff_s = min(2.0 * self._backoff_s, BACKOFF_S_MAX)
        return jittered if retry_after_s is None else retry_after_s


def _series(line: Spooled) -> str:
    """Measurement and tags; the engine is faster at neighbours of one series."""
    return line.line.partition(" ")[0]
