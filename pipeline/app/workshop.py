"""The technician's back room: calibrations taken up at once, how things stand, a test alarm."""

from __future__ import annotations

import platform
import time
from collections import deque
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final

from pipeline.app.bench_fit import PICTURE, UNIT, FitError, fit_apart
from pipeline.app.desk import Desk
from pipeline.app.links import address_of
from pipeline.app.test_alarm import TestAlarm
from pipeline.calibration import CalibrationError, from_toml, install
from pipeline.config import Explained, explain
from pipeline.link import LinkStatus
from pipeline.model import DeviceId, Received, Record
from pipeline.page import Fact, Proposal, Step, WorkshopError

LAG_WINDOW_S: Final = 60.0
LAG_SAMPLES_MAX: Final = 4_096  # 50 batches a second for longer than the window
LAG_S_MAX: Final = 1.0  # README: "within about a second"; more is worth a word
SHOWN_LIBRARIES: Final = ("numpy", "numba", "aiomqtt", "nicegui", "pyarrow")


class Lag:
    """How long messages waited between their arrival and their judgement; a tap of the pipeline."""

    def __init__(self) -> None:
        self._waited: deque[tuple[float, float]] = deque(maxlen=LAG_SAMPLES_MAX)
        self.newest_ns: int | None = None

    def took(self, messages: Sequence[Received], _records: Sequence[Record]) -> None:
        if messages:
            waited_s = (time.time_ns() - messages[0].received_at_ns) / 1e9
            self._waited.append((time.monotonic(), waited_s))
            self.newest_ns = messages[-1].received_at_ns

    def worst_s(self) -> float:
        """Of the last minute."""
        since_s = time.monotonic() - LAG_WINDOW_S
        return max((waited for at_s, waited in self._waited if at_s >= since_s), default=0.0)


class PageWorkshop:
    """`pipeline.page.Workshop`, at one desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._began_ns = time.time_ns()
        self._lag = Lag()
        desk.taps.append(self._lag)

    @property
    def models(self) -> frozenset[str]:
        return frozenset(self._desk.guns.models)

    def configuration(self) -> Sequence[Explained]:
        return explain(self._desk.settings)

    # How things stand.

    def facts(self) -> Sequence[Fact]:
        return [*self._pipeline(), *self._broker(), *self._black_box(), *_versions()]

    def _pipeline(self) -> list[Fact]:
        counters, settings = self._desk.monitor.counters, self._desk.settings
        lag_s, newest_ns = self._lag.worst_s(), self._lag.newest_ns
        rejected = ", ".join(f"{n} {reason}" for reason, n in sorted(counters.rejected.items()))
        silence = "" if newest_ns else "Nothing has come yet: check that guns and broker are on."
        slow = "It does not keep up: see docs/reliability.md." if lag_s > LAG_S_MAX else ""
        return [
            Fact("Pipeline", "Runs since", _clock(self._began_ns)),
            Fact("Pipeline", "Configuration", settings.config_version),
            Fact("Pipeline", "Guns watched", str(self._desk.monitor.devices)),
            Fact("Pipeline", "Last message", _clock(newest_ns) if newest_ns else "never", silence),
            Fact("Pipeline", "Lag, worst of the last minute", f"{1_000 * lag_s:.0f} ms", slow),
            Fact("Pipeline", "Frames judged", f"{counters.frames_processed:,}"),
            Fact("Pipeline", "Frames missing", f"{counters.frames_missing:,}"),
            Fact(
                "Pipeline",
                "Duplicate, late",
                f"{counters.frames_duplicate:,}, {counters.frames_late:,}",
            ),
            Fact("Pipeline", "Refused messages", rejected or "none"),
        ]

    def _broker(self) -> list[Fact]:
        publisher = self._desk.publisher
        lost = publisher.counters
        dropped = lost.rejected_dropped + lost.commands_dropped + lost.actions_dropped
        return [
            Fact("Broker", "Address", address_of(self._desk.settings.broker.url)),
            _link("Reading", self._desk.source.status),
            _link("Publishing", publisher.status),
            Fact("Broker", "Waiting to be sent", f"{publisher.waiting:,}"),
            Fact("Broker", "Never sent", f"{dropped:,}" if dropped else "nothing"),
        ]

    def _black_box(self) -> list[Fact]:
        if self._desk.black_box is None:
            return [Fact("Black box", "Captures", "none are made: capture.enabled is off")]
        status, section = self._desk.black_box.status, self._desk.settings.capture
        disk = f"{status.disk_bytes / 1e6:,.1f} MB"
        memory = f"{status.ring_bytes / 1e6:,.1f} of {section.memory_max_mb:,.0f} MB"
        where = "from the broker's log" if status.reads_log else "from memory"
        lost = status.dropped + status.failed
        short = "Captures began late: raise capture.memory_max_mb." if status.shortened else ""
        full = "The oldest gave way: see capture.size_max_gb." if status.deleted else ""
        return [
            Fact("Black box", "Captures made", f"{status.captures:,}, {status.open:,} not over"),
            Fact("Black box", "Past of an alarm", where),
            Fact("Black box", "Frames in memory", memory),
            Fact("Black box", "Frames gone early", f"{status.shortened:,}", short),
            Fact("Black box", "On the disk", disk, full),
            Fact("Black box", "Pieces not written", f"{lost:,}", status.last_error or ""),
        ]

    # Calibration.

    async def fit(self, recording: Path, loadcell: Path, into: Path) -> Proposal:
        strokes_m = {model: prior.stroke_m for model, prior in self._desk.guns.priors.items()}
        try:
            summary = await fit_apart(recording, loadcell, strokes_m, into)
        except FitError as error:
            raise WorkshopError(str(error)) from None
        return Proposal(**summary, picture=(into / PICTURE).read_bytes())

    def accept(self, kept_in: Path, gun: DeviceId) -> Path:
        """Between two batches, as everything on the loop: a hop is judged by one calibration."""
        folder = self._desk.settings.calibration.directory
        try:
            text = (kept_in / UNIT).read_text(encoding="utf-8")
            calibration = from_toml(text, str(kept_in / UNIT))
            path = install(gun, text, folder, (kept_in / PICTURE).read_bytes())
        except (OSError, CalibrationError) as error:
            raise WorkshopError(
                f"It cannot be written into {folder} ({error}): see calibration.directory"
            ) from None
        self._desk.monitor.calibrate(gun, calibration)
        self._desk.guns.calibrations[gun] = calibration  # what-if judges by it too
        return path

    # A test.

    async def test_alarm(self, clinic: str, by: str) -> Sequence[Step]:
        return await TestAlarm(self._desk, clinic, by).run()


def _link(name: str, status: LinkStatus) -> Fact:
    again = f", reconnected {status.reconnects}×" if status.reconnects else ""
    if status.connected:
        return Fact("Broker", name, f"connected since {_clock(status.since_ns)}{again}")
    remark = f"{status.last_error or 'not connected'}. It is tried again and again."
    return Fact("Broker", name, f"not connected since {_clock(status.since_ns)}", remark)


def _versions() -> list[Fact]:
    shown = {"MyoGuard": version("myoguard"), "Python": platform.python_version()}
    shown |= {name: version(name) for name in SHOWN_LIBRARIES}
    shown["System"] = platform.platform(terse=True)
    return [Fact("Versions", name, value) for name, value in shown.items()]


def _clock(t_ns: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(t_ns / 1e9))
