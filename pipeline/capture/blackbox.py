"""The black box: 20 s before to 10 s after each medium or high alarm, raw, on the disk.

`took` is told what the pipeline has just handled: messages, with the records they gave rise to. An
alarm that is raised is written at once with what came before it, and merged with the rest when its
10 s have passed. What a `kill -9` left open is opened again from the alarms that are stored
(`resume`). Where the broker has no log to read from again (`Past`), the ring holds the frames: a
capture that still needs what is about to leave the ring is written first. What guns and consoles
said last of themselves is kept in a file, so that captures after a restart begin with it too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Final, Protocol

from pipeline.capture.folder import SUFFIX, CaptureFolder, capture_name, readable
from pipeline.capture.ring import BEFORE_NS, HELD_NS, LATE_NS, NS_PER_S, Ring, led
from pipeline.capture.session_log import SessionLog
from pipeline.capture.writing import CaptureWriter
from pipeline.model import Alarm, AlarmState, DeviceId, Received, Record
from pipeline.wire import DecodeError, TopicKind, parse_topic, sample_time_ns

AFTER_NS: Final = 10 * NS_PER_S  # issue 7, "Black box"
# A gun that falls silent never reaches the end of its window: it is over so long after the alarm,
# by arrival. Engineering choice.
SILENT_NS: Final = AFTER_NS + 5 * NS_PER_S
NEVER_NS: Final = 2**63
SWEEP_NS: Final = NS_PER_S
# How much further back a log is read, by arrival: for frames that were held up. Engineering choice.
LOG_NS: Final = BEFORE_NS + 10 * NS_PER_S
# Captures of alarms from so long before a gun's newest stored sample are opened again after a
# restart: their 10 s, and what who had just caught up had yet to write. Engineering choice.
UNFINISHED_NS: Final = 120 * NS_PER_S
SHORT_NS: Final = 4 * NS_PER_S  # in memory beside a log: for the start of a session (session_log)
NAMES_KEPT: Final = 4_096  # of captures begun: an alarm each of twice the largest fleet


@dataclass(frozen=True, slots=True)
class BlackBoxStatus:
    """How the black box fares; all but `open` and the bytes count since the start."""

    captures: int  # alarms with a capture
    open: int  # of these, whose 10 s have not passed
    dropped: int  # pieces the disk was too slow for
    failed: int  # pieces the disk refused
    last_error: str | None
    ring_bytes: int
    shortened: int  # frames that left memory before their 20 s, for want of it
    deleted: int  # files deleted to stay below the limit
    disk_bytes: int  # of all captures, and of all sessions that are kept whole
    reads_log: bool  # whether the past is read from the broker's log


class Past(Protocol):
    """A log that gives back what guns said in the last minute (`sources.LogPast`)."""

    def fetch(
        self, id_: DeviceId, from_ns: int, to_ns: int, then: Callable[[list[Received]], None]
    ) -> None:
        """Hand a gun's frames that arrived in a span to `then`, on the event loop, in time."""


@dataclass(slots=True)
class _Open:
    name: str
    id: DeviceId
    from_ns: int  # sample time
    to_ns: int
    since_ns: int  # by arrival, as are the next
    deadline_ns: int
    written_ns: int = 0  # what came up to then is written


class BlackBox:
    """Belongs to the event loop: `took` never waits, and nothing it meets stops it."""

    def __init__(
        self,
        folder: CaptureFolder,
        ring_bytes_max: int,
        writer: CaptureWriter,
        sessions: SessionLog | None = None,
        *,
        captures_alarms: bool = True,
        past: Past | None = None,
        said: Path | None = None,
    ) -> None:
        """`said` is where what guns and consoles said of themselves is kept over a restart."""
        self._past = past
        self._said = said
        self._said_anew = False
        self._captures_alarms = captures_alarms
        self._folder = folder
        self._writer = writer
        self._sessions = sessions
        self._ring = Ring(ring_bytes_max, HELD_NS if past is None else SHORT_NS)
        self._open: dict[DeviceId, list[_Open]] = {}
        self._resumed: list[_Open] = []  # until the first message
        self._begun: dict[str, None] = {}  # names, the oldest first
        self._captures = 0
        self._now_ns = self._swept_ns = 0
        writer.clean(folder)
        if said is not None:
            self._keep(readable(said))
            self._said_anew = False

    @property
    def status(self) -> BlackBoxStatus:
        return BlackBoxStatus(
            captures=self._captures,
            open=sum(map(len, self._open.values())),
            dropped=self._writer.dropped,
            failed=self._writer.failed,
            last_error=self._writer.last_error,
            ring_bytes=self._ring.bytes,
            shortened=self._ring.shortened,
            deleted=self._folder.deleted,
            disk_bytes=self._folder.bytes + (self._sessions.bytes if self._sessions else 0),
            reads_log=self._past is not None,
        )

    def resume(
        self, stored: Iterable[Alarm], newest_ns: Mapping[DeviceId, int], now_ns: int
    ) -> None:
        """Go on after a restart, before the first message.

        `stored` are the alarms' changes, the oldest first, `newest_ns` each gun's newest sample,
        and `now_ns` when the last message of all that arrived.
        """
        self._now_ns = now_ns
        for alarm in stored if self._captures_alarms else ():
            name = self._claim_name(alarm)
            if name is None:
                continue
            if alarm.changed_at_ns >= newest_ns.get(alarm.id, 0) - UNFINISHED_NS:
                opened = self._open_around(alarm, name)
                opened.since_ns, opened.deadline_ns = now_ns - LOG_NS - SILENT_NS, NEVER_NS
                self._resumed.append(opened)
                self._write(opened)

    def took(self, messages: Sequence[Received], records: Sequence[Record], now_ns: int) -> None:
        """What was just handled, at `now_ns` by arrival; without messages, time has passed."""
        self._now_ns = max(self._now_ns, now_ns)
        by_gun = self._keep(messages)
        if messages:
            self._wait_for_resumed()
        for alarm in [each for each in records if isinstance(each, Alarm)]:
            if self._captures_alarms and (opened := self._begin(alarm)) is not None:
                self._write(opened)
        if self._sessions is not None:
            self._sessions.took(by_gun, records, self._ring, self._now_ns)
        guns: Iterable[DeviceId] | None = by_gun
        if not 0 <= self._now_ns - self._swept_ns < SWEEP_NS:
            guns, self._swept_ns = None, self._now_ns
            self._keep_said()
        self._finish(list(self._open) if guns is None else guns)
        self._trim(guns)

    def close(self) -> None:
        """Hand over what is open. The writer has to be closed after it."""
        for opened in chain.from_iterable(self._open.values()):
            self._write(opened)
        self._open.clear()
        self._keep_said()
        if self._sessions is not None:
            self._sessions.close()

    def _keep(self, messages: Iterable[Received]) -> dict[DeviceId, list[Received]]:
        by_gun: dict[DeviceId, list[Received]] = defaultdict(list)
        for message in messages:
            try:
                kind, id_, _ = parse_topic(message.topic)
            except DecodeError:
                continue
            if kind is TopicKind.TELEMETRY:
                self._ring.put(id_, sample_time_ns(message.payload), message)
            elif kind in (TopicKind.STATE, TopicKind.SESSION):
                self._ring.note(id_, kind, message)
                self._said_anew = True
            else:
                continue
            by_gun[id_].append(message)
        return by_gun

    def _begin(self, alarm: Alarm) -> _Open | None:
        """An alarm that is raised, or becomes more urgent, opens a capture, once."""
        name = self._claim_name(alarm)
        if name is None:
            return None
        self._captures += 1
        return self._open_around(alarm, name)

    def _claim_name(self, alarm: Alarm) -> str | None:
        """The name of the capture that this change of an alarm begins; it begins once."""
        name = capture_name(alarm)
        is_raised = alarm.changed_at_ns == alarm.raised_at_ns
        if name in self._begun or not (is_raised or alarm.state is AlarmState.ACTIVE_UNACK):
            return None
        if name is not None:
            self._begun[name] = None
            if len(self._begun) > NAMES_KEPT:
                del self._begun[next(iter(self._begun))]
        return name

    def _open_around(self, alarm: Alarm, name: str) -> _Open:
        at_ns, now_ns = alarm.changed_at_ns, self._now_ns
        span = (at_ns - BEFORE_NS, at_ns + AFTER_NS)
        opened = _Open(name, alarm.id, *span, now_ns - LOG_NS, now_ns + SILENT_NS)
        self._open.setdefault(alarm.id, []).append(opened)
        return opened

    def _wait_for_resumed(self) -> None:
        """How long for, is counted from when messages come: the pipeline may have been away."""
        for opened in self._resumed:
            opened.deadline_ns = self._now_ns + SILENT_NS
        self._resumed.clear()

    def _write(self, opened: _Open) -> None:
        """What there is of it so far; the folder merges it with what was written before."""
        opened.written_ns = self._now_ns
        if self._past is None:
            self._put(opened, self._ring.window(opened.id, opened.from_ns, opened.to_ns))
        else:
            then = partial(self._take, opened, self._ring.said(opened.id))
            self._past.fetch(opened.id, opened.since_ns, self._now_ns, then)

    def _take(self, opened: _Open, said: list[Received], frames: list[Received]) -> None:
        """What the log gave; a frame that cannot be read belongs to the one before it."""
        chosen, at_ns = [], 0
        for frame in frames:
            at_ns = sample_time_ns(frame.payload) or at_ns
            if opened.from_ns <= at_ns < opened.to_ns:
                chosen.append(frame)
        self._put(opened, led(chosen, said))

    def _put(self, opened: _Open, messages: Sequence[Received]) -> None:
        self._writer.put(self._folder, self._folder.directory / f"{opened.name}{SUFFIX}", messages)

    def _finish(self, guns: Iterable[DeviceId]) -> None:
        for id_ in guns:
            standing = self._open.get(id_)
            if standing is None:
                continue
            for opened in [each for each in standing if self._is_over(each)]:
                self._write(opened)
                standing.remove(opened)
            if not standing:
                del self._open[id_]

    def _is_over(self, opened: _Open) -> bool:
        if self._now_ns >= opened.deadline_ns:
            return True
        newest_ns = self._ring.newest_t0_ns(opened.id)
        return newest_ns is not None and newest_ns >= opened.to_ns + LATE_NS

    def _keep_said(self) -> None:
        if self._said is not None and self._said_anew:
            self._said_anew = False
            self._writer.replace(self._said, self._ring.all_said())

    def _trim(self, guns: Iterable[DeviceId] | None) -> None:
        for id_ in self._ring.trim(self._now_ns, guns):
            if self._past is not None:
                continue
            for opened in self._open.get(id_, ()):
                if self._ring.oldest_ns(id_) > opened.written_ns:
                    self._write(opened)
