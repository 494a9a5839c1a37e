"""What guns said in the last minute, read again from the durable log: no memory has to hold it.

A consumer that reads nothing keeps the log from forgetting what the pipeline has committed, and is
moved on with the time. What is asked for is read on a connection of its own, in order, and asked
again on the next connection where one is lost: until then, nothing of it is let go.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple, Self

from pipeline.jetstream import JetStream, parse_nats_endpoint
from pipeline.link import Link
from pipeline.model import DeviceId, Received
from pipeline.mqtt import ANONYMOUS, Credentials
from pipeline.sources import telemetry_log

# A capture is read from 30 s before its alarm came to 15 s after it (`capture.blackbox`); the rest
# is for a machine that is busy. Of 2,000 guns at 1600 Hz that is 1.3 of the log's 1.5 GB, of which
# the oldest give way. Engineering choices, as are the others.
HELD_NS: Final = 50_000_000_000
RELEASE_S: Final = 5.0
LEAVE_S_MAX: Final = 5.0
ASKED_MAX: Final = 8_192  # two for each of the captures that may be open at once


class _Asked(NamedTuple):
    id: DeviceId
    from_ns: int
    to_ns: int
    then: Callable[[list[Received]], None]


class LogPast:
    """`async with LogPast(…) as past: past.fetch(gun, from_ns, to_ns, then)`.

    While there is no broker it waits for one, like everything that has a Link.
    """

    def __init__(self, url: str, *, client_id: str, credentials: Credentials = ANONYMOUS) -> None:
        """Raises BrokerError for an address that is none."""
        self.refused = 0  # what was asked for beyond ASKED_MAX
        endpoint = parse_nats_endpoint(url, client_id=f"{client_id}-past", credentials=credentials)
        self._holder = f"{telemetry_log.reader_name(client_id)}-past"
        self.now_ns = 0  # the newest time of arrival there is
        self._asked: deque[_Asked] = deque()
        self._news = asyncio.Event()
        self._leaving = False
        self._left = asyncio.Event()
        self._link = Link(
            lambda: JetStream(endpoint), prepare=self._prepare, serve=self._serve, patient=True
        )

    @property
    def asked(self) -> int:
        """How much is yet to be handed over."""
        return len(self._asked)

    @property
    def ready(self) -> bool:
        """Whether the log keeps what comes now."""
        return self._link.status.connected

    async def __aenter__(self) -> Self:
        await self._link.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """What was asked for is answered first, if that can be soon."""
        self._leaving = True
        self._news.set()
        if self.ready:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._left.wait(), LEAVE_S_MAX)
        await self._link.__aexit__(*exc)

    def passed(self, now_ns: int) -> None:
        """Messages have come that arrived then; by the broker's clock, as all times here."""
        self.now_ns = max(self.now_ns, now_ns)

    def fetch(
        self, id_: DeviceId, from_ns: int, to_ns: int, then: Callable[[list[Received]], None]
    ) -> None:
        """Have a gun's frames that arrived in a span handed to `then`, some time later."""
        if len(self._asked) >= ASKED_MAX:
            self.refused += 1
            return
        self._asked.append(_Asked(id_, from_ns, to_ns, then))
        self._news.set()

    async def _prepare(self, connection: JetStream) -> None:
        """The log is there once the pipeline has begun to read it; until then, this is refused."""
        await telemetry_log.make_reader(connection, self._holder)

    async def _serve(self, connection: JetStream) -> None:
        release_at_s = 0.0
        while True:
            self._news.clear()
            while self._asked:
                asked = self._asked[0]
                id_, from_ns, to_ns, then = asked
                frames = await telemetry_log.frames_within(connection, id_, from_ns, to_ns)
                self._asked.popleft()
                then(frames)
            if self._leaving:
                await telemetry_log.forget_holder(connection, self._holder)
                self._left.set()
                return
            if time.monotonic() >= release_at_s and self.now_ns:
                release_at_s = time.monotonic() + RELEASE_S
                await telemetry_log.release(connection, self._holder, self.now_ns - HELD_NS)
            with suppress(TimeoutError):
                async with asyncio.timeout(RELEASE_S):
                    await self._news.wait()
