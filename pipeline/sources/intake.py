"""What has arrived and is not yet taken, and how it is taken: in batches, in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress

from pipeline.model import Received
from pipeline.sources.source import BATCH_MESSAGES, BATCH_S, Batch, Position


class Intake:
    """Between a client's callback, which puts, and one reader of batches. Holds no lock."""

    def __init__(self) -> None:
        self._pending: deque[Received] = deque()
        self._yielded_count = 0
        self._something = asyncio.Event()  # set while there is something pending, or the end
        self._enough = asyncio.Event()  # set while a whole batch is pending
        self._taken = asyncio.Event()  # set while nothing is pending
        self._taken.set()
        self._closed = False
        self._failure: BaseException | None = None

    def __len__(self) -> int:
        return len(self._pending)

    def put(self, received: Iterable[Received]) -> None:
        self._pending.extend(received)
        if not self._pending:
            return
        self._taken.clear()
        self._something.set()
        if len(self._pending) >= BATCH_MESSAGES:
            self._enough.set()

    def end(self, failure: BaseException | None) -> None:
        """Nothing more will come; a failure is raised where batches are read."""
        self._closed = True
        self._failure = failure
        self._something.set()

    async def emptied(self) -> None:
        """Wait until all of it is taken."""
        await self._taken.wait()

    async def batches(self) -> AsyncIterator[Batch]:
        """At most 10 ms or 512 messages each."""
        while True:
            await self._something.wait()
            if self._failure is not None:
                raise self._failure
            if self._closed:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(BATCH_S):
                    await self._enough.wait()
            yield self._take()

    def _take(self) -> Batch:
        count = min(len(self._pending), BATCH_MESSAGES)
        messages = [self._pending.popleft() for _ in range(count)]
        self._yielded_count += count
        if len(self._pending) < BATCH_MESSAGES:
            self._enough.clear()
        if not self._pending:
            self._something.clear()
            self._taken.set()
        return Batch(messages, Position(self._yielded_count))
