"""The captures on the disk: their names, what is merged into one, and how much they may take.

A name follows from the alarm alone, so that a replay or a restart gives the same one. A file
appears whole under its name or not at all (RecordingWriter: fsync, then rename), readable by its
owner alone. When all of them together are too much, the oldest go first.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from pipeline.capture.recording import (
    PART_SUFFIX,
    RecordingError,
    RecordingWriter,
    read_recording,
)
from pipeline.model import Alarm, Priority, Received, Record

SUFFIX: Final = ".parquet"
NAME = re.compile(r"[A-Za-z0-9_-]{1,200}")
# Deleting goes a little below the limit, so that not every file more has to look at all of them.
FULL_SHARE: Final = 0.95  # engineering choice
CAPTURED: Final = frozenset({Priority.MEDIUM, Priority.HIGH})  # issue 7, "Black box"


def capture_name(alarm: Alarm) -> str | None:
    """What the capture of an alarm's occurrence is called; None for one that has none.

    An occurrence that becomes more urgent has a second one, of that moment.
    """
    if alarm.priority not in CAPTURED:
        return None
    return f"{alarm.alarm_id}-{alarm.count}-{alarm.priority}"


def name_captures(records: Iterable[Record]) -> list[Record]:
    """The same records, every alarm with the name of its capture."""
    return [
        replace(record, capture=capture_name(record)) if isinstance(record, Alarm) else record
        for record in records
    ]


class CaptureFolder:
    """A directory of recordings with a limit on all of them. One thread writes, any may read."""

    def __init__(self, directory: Path, bytes_max: int) -> None:
        self.directory = directory
        self.bytes_max = bytes_max
        self.deleted = 0
        self.bytes = 0  # of all files, once somebody has looked (`clean`)
        self._writing = threading.Lock()

    def find(self, name: str) -> Path | None:
        """Where the capture of that name is; None where there is none, or none any more."""
        if not NAME.fullmatch(name):
            return None
        path = self.directory / f"{name}{SUFFIX}"
        return path if path.is_file() else None

    def merge(self, path: Path, messages: Sequence[Received]) -> None:
        """Write a file below the directory, with what there is of it already.

        Raises RecordingError or OSError.
        """
        with self._writing:
            before = path.stat().st_size if path.is_file() else 0
            known = readable(path) if before else []
            write(path, _merged([*known, *messages]))
            self._make_room(path.stat().st_size - before)

    def clean(self) -> None:
        """Delete what a crash has cut short, and count the rest; before anything is written."""
        for part in self.directory.rglob(f"*{SUFFIX}{PART_SUFFIX}"):
            part.unlink(missing_ok=True)
        self.bytes = sum(size for _, size, _ in self._files())

    def _make_room(self, more_bytes: int) -> None:
        self.bytes += more_bytes
        if self.bytes <= self.bytes_max:
            return
        files = sorted(self._files())
        self.bytes = sum(size for _, size, _ in files)
        for _, size, path in files[:-1]:  # the newest stays, whatever its size
            if self.bytes <= self.bytes_max * FULL_SHARE:
                break
            path.unlink(missing_ok=True)
            self.bytes -= size
            self.deleted += 1

    def _files(self) -> list[tuple[int, int, Path]]:
        """Every file with its age and size."""
        found = []
        for path in self.directory.rglob(f"*{SUFFIX}"):
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            found.append((stat.st_mtime_ns, stat.st_size, path))
        return found


def write(path: Path, messages: Iterable[Received]) -> None:
    """Replace a file by one of these messages. Raises RecordingError or OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with RecordingWriter(path, replace=True) as writer:
        for message in messages:
            writer.append(message)


def _merged(messages: Iterable[Received]) -> list[Received]:
    """In order of arrival, what was delivered twice once."""
    first: dict[tuple[str, bytes], Received] = {}
    for message in messages:
        first.setdefault((message.topic, message.payload), message)
    return sorted(first.values(), key=lambda each: each.received_at_ns)


def readable(path: Path) -> list[Received]:
    """What a file holds; nothing if there is none or it is damaged, as it is to be replaced."""
    try:
        return list(read_recording(path))
    except RecordingError:
        return []
