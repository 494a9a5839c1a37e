"""A log of messages through a fresh monitor, and what becomes of the records.

No clock, no sleeping, no asyncio. A sink takes records as they come, so memory does not grow with
the recording.
"""

from __future__ import annotations

import heapq
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from pipeline.app import make_monitor
from pipeline.capture import count_messages, read_recording
from pipeline.cli.gun_models import known_guns
from pipeline.cli.terminal import CommandError, quantity
from pipeline.config import Settings
from pipeline.model import Alarm, AlarmState, Counters, Features, Received, Record
from pipeline.wire import DecodeError, encode, parse_topic

# Engineering choices. The same messages give the same records in any batches, so their size is a
# matter of speed and memory alone; a row group of features is 17 minutes of one gun.
BATCH_MESSAGES = 512
ROW_GROUP_HOPS = 4_096
DEVICES_NAMED = 12  # of those a recording holds, in an error


class Sink(Protocol):
    """Takes records as they come."""

    def take(self, records: Iterable[Record]) -> None: ...


def with_calibrations(settings: Settings, directory: Path | None) -> Settings:
    """The settings with another directory of calibrations, if one is given."""
    if directory is None:
        return settings
    if not directory.is_dir():
        raise CommandError(
            f"There is no directory {directory}: give one that `myoguard calibrate` wrote into"
        )
    section = settings.calibration.model_copy(update={"directory": directory})
    return settings.model_copy(update={"calibration": section})


def replay(
    settings: Settings, batches: Iterable[Sequence[Received]], sinks: Sequence[Sink]
) -> Counters:
    """Feed everything, release what is held back at the end, and count."""
    monitor = make_monitor(settings, known_guns(settings))

    def pass_on(records: list[Record]) -> None:
        for sink in sinks:
            sink.take(records)

    for batch in batches:
        pass_on(monitor.feed(batch))
    pass_on(monitor.flush())
    return monitor.counters


class Log:
    """Recordings as one log in order of arrival, of all guns or of one."""

    def __init__(self, files: Sequence[Path], device: str | None) -> None:
        """Raises RecordingError where a file is none."""
        self.count = sum(count_messages(file) for file in files)
        self._files = files
        self._device = device

    def batches(self, shown: Callable[[int], None]) -> Iterator[list[Received]]:
        """At most BATCH_MESSAGES each. Raises CommandError at the end if `device` never spoke."""
        log = heapq.merge(*map(read_recording, self._files), key=lambda row: row.received_at_ns)
        found: set[str] = set()
        done = 0
        while rows := list(islice(log, BATCH_MESSAGES)):
            yield self._chosen(rows, found) if self._device else rows
            done += len(rows)
            shown(done)
        if self._device and self._device not in found:
            named = ", ".join(sorted(found)[:DEVICES_NAMED]) or "none"
            raise CommandError(f"There is no gun {self._device} in the recording; it holds {named}")

    def _chosen(self, rows: Iterable[Received], found: set[str]) -> list[Received]:
        """The messages of the one gun; `found` learns of every gun there is."""
        chosen = []
        for row in rows:
            try:
                device = str(parse_topic(row.topic).id)
            except DecodeError:
                continue
            found.add(device)
            if device == self._device:
                chosen.append(row)
        return chosen


class AlarmLines:
    """Alarm transitions on stdout, a JSON object a line: the contract's payload and whose it is."""

    def take(self, records: Iterable[Record]) -> None:
        lines = [alarm_line(record) for record in records if isinstance(record, Alarm)]
        if lines:
            sys.stdout.write("\n".join(lines) + "\n")


def alarm_line(alarm: Alarm) -> str:
    """Keys sorted, so that equal alarms are equal bytes."""
    body = json.loads(encode(alarm)[1]) | alarm.id._asdict()
    return json.dumps(body, sort_keys=True)


# Features as a table.

_TEXTS = ("motor", "quality", "session_id", "operator", "site")
_FLAGS = ("contact", "calibrated", "clipped", "stuck")
_WHOLES = ("t_ns", "battery_mv")


def _column_type(name: str) -> pa.DataType:
    if name in _TEXTS:
        return pa.string()
    if name in _FLAGS:
        return pa.bool_()
    return pa.int64() if name in _WHOLES else pa.float64()


_VALUES = tuple(f.name for f in fields(Features) if f.name not in ("id", "t_ns"))
FEATURE_SCHEMA = pa.schema(
    [("t_ns", pa.int64()), ("clinic", pa.string()), ("device", pa.string())]
    + [(name, _column_type(name)) for name in _VALUES]
)


class FeatureTable:
    """Features as Parquet, a row a hop. The file is whole when the `with` ends without an error."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[tuple[object, ...]] = []
        try:
            self._writer = pq.ParquetWriter(path, FEATURE_SCHEMA, compression="zstd")
        except OSError as error:
            raise self._refused(error) from None

    def take(self, records: Iterable[Record]) -> None:
        self._rows += [
            (each.t_ns, *each.id, *(getattr(each, name) for name in _VALUES))
            for each in records
            if isinstance(each, Features)
        ]
        if len(self._rows) >= ROW_GROUP_HOPS:
            self._write()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._write()
        self._writer.close()
        if kind is not None:
            self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        if not self._rows:
            return
        columns = zip(*self._rows, strict=True)
        arrays = [pa.array(c, f.type) for c, f in zip(columns, FEATURE_SCHEMA, strict=True)]
        self._rows = []
        try:
            self._writer.write_table(pa.table(arrays, schema=FEATURE_SCHEMA))
        except OSError as error:
            raise self._refused(error) from None

    def _refused(self, error: OSError) -> CommandError:
        return CommandError(
            f"The features cannot be written to {self._path} ({error}): choose another place"
        )


# The summary.


@dataclass(slots=True)
class _Story:
    """What one rule said of one gun."""

    unit: str
    raised: int = 0
    cleared: int = 0
    peak: float | None = None
    last: AlarmState = AlarmState.CLEARED


@dataclass(slots=True)
class Summary:
    """Alarms by gun and rule, and how long each gun was in contact."""

    stories: dict[tuple[str, str], _Story] = field(default_factory=dict)
    _raises: set[tuple[str, int]] = field(default_factory=set)  # alarms and how often each rose
    hops: int = 0
    contact_hops: int = 0

    def take(self, records: Iterable[Record]) -> None:
        for record in records:
            if isinstance(record, Alarm):
                self._tell(record)
            elif isinstance(record, Features):
                self.hops += 1
                self.contact_hops += record.contact

    def _tell(self, alarm: Alarm) -> None:
        key = (str(alarm.id), alarm.rule)
        story = self.stories.setdefault(key, _Story(alarm.unit))
        if (alarm.alarm_id, alarm.count) not in self._raises:
            self._raises.add((alarm.alarm_id, alarm.count))
            story.raised += 1
        story.cleared += alarm.state is AlarmState.CLEARED
        if alarm.peak is not None:
            story.peak = max(story.peak or 0.0, alarm.peak)
        story.last = alarm.state

    def show(self, console: Console, counters: Counters) -> None:
        table = Table("gun", "rule", "raised", "cleared", "highest", "at the end", box=None)
        for (gun, rule), story in sorted(self.stories.items()):
            peak = "" if story.peak is None else quantity(story.peak, story.unit)
            table.add_row(gun, rule, str(story.raised), str(story.cleared), peak, story.last)
        console.print(table)
        console.print(
            f"{self.hops / 4:.0f} s of {_plural(len({gun for gun, _ in self.stories}), 'gun')}"
            f" with alarms, {self.contact_hops / 4:.0f} s in contact"
        )
        console.print(books(counters))


def books(counters: Counters) -> str:
    """What became of the frames, as an equation."""
    return (
        f"frames {counters.frames} = processed {counters.frames_processed}"
        f" + rejected {counters.frames_rejected} + duplicate {counters.frames_duplicate}"
        f" + late {counters.frames_late}; missing {counters.frames_missing}"
    )


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
