"""The embedded store as the page reads it: opened when there is one, opened again after a fault.

May import the store. A fault is an answer like any other, in words for the page; it never stops it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from pipeline.model import DeviceId, FeatureSecond
from pipeline.page.fleet import Stored
from pipeline.store import AlarmFilter, AlarmTransition, StoreError, StoreReader, StoreSize

HISTORY_MAX = 300  # transitions; a gun makes that many in minutes only while it chatters
AnswerT = TypeVar("AnswerT")


class Archive:
    """The event loop never waits for the disk: everything happens in one thread, in order."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._reader: StoreReader | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="page-store")

    async def fleet(self) -> Stored:
        """Every gun's latest second and every alarm that stands, or why they cannot be had."""
        try:
            return await self._read(lambda store: Stored(store.guns(), store.current_alarms()))
        except StoreError as error:
            return Stored(error=str(error))

    async def seconds(self, gun: DeviceId, from_ns: int, to_ns: int) -> tuple[FeatureSecond, ...]:
        """A gun's stored seconds; none where the store cannot be read, which `fleet` reports."""
        limit = (to_ns - from_ns) // 1_000_000_000 + 2
        try:
            return await self._read(lambda s: s.feature_seconds(gun, from_ns, to_ns, limit))
        except StoreError:
            return ()

    async def transitions(self, gun: DeviceId, from_ns: int) -> tuple[AlarmTransition, ...]:
        """A gun's alarm transitions since `from_ns`, newest first; as `seconds` on a fault."""
        wanted = AlarmFilter(clinic=gun.clinic, device=gun.device, from_ns=from_ns)
        try:
            return await self._read(lambda store: store.alarm_history(wanted, HISTORY_MAX))
        except StoreError:
            return ()

    async def past(self, wanted: AlarmFilter, limit: int) -> tuple[AlarmTransition, ...]:
        """Alarm transitions of all guns, newest first. Raises StoreError."""
        return await self._read(lambda store: store.alarm_history(wanted, limit))

    async def size(self) -> StoreSize:
        """How much the store holds. Raises StoreError."""
        return await self._read(lambda store: store.size())

    def close(self) -> None:
        """After the reads that are under way; nothing can be asked any more."""
        self._thread.submit(self._close)
        self._thread.shutdown(wait=False)

    async def _read(self, read: Callable[[StoreReader], AnswerT]) -> AnswerT:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read_now, read)

    def _read_now(self, read: Callable[[StoreReader], AnswerT]) -> AnswerT:
        try:
            if self._reader is None:
                self._reader = StoreReader.open(self._directory)
            return read(self._reader)
        except StoreError:
            self._close()  # the file may have been replaced: the next read opens what is there
            raise

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
