"""A pipeline from its parts: what is opened, in which order, and closed again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Final

import structlog

from pipeline.app import capturing, draining, metrics, serving
from pipeline.app.desk import Desk, Edge, Listener
from pipeline.app.flow import Flow, news
from pipeline.app.guns import KnownGuns, make_monitor
from pipeline.app.keeper import Keeper
from pipeline.app.latency import Latency
from pipeline.app.links import address_of, make_publisher, make_source
from pipeline.config import Settings
from pipeline.exposure import OPERATORS_MAX
from pipeline.features import warm_up
from pipeline.influx import encode
from pipeline.model import Alarm, Counters, Record
from pipeline.monitor import SnapshotError
from pipeline.store import AlarmFilter, ExposureFilter, Retention, Store, StoreReader

# Alarms said again after a restart: a crash may have come between storing and sending them.
# Engineering choice.
RESAID_ALARMS: Final = 1_000

_log = structlog.get_logger("myoguard")


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
        self._taken_over: list[Record] | None = None  # by a monitor that had to begin anew

    @property
    def counters(self) -> Counters:
        """What became of every message since the store began."""
        return self._monitor.counters

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until `stop` is set; then store and acknowledge what is in hand.

        Raises StoreError or PageError, or BrokerError for an address that is none: one sentence for
        the user. A broker that is not there, at the start or later, is waited for, and so is a
        store that accepts nothing.
        """
        await asyncio.to_thread(warm_up)
        async with AsyncExitStack() as opened:
            store = opened.enter_context(_open_store(self._settings))
            restored = self._restore(store)
            latency = Latency()
            publisher = await opened.enter_async_context(
                make_publisher(self._settings, partial(latency.observe, "publish"))
            )
            publisher.offer(self._said_before())
            desk = Desk(
                self._settings,
                store,
                self._monitor,
                make_source(self._settings, retained_again=self._taken_over is not None),
                publisher,
                self._guns,
                list(self._listeners),
                latency=latency,
            )
            for edge in _edges(self._settings):
                await opened.enter_async_context(edge(desk))
            if restored and not desk.source.keeps_arrival_times:
                await _sleep(self._settings.broker.redelivery_s, stop)
                self._monitor.resume(time.time_ns())
            await opened.enter_async_context(desk.source)
            await self._watch(desk, stop)

    async def _watch(self, desk: Desk, stop: asyncio.Event) -> None:
        keeper = Keeper(
            desk.store,
            desk.source,
            desk.monitor,
            _retention(self._settings),
            desk.latency,
            again_s=self._settings.broker.redelivery_s,
        )
        desk.keeper = keeper

        def say_watching() -> None:
            _log.info(
                "watching",
                broker=address_of(self._settings.broker.url),
                page=desk.page_url,
                metrics=desk.metrics_url,
            )
            self._ready(desk.page_url)

        try:
            flow = Flow(desk, keeper, say_watching)
            flow.begin_with(self._taken_over or [])
            await flow.run(stop)
        finally:
            await keeper.finish()
            _log.info("stopped", **news(self.counters))

    def _restore(self, store: Store) -> bool:
        """Go on from the last checkpoint, if there is one, or from records if it cannot be read."""
        snapshot = store.load_snapshot()
        if snapshot is None:
            return False
        try:
            self._monitor.restore(snapshot)
        except SnapshotError as error:
            self._begin_anew()
            _log.warning("began anew; what is stored is kept", reason=str(error))
        else:
            _log.info("goes on from the last checkpoint", guns=self._monitor.devices)
        return True

    def _begin_anew(self) -> None:
        self._monitor = make_monitor(self._settings, self._guns)
        with StoreReader.open(self._settings.store.directory) as reader:
            self._taken_over = self._monitor.take_over(
                reader.counters() or Counters(),
                reversed(reader.exposures(ExposureFilter(), OPERATORS_MAX)),
                reader.current_alarms(),
            )

    def _said_before(self) -> list[Alarm]:
        """The alarms that stand and those that changed last, in the order of their changes."""
        if not self._settings.publish.alarms:
            return []
        with StoreReader.open(self._settings.store.directory) as reader:
            standing = reader.current_alarms()
            last = [said.alarm for said in reader.alarm_history(AlarmFilter(), RESAID_ALARMS)]
        return [*reversed(standing), *reversed(last)]


def _edges(settings: Settings) -> list[Edge]:
    """What runs beside the loop, in the order in which it begins; the last to begin ends first."""
    edges: list[Edge] = []
    if settings.capture.enabled or settings.capture.sessions:
        edges.append(capturing.black_box)
    if settings.influx.url is not None:
        edges.append(draining.influx)
    if settings.metrics.enabled:
        edges.append(metrics.metrics)
    if settings.page.enabled:
        edges.append(serving.page)
    return edges


async def _sleep(seconds: float, stop: asyncio.Event) -> None:
    """As long, or until `stop`."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


def _open_store(settings: Settings) -> Store:
    encoding = encode if settings.influx.url is not None else None
    return Store.open(settings.store.directory, encode=encoding)


def _retention(settings: Settings) -> Retention:
    store = settings.store
    return Retention(
        store.size_bytes_max,
        store.features_days,
        store.rollups_days,
        store.records_days,
        settings.influx.spool_bytes_max,
    )
