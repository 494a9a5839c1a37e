"""The black box as an edge: a tap on all that goes through, and what it says when it suffers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Final

import structlog

from pipeline.app.desk import Desk
from pipeline.app.links import credentials
from pipeline.app.timer import Timer
from pipeline.capture import BlackBox, BlackBoxStatus, CaptureFolder, CaptureWriter, SessionLog
from pipeline.config import Settings
from pipeline.model import Received, Record
from pipeline.store import AlarmFilter, StoreReader

if TYPE_CHECKING:
    from pipeline.sources.log_past import LogPast

LOOK_S: Final = 10.0  # how often its troubles are looked for; engineering choice
LAST_ALARMS: Final = 1_000  # engineering choice: five each of 200 guns in two minutes
GB: Final = 10**9
MB: Final = 10**6

_log = structlog.get_logger("myoguard")


@asynccontextmanager
async def black_box(desk: Desk) -> AsyncIterator[None]:
    """Capture for as long as the pipeline runs; then write what is open."""
    writer = CaptureWriter()
    try:
        async with _past(desk.settings) as past:
            box = make_black_box(desk.settings, writer, past)
            _resume(box, desk)
            desk.taps.append(_BlackBoxTap(box, past))
            desk.black_box = box
            try:
                yield
            finally:
                box.close()
    finally:
        await asyncio.to_thread(writer.close)


def _past(settings: Settings) -> AbstractAsyncContextManager[LogPast | None]:
    """The broker's log as what the black box reads from, where there is one."""
    url, client_id = settings.broker.nats_url, settings.broker.client_id
    if url is None:
        return nullcontext()
    from pipeline.sources.log_past import LogPast  # noqa: PLC0415  0.6 s, only for a log

    return LogPast(url, client_id=client_id, credentials=credentials(settings))


def make_black_box(
    settings: Settings, writer: CaptureWriter, past: LogPast | None = None
) -> BlackBox:
    section, directory = settings.capture, settings.capture_directory
    sessions = None
    if section.sessions:
        folder = CaptureFolder(directory / "sessions", round(section.sessions_size_max_gb * GB))
        sessions = SessionLog(folder, writer)
    return BlackBox(
        CaptureFolder(directory / "alarms", round(section.size_max_gb * GB)),
        round(section.memory_max_mb * MB),
        writer,
        sessions,
        captures_alarms=section.enabled,
        past=past,
        said=directory / "said.parquet",
    )


def _resume(box: BlackBox, desk: Desk) -> None:
    """Tell it of the alarms that are stored: a kill may have come before what they captured."""
    with StoreReader.open(desk.settings.store.directory) as reader:
        last = [each.alarm for each in reader.alarm_history(AlarmFilter(), LAST_ALARMS)]
        newest_ns = {
            gun.id: gun.latest.last.t_ns for gun in reader.guns() if gun.latest is not None
        }
        box.resume([*reversed(last), *reader.current_alarms()], newest_ns, desk.monitor.now_ns)


class _BlackBoxTap:
    def __init__(self, box: BlackBox, past: LogPast | None) -> None:
        self._box = box
        self._past = past
        self._look = Timer(LOOK_S)
        self._before = box.status

    def took(self, messages: Sequence[Received], records: Sequence[Record]) -> None:
        now_ns = messages[-1].received_at_ns if messages else time.time_ns()
        if self._past is not None and messages:
            self._past.passed(now_ns)
        self._box.took(messages, records, now_ns)
        if self._look.is_due(time.monotonic()):
            before, self._before = self._before, self._box.status
            _tell(before, self._before)


def _tell(before: BlackBoxStatus, now: BlackBoxStatus) -> None:
    """What became worse since the last look."""
    if now.failed > before.failed:
        _log.error("captures could not be written", reason=now.last_error, failed=now.failed)
    if now.dropped > before.dropped:
        _log.warning("captures were given up: the disk is too slow", dropped=now.dropped)
    if now.shortened > before.shortened:
        _log.warning(
            "captures begin less than 20 s before an alarm: raise capture.memory_max_mb",
            frames=now.shortened - before.shortened,
        )
