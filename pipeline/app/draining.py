"""InfluxDB as an edge: the spool is drained beside the loop, and the pipeline tells of itself.

Nothing here holds up a gun. What cannot be sent waits in the store; that it waits is an alarm
(`Health`), a notice on the page, and in the log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from copy import deepcopy
from datetime import datetime
from typing import Final

import structlog

from pipeline.app.desk import Desk
from pipeline.config import Settings
from pipeline.influx import Address, Drain, DrainState, DrainStatus, Server
from pipeline.model import PipelineStatus, Received, Record
from pipeline.store import SpoolKind, StoreError, StoreReader, StoreSize

LOOK_S: Final = 1.0  # how often the drain is asked how it goes
TELL_S: Final = 10.0  # docs/data-model.md, "pipeline"
LAST_S: Final = 5.0  # engineering choice: at the end, for what the last checkpoint brought
SHORT_LIVED: Final = frozenset({SpoolKind.SECOND, SpoolKind.PIPELINE})

_log = structlog.get_logger("myoguard")


def databases(settings: Settings) -> dict[SpoolKind, str]:
    """Where each kind of line belongs."""
    short = settings.influx.bucket
    long = settings.influx.bucket_long or short
    return {kind: short if kind in SHORT_LIVED else long for kind in SpoolKind}


def address(settings: Settings) -> Address:
    """Where InfluxDB is, and how the settings say to identify to it."""
    section = settings.influx
    return Address(
        url=section.url or "",
        org=section.org,
        token=section.token.get_secret_value() if section.token else None,
        username=section.username,
        password=section.password.get_secret_value() if section.password else None,
        ca_file=section.ca_file,
        gzip=section.gzip,
        timeout_s=section.timeout_s,
    )


@asynccontextmanager
async def influx(desk: Desk) -> AsyncIterator[None]:
    """Drain for as long as the pipeline runs, and a little longer for what it stored last."""
    drain = desk.drain = Drain(desk.store, Server(address(desk.settings)), databases(desk.settings))
    desk.taps.append(lag := _Lag())
    stop = asyncio.Event()
    draining = asyncio.create_task(drain.run(stop), name="influx")
    draining.add_done_callback(_drain_ended)
    watching = asyncio.create_task(_watch(desk, drain, lag, stop), name="influx watch")
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait({watching, draining})
        await asyncio.to_thread(_finish, drain)


def _finish(drain: Drain) -> None:
    """Send what is left while the server takes it; else it waits for the next start."""
    end_s = time.monotonic() + LAST_S
    while time.monotonic() < end_s and drain.turn() == 0.0:
        pass


def _drain_ended(draining: asyncio.Task[None]) -> None:
    if not draining.cancelled() and draining.exception() is not None:
        _log.error("InfluxDB is no longer written to", reason=repr(draining.exception()))


class _Lag:
    """A tap that knows how long messages waited for their records, at worst."""

    def __init__(self) -> None:
        self._worst_s = float("nan")

    def took(self, messages: Sequence[Received], records: Sequence[Record]) -> None:
        del records
        if messages:
            waited_s = (time.time_ns() - messages[0].received_at_ns) / 1e9
            self._worst_s = max(waited_s, self._worst_s)

    def take_s(self) -> float:
        """Since this was last asked; nan where nothing came."""
        worst_s, self._worst_s = self._worst_s, float("nan")
        return worst_s


async def _watch(desk: Desk, drain: Drain, lag: _Lag, stop: asyncio.Event) -> None:
    """Health and notice every second; what InfluxDB is told of the pipeline, every ten.

    Ends by `stop`, for a thread that is asking the store cannot be cancelled: closed under it,
    SQLite ends the process.
    """
    tell_at_s = 0.0
    with StoreReader.open(desk.settings.store.directory) as reader:
        while not stop.is_set():
            try:
                size = await asyncio.to_thread(reader.size)
                _judge(desk, drain.status, size)
                if time.monotonic() >= tell_at_s:
                    tell_at_s = time.monotonic() + TELL_S
                    status = _status(desk, size, lag.take_s())
                    await asyncio.to_thread(desk.store.spool_status, status)
            except StoreError:
                pass  # whoever stores the records says so
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await stop.wait()


def _judge(desk: Desk, status: DrainStatus, size: StoreSize) -> None:
    since_ns = status.failing_since_ns
    failing_s = (time.time_ns() - since_ns) / 1e9 if since_ns is not None else 0.0
    share = size.spool_bytes / desk.settings.influx.spool_bytes_max
    desk.health = desk.health._replace(store_failing_s=max(failing_s, 0.0), spool_share=share)
    desk.notice = notice(status, size)


def notice(status: DrainStatus, size: StoreSize) -> str | None:
    """What people are told while InfluxDB takes nothing; None while all is well."""
    if status.state is DrainState.FLOWING or status.failing_since_ns is None:
        return None
    since = datetime.fromtimestamp(status.failing_since_ns / 1e9).astimezone()
    return (
        f"InfluxDB takes nothing since {since:%H:%M:%S} ({status.reason}); "
        f"{size.spooled:,} points wait, and nothing is lost"
    )


def _status(desk: Desk, size: StoreSize, lag_s: float) -> PipelineStatus:
    return PipelineStatus(
        pipeline=desk.settings.broker.client_id,
        t_ns=time.time_ns(),
        guns=desk.monitor.devices,
        counters=deepcopy(desk.monitor.counters),
        lag_s=lag_s,
        store_bytes=size.used_bytes,
        spool_records=size.spooled,
        spool_bytes=size.spool_bytes,
        spool_dropped=size.spool_dropped,
        influx_refused=size.influx_refused,
    )
