"""A connection kept alive, whatever it speaks: connect, prepare, serve until it is lost, again.

Sources and publisher share it. Knows no protocol; `mqtt` and `jetstream` do.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Generic, Protocol, Self, TypeVar

RETRY_S_MIN: Final = 0.5  # design.md, "Brokers"
RETRY_S_MAX: Final = 30.0
CANCEL_AGAIN_S: Final = 1.0  # engineering choice: taking leave of a broker takes milliseconds


class BrokerError(Exception):
    """What keeps us from a broker, in one sentence that says what to do."""


class Connection(Protocol):
    """One life of a connection: entered when it is made, and not used again once it is lost."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    async def lost(self) -> None:
        """Wait until it is lost, and say so with a BrokerError."""
        ...


ConnectionT = TypeVar("ConnectionT", bound=Connection)


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """How a link stands, as data for a page, a gauge or a technical alarm."""

    connected: bool
    since_ns: int
    last_error: str | None = None
    reconnects: int = 0


async def _nothing(_connection: object) -> None:
    return


async def _at_once() -> None:
    return


class Link(Generic[ConnectionT]):
    """Keeps one connection alive: connect, prepare, serve until it is lost, wait, again.

    Entering it fails with BrokerError if the first connection does, unless it is `patient`: then
    it is entered at once, and a broker that is not there yet is what one that is lost is later,
    only status. Nothing has to be started again for it.
    `prepare` makes a connection usable; `serve` runs beside it; `before_retry` may hold it back;
    `on_end` hears of the end of supervision, with an exception if it was a fault of ours.
    """

    def __init__(
        self,
        connect: Callable[[], ConnectionT],
        *,
        prepare: Callable[[ConnectionT], Awaitable[None]] = _nothing,
        serve: Callable[[ConnectionT], Awaitable[None]] = _nothing,
        before_retry: Callable[[], Awaitable[None]] = _at_once,
        on_end: Callable[[BaseException | None], None] = lambda _failure: None,
        patient: bool = False,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._connect = connect
        self._prepare = prepare
        self._serve = serve
        self._before_retry = before_retry
        self._on_end = on_end
        self._patient = patient
        self._clock_ns = clock_ns
        self._task: asyncio.Task[None] | None = None
        self.status = LinkStatus(connected=False, since_ns=clock_ns())

    async def __aenter__(self) -> Self:
        first = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(first), name="link")
        self._task.add_done_callback(
            lambda task: self._on_end(None if task.cancelled() else task.exception())
        )
        if self._patient:
            return self
        try:
            await asyncio.wait({self._task, first}, return_when=asyncio.FIRST_COMPLETED)
        except BaseException:  # cancelled while connecting
            await self._stop()
            raise
        if self._task.done():
            self._task.result()  # raises what kept it from a first connection
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._stop()

    async def _stop(self) -> None:
        if self._task is not None:
            await _end([self._task])
            self._set_status(connected=False)

    async def _run(self, first: asyncio.Future[None]) -> None:
        delay_s = RETRY_S_MIN
        while True:
            began_s = time.monotonic()
            try:
                await self._live(first)
            except BrokerError as error:
                self._set_status(connected=False, error=str(error))
                if not (self._patient or first.done()):
                    raise
            if time.monotonic() - began_s > RETRY_S_MAX:
                delay_s = RETRY_S_MIN  # it had been well: not one more in a row of failures
            await self._before_retry()
            await asyncio.sleep(delay_s * (1 + secrets.randbelow(1000) / 1000) / 2)
            delay_s = min(2 * delay_s, RETRY_S_MAX)

    async def _live(self, first: asyncio.Future[None]) -> None:
        """One connection from its beginning to the BrokerError that ends it."""
        async with self._connect() as connection:
            await self._prepare(connection)
            self._set_status(connected=True)
            if not first.done():
                first.set_result(None)
            await together(connection.lost(), self._serve(connection))

    def _set_status(self, *, connected: bool, error: str | None = None) -> None:
        before = self.status
        self.status = LinkStatus(
            connected=connected,
            since_ns=self._clock_ns() if connected != before.connected else before.since_ns,
            last_error=error or before.last_error,
            reconnects=before.reconnects + (connected and before.last_error is not None),
        )


async def together(*parts: Awaitable[None]) -> None:
    """Wait for all; at the first failure cancel the others and raise it."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        await asyncio.gather(*tasks)
    finally:
        await _end(tasks)


async def _end(tasks: Collection[asyncio.Future[None]]) -> None:
    """Cancel all until they are over: Python 3.11 swallows a cancellation that meets an answer."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)
