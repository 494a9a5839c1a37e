"""The running pipeline: broker → monitor → store and broker, on one event loop with the only clock.

`Pipeline.run` is all of it. Batches go through the monitor as they come; alarms and live values go
out at once; about once a second one transaction stores the records with the monitor's snapshot, and
only then may the broker forget the messages. So a `kill -9` at any instant costs nothing: what was
not stored comes again. While the store accepts nothing, what waits here is bounded by the broker's
window of unacknowledged messages. Decides nothing about guns.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Final, Protocol
from urllib.parse import urlsplit

import structlog

from pipeline.config import Settings
from pipeline.features import Calibration, FeatureExtractor, warm_up
from pipeline.model import (
    Alarm,
    Counters,
    DeadLetter,
    DeviceId,
    DeviceStatus,
    Live,
    Record,
    Rejected,
)
from pipeline.monitor import ModelFacts, Monitor, MonitorSettings, SnapshotError
from pipeline.mqtt import Credentials, MqttProtocol
from pipeline.publish import Publisher
from pipeline.sources import Batch, MqttSource, Position
from pipeline.store import AlarmFilter, Retention, Store, StoreReader, StoreWriteError
from pipeline.wire import REJECTED_PAYLOAD_BYTES, DecodeError, parse_topic

CHECKPOINT_S: Final = 1.0  # design.md, "Checkpoint"
LIVE_S: Final = 0.25  # contract, "live": at most 4 a second
# The rest are engineering choices. Where no message comes, time passes by the clock, and late by as
# much, so that no message that is here and not yet fed is older.
TICK_S: Final = 1.0
TICK_LATE_NS: Final = 1_000_000_000
# A broker whose window is full sends nothing until something is acknowledged, and Mosquitto's is 20
# messages unless it is told otherwise: so many uncommitted and then silence mean a checkpoint now.
STALLED_MESSAGES: Final = 16
STALLED_S: Final = 0.1
RETIRE_S: Final = 60.0
RETIRE_BUSY_S: Final = 1.0  # while rows are being retired: this outruns a large fleet (retention)
NEWS_S: Final = 60.0
# Alarms said again after a restart: a crash may have come between storing and sending them.
RESAID_ALARMS: Final = 1_000

_log = structlog.get_logger("myoguard")


@dataclass(frozen=True, slots=True)
class KnownGuns:
    """What is known of guns before they say anything: of units by device, of models by name."""

    calibrations: Mapping[DeviceId, Calibration] = field(default_factory=dict)
    priors: Mapping[str, Calibration] = field(default_factory=dict)
    models: Mapping[str, ModelFacts] = field(default_factory=dict)


class Listener(Protocol):
    """Whom the pipeline tells what it sees, beside broker and store; the page's board is one.

    Called on the event loop: every answer must be quick, and none may fail.
    """

    def put(self, live: Live) -> None:
        """A clinic's newest values."""

    def alarm(self, alarm: Alarm) -> None:
        """An alarm has changed."""

    def status(self, status: DeviceStatus) -> None:
        """A gun came, went, or changed what it says of itself."""


def make_monitor(settings: Settings, guns: KnownGuns) -> Monitor:
    """A monitor that has seen nothing yet; live and replayed messages go through the same."""
    return Monitor(
        MonitorSettings(
            sites=settings.site_table,
            config_version=settings.config_version,
            models=guns.models,
            devices_max=settings.monitor.devices_max,
        ),
        FeatureExtractor(guns.calibrations, guns.priors, settings.monitor.reorder_window_s),
    )


def credentials(settings: Settings) -> Credentials:
    """How the settings say to identify to the broker."""
    broker = settings.broker
    password = broker.password.get_secret_value() if broker.password is not None else None
    return Credentials(broker.username, password, broker.ca_file, broker.cert_file, broker.key_file)


def broker_address(settings: Settings) -> str:
    """The broker without the user whom its URL may name."""
    return urlsplit(settings.broker.url).netloc.rpartition("@")[2]


class _Timer:
    """Says once in so many seconds that it is time; at first, at once."""

    def __init__(self, every_s: float) -> None:
        self.every_s = every_s
        self._due_s = 0.0

    def is_due(self, now_s: float) -> bool:
        if now_s < self._due_s:
            return False
        self._due_s = now_s + self.every_s
        return True


class Pipeline:
    """One pipeline on one broker and one store. It runs once."""

    def __init__(
        self,
        settings: Settings,
        guns: KnownGuns,
        *,
        listeners: Iterable[Listener] = (),
        ready: Callable[[str | None], None] = lambda _page_url: None,
    ) -> None:
        """`ready` hears the page's address, if there is one, when nothing is missed any more."""
        self._settings = settings
        self._guns = guns
        self._listeners = list(listeners)
        self._ready = ready
        self._monitor = make_monitor(settings, guns)

    @property
    def counters(self) -> Counters:
        """What became of every message since the store began."""
        return self._monitor.counters

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until `stop` is set; then store and acknowledge what is in hand.

        Raises BrokerError, StoreError or PageError, one sentence for the user, when it cannot
        begin. Later, an outage of the broker or of the store is waited out.
        """
        await asyncio.to_thread(warm_up)
        async with AsyncExitStack() as opened:
            store = opened.enter_context(Store.open(self._settings.store.directory))
            restored = self._restore(store)
            publisher = await opened.enter_async_context(self._make_publisher())
            publisher.offer(self._said_before())
            page_url = await self._serve_page(opened) if self._settings.page.enabled else None
            if restored:
                await _sleep(self._settings.broker.redelivery_s, stop)
                self._monitor.resume(time.time_ns())
            source = await opened.enter_async_context(self._make_source())
            keeper = _Keeper(store, source, self._monitor, _retention(self._settings))
            flow = _Flow(self._settings, self._monitor, source, publisher, keeper, self._listeners)
            _log.info("watching", broker=broker_address(self._settings), page=page_url)
            self._ready(page_url)
            try:
                await flow.run(stop)
            finally:
                await keeper.finish()
                _log.info("stopped", **_news(self.counters))

    def _restore(self, store: Store) -> bool:
        """Go on from the last checkpoint, if there is one; where it cannot be read, begin anew."""
        snapshot = store.load_snapshot()
        if snapshot is None:
            return False
        try:
            self._monitor.restore(snapshot)
        except SnapshotError as error:
            self._monitor = make_monitor(self._settings, self._guns)
            _log.warning("began anew; what is stored is kept", reason=str(error))
        else:
            _log.info("goes on from the last checkpoint", guns=self._monitor.devices)
        return True

    def _said_before(self) -> list[Alarm]:
        """The alarms that stand and those that changed last, in the order of their changes."""
        if not self._settings.publish.alarms:
            return []
        with StoreReader.open(self._settings.store.directory) as reader:
            standing = reader.current_alarms()
            last = [said.alarm for said in reader.alarm_history(AlarmFilter(), RESAID_ALARMS)]
        return [*reversed(standing), *reversed(last)]

    async def _serve_page(self, opened: AsyncExitStack) -> str:
        """Serve the page for as long as `opened` is; its address. Raises PageError."""
        from pipeline.page import LiveBoard, listen, serve  # noqa: PLC0415  a second, and optional

        section, board, started = self._settings.page, LiveBoard(), asyncio.Event()
        listener = listen(section.host, section.port)
        host, port = listener.getsockname()[:2]
        serving = serve(
            board,
            self._settings.store.directory,
            section.host,
            port,
            started=started,
            sites=self._settings.site_table,
            listener=listener,
        )
        served = asyncio.create_task(serving, name="page")
        opened.push_async_callback(_cancel, served)
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait({served, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if served.done():
            served.result()
        served.add_done_callback(_page_ended)
        self._listeners.append(board)
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def _make_source(self) -> MqttSource:
        broker = self._settings.broker
        return MqttSource(
            broker.url,
            client_id=broker.client_id,
            credentials=credentials(self._settings),
            protocol=MqttProtocol(broker.protocol),
            redelivery_s=broker.redelivery_s,
        )

    def _make_publisher(self) -> Publisher:
        broker = self._settings.broker
        return Publisher(
            broker.url,
            client_id=f"{broker.client_id}-publisher",
            credentials=credentials(self._settings),
            protocol=MqttProtocol(broker.protocol),
            commands=self._settings.publish.commands,
        )


class _Flow:
    """The loop: what comes in goes through the monitor, and out to whom it concerns."""

    def __init__(
        self,
        settings: Settings,
        monitor: Monitor,
        source: MqttSource,
        publisher: Publisher,
        keeper: _Keeper,
        listeners: Sequence[Listener],
    ) -> None:
        self._settings = settings
        self._monitor = monitor
        self._source = source
        self._publisher = publisher
        self._keeper = keeper
        self._listeners = listeners
        self._live, self._tick, self._news = _Timer(LIVE_S), _Timer(TICK_S), _Timer(NEWS_S)
        self._news.is_due(time.monotonic())
        self._connected = True

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, or until the source ends."""
        batches = self._source.batches()
        stopping = asyncio.create_task(stop.wait())
        coming = asyncio.create_task(_next(batches))
        fed_s = time.monotonic()
        try:
            while not stop.is_set():
                await asyncio.wait(
                    {stopping, coming}, timeout=STALLED_S, return_when=asyncio.FIRST_COMPLETED
                )
                if coming.done():
                    batch = coming.result()
                    if batch is None:
                        return
                    coming = asyncio.create_task(_next(batches))
                    self._feed(batch)
                    fed_s = time.monotonic()
                self._keep_house(time.monotonic() - fed_s)
        finally:
            stopping.cancel()
            coming.cancel()
            await asyncio.wait({stopping, coming})

    def _feed(self, batch: Batch) -> None:
        """On the event loop: in a thread it was no faster, 9,600 frames in 0.9 s either way."""
        records = self._monitor.feed(batch.messages)
        self._keeper.took(batch)
        self._take(records)

    def _take(self, records: list[Record]) -> None:
        """Keep records for the checkpoint, and send at once what others wait for."""
        self._keeper.keep(records)
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
        if quiet_s >= TICK_S and self._tick.is_due(now_s):
            self._take(self._monitor.tick(time.time_ns() - TICK_LATE_NS))
        if self._live.is_due(now_s):
            self._send_live()
        self._keeper.keep_house(now_s, quiet_s)
        if self._news.is_due(now_s):
            _log.info("still watching", guns=self._monitor.devices, **_news(self._monitor.counters))
        self._tell_of_broker()

    def _send_live(self) -> None:
        for live in self._monitor.live():
            if self._settings.publish.live:
                self._publisher.offer([live])
            for listener in self._listeners:
                listener.put(live)

    def _tell_of_broker(self) -> None:
        status = self._source.status
        if status.connected is not self._connected:
            self._connected = status.connected
            if status.connected:
                _log.info("found the broker again", reconnects=status.reconnects)
            else:
                _log.warning("lost the broker", reason=status.last_error)


class _Keeper:
    """Everything that must survive: checkpoints, what they allow to be forgotten, retention."""

    def __init__(
        self, store: Store, source: MqttSource, monitor: Monitor, retention: Retention
    ) -> None:
        self._store = store
        self._source = source
        self._monitor = monitor
        self._retention = retention
        self._records: list[Record] = []  # bounded by the broker's window, as nothing is committed
        self._position: Position | None = None  # of the last batch taken
        self._uncommitted = 0
        self._due = _Timer(CHECKPOINT_S)
        self._retire_due = _Timer(RETIRE_S)
        self._working: asyncio.Task[None] | None = None
        self._failing = False

    def took(self, batch: Batch) -> None:
        self._position = batch.position
        self._uncommitted += len(batch.messages)

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
        if self._due.is_due(now_s) or (stalled and not self._failing):
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
            if not self._failing:
                _log.error("nothing is stored, and the broker keeps it all", reason=str(error))
            self._failing = True
        else:
            if self._failing:
                _log.info("stored again")
            self._failing = False

    async def _checkpoint(self) -> None:
        """Store what has gathered; let the broker forget it. StoreWriteError: nothing happened."""
        records, self._records = self._records, []
        position, uncommitted = self._position, self._uncommitted
        snapshot, counters = self._monitor.snapshot(), deepcopy(self._monitor.counters)
        try:
            await asyncio.to_thread(self._store.checkpoint, records, snapshot, counters)
        except StoreWriteError:
            self._records[:0] = records
            raise
        self._uncommitted -= uncommitted
        if position is not None:
            await self._source.commit(position)

    async def _retire(self, now_s: float) -> None:
        """Delete what is too old or too much, a bounded piece at a time."""
        if self._retire_due.is_due(now_s):
            retired = await asyncio.to_thread(self._store.retire, self._retention, time.time_ns())
            self._retire_due.every_s = RETIRE_BUSY_S if retired.total else RETIRE_S


async def _sleep(seconds: float, stop: asyncio.Event) -> None:
    """As long, or until `stop`."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


def _page_ended(served: asyncio.Task[None]) -> None:
    """The page is a convenience: without it, the guns are watched all the same."""
    if not served.cancelled():
        _log.error("the page is no longer served", reason=repr(served.exception()))


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


def _retention(settings: Settings) -> Retention:
    store = settings.store
    return Retention(
        store.size_bytes_max, store.features_days, store.rollups_days, store.records_days
    )


def _news(counters: Counters) -> dict[str, int]:
    return {
        "frames": counters.frames,
        "rejected": sum(counters.rejected.values()),
        "missing": counters.frames_missing,
    }
