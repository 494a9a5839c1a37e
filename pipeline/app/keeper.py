"""Everything that must survive: checkpoints, what they allow to be forgotten, retention."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from copy import deepcopy
from functools import partial
from typing import Final, TypeVar

import structlog

from pipeline.app.latency import Latency
from pipeline.app.timer import Timer
from pipeline.app.window import Window
from pipeline.model import Record
from pipeline.monitor import Monitor
from pipeline.rules import Shortage
from pipeline.sources import Batch, Position, Source
from pipeline.store import Retention, Store, StoreWriteError

CHECKPOINT_S: Final = 1.0  # design.md, "Checkpoint"
# The rest are engineering choices. A checkpoint writes down every gun that is known, which with
# thousands would take half of the time. What is not stored comes again after a crash, so that
# nothing is lost by waiting; five seconds of 3,000 frames/s are what our Mosquitto's window holds.
CHECKPOINT_SHARE: Final = 0.25
CHECKPOINT_S_MAX: Final = 5.0
# A broker whose window is full sends nothing until something is
# acknowledged, and Mosquitto's is 20 messages unless it is told otherwise: so many uncommitted and
# then silence mean a checkpoint now.
STALLED_MESSAGES: Final = 16
STALLED_S: Final = 0.1
RETIRE_S: Final = 60.0
RETIRE_BUSY_S: Final = 1.0  # while rows are being retired: this outruns a large fleet (retention)
SHORT_S: Final = 2.5 * RETIRE_S  # a store at its bound has room for a minute, and no longer

ResultT = TypeVar("ResultT")

_log = structlog.get_logger("myoguard")


def seconds_apart(took_s: float, again_s: float) -> float:
    """From one checkpoint to the next, so that what the last one took is a bounded share of it.

    With a broker that repeats itself after `again_s`, half of that: the other half is for storing.
    """
    apart_s_max = min(CHECKPOINT_S_MAX, again_s / 2) if again_s else CHECKPOINT_S_MAX
    return max(CHECKPOINT_S, min(took_s / CHECKPOINT_SHARE, apart_s_max))


class Keeper:
    """Everything that must survive: checkpoints, what they allow to be forgotten, retention."""

    def __init__(
        self,
        store: Store,
        source: Source,
        monitor: Monitor,
        retention: Retention,
        latency: Latency,
        again_s: float = 0.0,
    ) -> None:
        """`again_s`: after how long the broker sends again what it still waits for; 0: it won't."""
        self._latency = latency
        self._store = store
        self._source = source
        self._monitor = monitor
        self._retention = retention
        self._records: list[Record] = []  # bounded by the broker's window, as nothing is committed
        self._position: Position | None = None  # of the last batch taken
        self._uncommitted = 0
        self._window = Window()
        self._window_told = False
        self._due = Timer(CHECKPOINT_S)
        self._again_s = again_s
        self._retire_due = Timer(RETIRE_S)
        self._working: asyncio.Task[None] | None = None
        self._failing_since_s: float | None = None
        self._began_s: float | None = None  # what the store is doing
        self._shortage = Shortage.NONE
        self._short_since_s = 0.0

    @property
    def failing_s(self) -> float:
        """For how long nothing could be stored; 0 while it can.

        What takes longer than it is to the next checkpoint keeps that from coming: a disk may hang,
        in a checkpoint or in retention.
        """
        now_s = time.monotonic()
        if self._failing_since_s is not None:
            return now_s - self._failing_since_s
        hanging_s = 0.0 if self._began_s is None else now_s - self._began_s
        return hanging_s if hanging_s > CHECKPOINT_S else 0.0

    @property
    def shortage(self) -> Shortage:
        """Of room in the store, lately."""
        is_over = time.monotonic() - self._short_since_s > SHORT_S
        return Shortage.NONE if is_over else self._shortage

    def took(self, batch: Batch) -> None:
        self._position = batch.position
        self._uncommitted += len(batch.messages)
        window = self._window.took(time.monotonic())
        if window and not self._window_told:
            self._window_told = True
            _log.warning(
                "the broker hands out too few messages at a time, which costs latency: raise its"
                " window to twice the messages of a second (Mosquitto: max_inflight_messages,"
                " nats-server: mqtt.max_ack_pending)",
                window=window,
            )

    def keep(self, records: Iterable[Record]) -> None:
        self._records.extend(records)

    def keep_house(self, now_s: float, quiet_s: float) -> None:
        """Begin a checkpoint when it is time for one and the last one is over."""
        if self._working is not None:
            if not self._working.done():
                return
            self._working.result()
            self._working = None
        stalled = self._uncommitted >= STALLED_MESSAGES and quiet_s >= STALLED_S
        stalled = stalled and self._failing_since_s is None
        is_tried = stalled and not self._window_told
        if is_tried and self._window.is_tried(self._uncommitted, quiet_s):
            return
        if self._due.is_due(now_s) or stalled:
            if stalled:
                self._window.stalled(self._uncommitted)
            self._working = asyncio.create_task(self._work(now_s), name="checkpoint")

    async def finish(self) -> None:
        """The last checkpoint. Raises StoreWriteError."""
        if self._working is not None:
            await self._working
        await self._checkpoint()

    async def _work(self, now_s: float) -> None:
        try:
            await self._checkpoint()
            await self._retire(now_s)
        except StoreWriteError as error:
            if self._failing_since_s is None:
                _log.error("nothing is stored, and the broker keeps it all", reason=str(error))
                self._failing_since_s = time.monotonic()
        else:
            if self._failing_since_s is not None:
                _log.info("stored again")
            self._failing_since_s = None

    async def _in_store(self, work: Callable[[], ResultT]) -> ResultT:
        """On a thread, with its beginning known for as long as it takes."""
        self._began_s = time.monotonic()
        try:
            return await asyncio.to_thread(work)
        finally:
            self._began_s = None

    async def _checkpoint(self) -> None:
        """Store what has gathered; let the broker forget it. StoreWriteError: nothing happened."""
        records, self._records = self._records, []
        position, uncommitted = self._position, self._uncommitted
        asked_s = time.monotonic()
        snapshot, counters = self._monitor.snapshot(), deepcopy(self._monitor.counters)
        began_s = time.monotonic()
        try:
            await self._in_store(partial(self._store.checkpoint, records, snapshot, counters))
        except StoreWriteError:
            self._records[:0] = records
            raise
        self._latency.observe("checkpoint", time.monotonic() - began_s)
        self._due.every_s = seconds_apart(time.monotonic() - asked_s, self._again_s)
        self._uncommitted -= uncommitted
        if position is not None:
            await self._source.commit(position)
            self._window.let_go(time.monotonic())

    async def _retire(self, now_s: float) -> None:
        """Delete what is too old or too much, a bounded piece at a time."""
        if self._retire_due.is_due(now_s):
            retire = partial(self._store.retire, self._retention, time.time_ns())
            retired = await self._in_store(retire)
            if retired.for_room:
                detail = retired.features + retired.rollups
                self._shortage = Shortage.DETAIL if detail else Shortage.RECORDS
                self._short_since_s = time.monotonic()
            self._retire_due.every_s = RETIRE_BUSY_S if retired.total else RETIRE_S
