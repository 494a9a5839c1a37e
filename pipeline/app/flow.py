"""The loop: what comes in goes through the monitor, and out to whom it concerns."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Final

import structlog

from pipeline.app.desk import Desk
from pipeline.app.keeper import Keeper
from pipeline.app.standing import standing_of
from pipeline.app.timer import Timer
from pipeline.capture import name_captures
from pipeline.model import Alarm, Counters, DeadLetter, DeviceStatus, Received, Record, Rejected
from pipeline.rules import Health
from pipeline.sources import Batch
from pipeline.wire import REJECTED_PAYLOAD_BYTES, DecodeError, parse_topic

LIVE_S: Final = 0.25  # contract, "live": at most 4 a second
# Engineering choices. Where no message comes, time passes by the clock, late by as many turns of
# the loop, so that no message that is here and not yet fed is older: turns and not seconds, since a
# process that stood still for seconds has read nothing meanwhile.
TICK_S: Final = 1.0
TICK_LATE_TURNS: Final = 10
HEALTH_S: Final = 0.5  # delays count steps of at most a second as evidence (alarms)
TURN_S: Final = 0.1  # what is to be done from time to time is looked at this often
OUTAGE_NS: Final = 250_000_000  # one hop: half of the reorder window, a twentieth of silence
NEWS_S: Final = 60.0

_log = structlog.get_logger("myoguard")


class Flow:
    """Runs once, until it is stopped or the source ends."""

    def __init__(self, desk: Desk, keeper: Keeper, on_connected: Callable[[], None]) -> None:
        """`on_connected` is called once, when there is a broker for the first time."""
        self._desk = desk
        self._settings = desk.settings
        self._monitor = desk.monitor
        self._source = desk.source
        self._publisher = desk.publisher
        self._listeners = desk.listeners
        self._taps = desk.taps
        self._keeper = keeper
        self._live, self._tick, self._news = Timer(LIVE_S), Timer(TICK_S), Timer(NEWS_S)
        self._health = Timer(HEALTH_S)
        self._news.is_due(time.monotonic())
        self._latency = desk.latency
        self._on_connected: Callable[[], None] | None = on_connected
        self._broker_error: str | None = None  # of which has been told
        self._reconnects = -1  # the first connection may come late, too
        self._kept_ns = 0  # when the newest message came that a log kept for us
        self._quiet_ns: deque[int] = deque(maxlen=TICK_LATE_TURNS)  # of turns that brought nothing
        self._turned_s = time.monotonic()
        self._stood_still = False

    def begin_with(self, records: list[Record]) -> None:
        """What came about before the first message."""
        self._take((), records)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, or until the source ends."""
        batches = self._source.batches()
        stopping = asyncio.create_task(stop.wait())
        coming = asyncio.create_task(_next(batches))
        fed_s = time.monotonic()
        try:
            while not stop.is_set():
                await asyncio.wait(
                    {stopping, coming}, timeout=TURN_S, return_when=asyncio.FIRST_COMPLETED
                )
                self._notice_standstill(time.monotonic())
                if coming.done():
                    batch = coming.result()
                    if batch is None:
                        return
                    coming = asyncio.create_task(_next(batches))
                    self._feed(batch)
                    fed_s = time.monotonic()
                    self._quiet_ns.clear()
                self._keep_house(time.monotonic() - fed_s)
                self._quiet_ns.append(time.time_ns())
        finally:
            stopping.cancel()
            coming.cancel()
            await asyncio.wait({stopping, coming})

    def _feed(self, batch: Batch) -> None:
        """On the event loop: in a thread it was no faster, 9,600 frames in 0.9 s either way."""
        began_s = time.monotonic()
        self._hear_again(batch.messages[0].received_at_ns)
        records: list[Record] = []
        for messages in self._between_outages(batch.messages):
            records += self._monitor.feed(messages)
        self._latency.took(batch.messages, time.monotonic() - began_s)
        self._keeper.took(batch)
        self._take(batch.messages, records)

    def _between_outages(self, messages: Sequence[Received]) -> Iterator[Sequence[Received]]:
        """What a log kept for us while we were away, without the time in which it took nothing.

        When nothing at all comes in, it is the broker that is away, and not the guns.
        """
        since_ns, begin = self._source.status.since_ns, 0
        if messages[0].received_at_ns <= since_ns:
            messages = self._in_time(messages)
        for at, message in enumerate(messages):
            if message.received_at_ns > since_ns:
                break
            if message.received_at_ns - self._kept_ns > OUTAGE_NS:
                yield messages[begin:at]
                begin = at
                self._monitor.hear_again(message.received_at_ns)
            self._kept_ns = message.received_at_ns
        yield messages[begin:]

    def _in_time(self, messages: Sequence[Received]) -> Sequence[Received]:
        """Time does not go back for what comes again: a log whose server was killed may have
        forgotten minutes of commits, in which guns would seem silent a second time.
        """
        now_ns = self._monitor.now_ns
        return [each._replace(received_at_ns=max(each.received_at_ns, now_ns)) for each in messages]

    def _notice_standstill(self, now_s: float) -> None:
        """Whether this process got no turn for longer than frames may be late.

        A log has stamped what came meanwhile; else it bears the time at which it is read.
        """
        away_s, self._turned_s = now_s - self._turned_s, now_s
        if not self._source.keeps_arrival_times:
            self._stood_still |= away_s > self._settings.monitor.reorder_window_s

    def _hear_again(self, now_ns: int) -> None:
        """Before what a new connection brings, or what waited while we stood still.

        It was on its way all the time, and is not late.
        """
        reconnects = self._source.status.reconnects
        if self._stood_still or reconnects != self._reconnects:
            self._stood_still = False
            self._reconnects = reconnects
            self._monitor.hear_again(now_ns)

    def _take(self, messages: Sequence[Received], records: list[Record]) -> None:
        """Keep records for the checkpoint, and send at once what others wait for."""
        if self._settings.capture.enabled:
            records = name_captures(records)
        self._keeper.keep(records)
        for tap in self._taps:
            tap.took(messages, records)
        for record in records:
            if isinstance(record, Alarm):
                if self._settings.publish.alarms:
                    self._publisher.offer([record])
                for listener in self._listeners:
                    listener.alarm(record)
            elif isinstance(record, DeviceStatus):
                for listener in self._listeners:
                    listener.status(record)
            elif isinstance(record, DeadLetter):
                self._publisher.offer(_rejections(record))

    def _keep_house(self, quiet_s: float) -> None:
        """What is to be done from time to time, whether messages come or not."""
        now_s = time.monotonic()
        quiet = len(self._quiet_ns) == TICK_LATE_TURNS
        if quiet and self._may_pass_time() and self._tick.is_due(now_s):
            now_ns = self._quiet_ns[0]
            self._hear_again(now_ns)
            self._take((), self._monitor.tick(now_ns))
        if self._health.is_due(now_s):
            self._take((), self._monitor.judge_health(self._health_now(), time.time_ns()))
        if self._live.is_due(now_s):
            self._send_live()
        self._keeper.keep_house(now_s, quiet_s)
        if self._news.is_due(now_s):
            _log.info("still watching", guns=self._monitor.devices, **news(self._monitor.counters))
        self._tell_of_broker()

    def _may_pass_time(self) -> bool:
        """Not while messages are known to wait, here or where we lost the broker: they are older.

        What a gun did not say and what we did not hear are two things, as after a restart.
        """
        return self._source.status.connected and self._source.caught_up

    def _health_now(self) -> Health:
        """What the edges say, and what can be seen from here."""
        standing = standing_of(self._desk)
        return self._desk.health._replace(
            not_storing_s=standing.not_storing_s,
            not_connected_s=standing.not_connected_s,
            lag_s=standing.lag_s,
            shortage=self._keeper.shortage,
        )

    def _send_live(self) -> None:
        for live in self._monitor.live():
            if self._settings.publish.live:
                self._publisher.offer([live])
            for listener in self._listeners:
                listener.put(live)

    def _tell_of_broker(self) -> None:
        status = self._source.status
        if status.connected and self._on_connected is not None:
            self._on_connected()
            self._on_connected = None
        elif status.connected and self._broker_error is not None:
            _log.info("found the broker again", reconnects=status.reconnects)
        error = None if status.connected else status.last_error
        if error is not None and error != self._broker_error:
            _log.warning("no broker; it is tried again", reason=error)
        self._broker_error = error


async def _next(batches: AsyncIterator[Batch]) -> Batch | None:
    return await anext(batches, None)


def _rejections(letter: DeadLetter) -> list[Rejected]:
    """What the gun is told of a message that was refused, if the topic says which gun."""
    try:
        device = parse_topic(letter.topic).id
    except DecodeError:
        return []
    start = letter.payload[:REJECTED_PAYLOAD_BYTES]
    return [Rejected(device, letter.received_at_ns, letter.topic, letter.reason, start)]


def news(counters: Counters) -> dict[str, int]:
    return {
        "frames": counters.frames,
        "rejected": sum(counters.rejected.values()),
        "missing": counters.frames_missing,
    }
