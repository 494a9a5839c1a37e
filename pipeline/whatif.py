"""What if the limits were others: recordings judged twice, and which alarms are gained and lost.

Each log (a capture, or the pieces of one session) goes through two fresh monitors, one with the
limits in force and one with those that are tried, in one pass; nothing else differs. An occurrence
of an alarm in one counts as the same in the other when gun, rule and session are the same and they
overlap in time: a lower limit raises earlier, and that is no new alarm. `run_apart` does it in a
process of its own, so that it can neither slow the live pipeline down nor outlive its time. May
import `capture`, `monitor` and inward.
"""

from __future__ import annotations

import copyreg
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from pipeline.capture import RecordingError, read_recording
from pipeline.features import Calibration, FeatureExtractor, warm_up
from pipeline.model import Alarm, AlarmState, DeviceId, Priority, Record
from pipeline.monitor import ModelFacts, Monitor, MonitorSettings
from pipeline.sites import SiteTable

BATCH_MESSAGES: Final = 512
# Ten minutes of one core judge some 25 h of one gun twice. Engineering choices, all three.
DURATION_S_MAX: Final = 600.0
LOGS_MAX: Final = 500
LISTED_MAX: Final = 200  # alarms that are named; the others are counted
NICENESS: Final = 15  # behind the live pipeline, whatever else the machine does
STANDING: Final = (AlarmState.ACTIVE_UNACK, AlarmState.ACTIVE_ACK, AlarmState.UNKNOWN)


# The tables of sites and models are read-only views, which pickle does not know.
def _view(entries: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(entries)


copyreg.pickle(MappingProxyType, lambda view: (_view, (dict(view),)))

Progress = Callable[[int, int], None]


class WhatIfError(Exception):
    """It could not be tried: one sentence for people."""


@dataclass(frozen=True, slots=True)
class Judge:
    """How messages are judged, but for the limits; picklable, for the other process."""

    calibrations: Mapping[DeviceId, Calibration] = field(default_factory=dict)
    priors: Mapping[str, Calibration] = field(default_factory=dict)
    models: Mapping[str, ModelFacts] = field(default_factory=dict)
    reorder_window_s: float = 0.5

    def monitor(self, sites: SiteTable) -> Monitor:
        extractor = FeatureExtractor(self.calibrations, self.priors, self.reorder_window_s)
        return Monitor(MonitorSettings(sites=sites, models=self.models), extractor)


@dataclass(frozen=True, slots=True)
class Trial:
    """What is tried: `logs` are recordings, each of one or several files in order."""

    judge: Judge
    now: SiteTable
    tried: SiteTable
    logs: tuple[tuple[Path, ...], ...]


@dataclass(slots=True)
class Occurrence:
    """An alarm from its raise to its return."""

    id: DeviceId
    rule: str
    priority: Priority
    session_id: str | None
    site: str
    from_ns: int
    to_ns: int
    peak: float | None
    setpoint: float | None
    unit: str


@dataclass(frozen=True, slots=True)
class RuleChange:
    """One rule's occurrences with the limits in force and with those that are tried."""

    rule: str
    now: int
    tried: int
    gained: int
    lost: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of it. `gained` and `lost` name LISTED_MAX each at most."""

    rules: tuple[RuleChange, ...]
    gained: tuple[Occurrence, ...]
    lost: tuple[Occurrence, ...]
    logs: int
    unreadable: int
    contact_s: float


class _Heard:
    """The occurrences in what one monitor says."""

    def __init__(self) -> None:
        self.found: list[Occurrence] = []
        self._open: dict[tuple[DeviceId, str, str | None], Occurrence] = {}

    def take(self, records: Sequence[Record]) -> None:
        for record in records:
            if isinstance(record, Alarm):
                self._take_alarm(record)

    def _take_alarm(self, alarm: Alarm) -> None:
        key = (alarm.id, alarm.rule, alarm.session_id)
        current = self._open.get(key)
        if alarm.state not in STANDING:
            if current is not None:
                current.to_ns = max(current.from_ns, alarm.changed_at_ns)
                current.peak = alarm.peak
                del self._open[key]
            return
        if current is None:
            current = self._open[key] = Occurrence(
                id=alarm.id,
                rule=alarm.rule,
                priority=alarm.priority,
                session_id=alarm.session_id,
                site=alarm.site,
                from_ns=alarm.raised_at_ns,
                to_ns=2**63 - 1,  # until it returns
                peak=alarm.peak,
                setpoint=alarm.setpoint,
                unit=alarm.unit,
            )
            self.found.append(current)
        current.peak, current.priority = alarm.peak, alarm.priority


def run(trial: Trial, progress: Progress = lambda _done, _all: None) -> Verdict:
    """Judge everything, here and now."""
    now, tried = _Heard(), _Heard()
    contact_s, unreadable = 0.0, 0
    logs = trial.logs[:LOGS_MAX]
    for done, log in enumerate(logs):
        progress(done, len(logs))
        try:
            contact_s += _judge(trial, log, now, tried)
        except RecordingError:
            unreadable += 1
    progress(len(logs), len(logs))
    return _verdict(_once(now.found), _once(tried.found), len(logs), unreadable, contact_s)


def _judge(trial: Trial, log: Sequence[Path], now: _Heard, tried: _Heard) -> float:
    """One log through both; seconds of contact."""
    monitors = ((trial.judge.monitor(trial.now), now), (trial.judge.monitor(trial.tried), tried))
    contact_s = 0.0
    rows = (row for file in log for row in read_recording(file))
    while batch := list(islice(rows, BATCH_MESSAGES)):
        for monitor, heard in monitors:
            records = monitor.feed(batch)
            heard.take(records)
            if heard is now:
                contact_s += 0.25 * sum(getattr(each, "contact", False) for each in records)
    for monitor, heard in monitors:
        heard.take(monitor.flush())
    return contact_s


def _once(found: Sequence[Occurrence]) -> list[Occurrence]:
    """Captures overlap where alarms come together: what stands in two of them is one."""
    by_raise = {(each.id, each.rule, each.session_id, each.from_ns): each for each in found}
    return list(by_raise.values())


def _verdict(
    now: Sequence[Occurrence],
    tried: Sequence[Occurrence],
    logs: int,
    unreadable: int,
    contact_s: float,
) -> Verdict:
    gained, lost = _unmatched(tried, now), _unmatched(now, tried)
    rules = sorted({each.rule for each in (*now, *tried)})
    return Verdict(
        rules=tuple(
            RuleChange(
                rule,
                sum(each.rule == rule for each in now),
                sum(each.rule == rule for each in tried),
                sum(each.rule == rule for each in gained),
                sum(each.rule == rule for each in lost),
            )
            for rule in rules
        ),
        gained=tuple(gained[:LISTED_MAX]),
        lost=tuple(lost[:LISTED_MAX]),
        logs=logs,
        unreadable=unreadable,
        contact_s=contact_s,
    )


def _unmatched(these: Sequence[Occurrence], those: Sequence[Occurrence]) -> list[Occurrence]:
    """Those of the first that overlap none of the second."""
    others: dict[tuple[DeviceId, str, str | None], list[Occurrence]] = {}
    for each in those:
        others.setdefault((each.id, each.rule, each.session_id), []).append(each)
    return [
        each
        for each in these
        if not any(
            other.from_ns <= each.to_ns and each.from_ns <= other.to_ns
            for other in others.get((each.id, each.rule, each.session_id), ())
        )
    ]


# In a process of its own.


def run_apart(
    trial: Trial, progress: Progress, stopped: Callable[[], bool] = lambda: False
) -> Verdict:
    """As `run`, in another process of low priority. Blocks; raises WhatIfError.

    `progress` is called here, and `stopped` asked several times a second.
    """
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe(duplex=False)
    worker = spawn.Process(target=_work, args=(trial, theirs), daemon=True, name="what-if")
    worker.start()
    theirs.close()
    try:
        for said in _heard(ours, stopped):
            if isinstance(said, Verdict):
                return said
            progress(*said)
        raise WhatIfError("The trial ended without a result: see the log of myoguard.")
    finally:
        worker.terminate()
        worker.join()
        ours.close()


def _heard(ours: Connection, stopped: Callable[[], bool]) -> Iterator[Verdict | tuple[int, int]]:
    until_s = time.monotonic() + DURATION_S_MAX
    while not stopped():
        if time.monotonic() > until_s:
            raise WhatIfError(
                f"The trial was ended after {DURATION_S_MAX / 60:.0f} minutes: choose less."
            )
        try:
            if ours.poll(0.2):
                yield ours.recv()
        except EOFError:
            return
    raise WhatIfError("The trial was stopped.")


def _work(trial: Trial, theirs: Connection) -> None:
    os.nice(NICENESS)
    warm_up()
    theirs.send(run(trial, lambda done, every: theirs.send((done, every))))
