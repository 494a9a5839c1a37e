"""What is on the disk, as the review reads it: sessions in the store, captures, kept sessions.

Every method is asynchronous and reads in a thread; each opens the store for itself, because people
click seldom. May import the store, `capture` and the nouns of the review. Times of day are those of
this machine's zone, which is the clinic's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.capture import CaptureFolder, pieces_within, read_recording, session_files
from pipeline.model import Alarm, DeviceId, FeatureSecond, SessionSummary
from pipeline.page.alarm_lines import NS_PER_S
from pipeline.page.review.session import (
    SessionLine,
    SessionReview,
    captured_spans_ns,
    make_review,
    span_ns,
    to_line,
)
from pipeline.page.review.waveform import Waveform, make_stretch, make_waveform
from pipeline.sites import SiteTable
from pipeline.store import (
    AlarmFilter,
    AlarmTransition,
    SessionFilter,
    StoreError,
    StoreReader,
)
from pipeline.whatif import Judge

# Engineering choices: what a person looks through, what choices are offered from, and four hours of
# one session, after which a forgotten end is likelier than a massage.
LISTED_MAX: Final = 200
KNOWN_MAX: Final = 2_000
SECONDS_MAX: Final = 14_400
TRANSITIONS_MAX: Final = 2_000
# Of which single samples are drawn at once: four pieces of a session at most. Engineering choice.
STRETCH_NS_MAX: Final = 120 * NS_PER_S
AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True, slots=True)
class Shelves:
    """Where things lie; `judge` is how recordings are judged again, if they can be."""

    store: Path
    captures: Path
    sites: SiteTable = field(default_factory=SiteTable)
    judge: Judge = field(default_factory=Judge)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which sessions, as it stands in the address; empty does not restrict."""

    clinic: str = ""
    client: str = ""
    operator: str = ""
    gun: str = ""
    day: str = ""  # YYYY-MM-DD


@dataclass(frozen=True, slots=True)
class SessionList:
    """The sessions found, newest first, and what there is to choose from."""

    wanted: Wanted
    lines: tuple[SessionLine, ...] = ()
    more: bool = False
    clients: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    guns: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class SessionData:
    """One session with the rows it was made of; `others` are further sessions of its client."""

    summary: SessionSummary
    review: SessionReview
    seconds: tuple[FeatureSecond, ...]
    alarms: tuple[Alarm, ...]
    others: tuple[SessionLine, ...]
    raw_files: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class CaptureData:
    """The black box of an alarm."""

    alarm: Alarm
    waveform: Waveform
    path: Path
    client: str | None


class Library:
    """Reads; writes nothing."""

    def __init__(self, shelves: Shelves) -> None:
        self.shelves = shelves
        # No limit: who only reads deletes nothing.
        self._captures = CaptureFolder(shelves.captures / "alarms", 0)

    async def sessions(self, wanted: Wanted) -> SessionList:
        """A fault of the store is an answer too."""
        try:
            return await self._ask(lambda store: _list(store, wanted))
        except StoreError as error:
            return SessionList(wanted, error=str(error))

    async def session(self, id_: DeviceId, session_id: str) -> SessionData | None:
        """None where there is no such session. Raises StoreError."""
        return await self._ask(lambda store: self._session(store, id_, session_id))

    async def capture(self, id_: DeviceId, name: str) -> CaptureData | None:
        """None where it is not kept, or not of that gun. Raises StoreError, RecordingError."""
        return await self._ask(lambda store: self._capture(store, id_, name))

    async def stretch(
        self, id_: DeviceId, session_id: str, from_ns: int, to_ns: int
    ) -> NDArray[np.float32] | None:
        """The raw samples that are kept of a part of a session. Raises StoreError, RecordingError.

        None where there are none, or where the part is longer than STRETCH_NS_MAX.
        """
        if not 0 < to_ns - from_ns <= STRETCH_NS_MAX:
            return None
        return await self._ask(lambda store: self._stretch(store, id_, session_id, from_ns, to_ns))

    async def captures(self) -> list[tuple[Alarm, Path]]:
        """The latest alarms that have a capture on the disk, newest first. Raises StoreError."""
        return await self._ask(self._latest_captures)

    async def kept_sessions(self, wanted: Wanted) -> list[tuple[SessionSummary, list[Path]]]:
        """Sessions that were kept whole, newest first. Raises StoreError."""
        return await self._ask(lambda store: self._kept(store, wanted))

    async def _ask(self, read: Callable[[StoreReader], AnswerT]) -> AnswerT:
        def ask() -> AnswerT:
            with StoreReader.open(self.shelves.store) as store:
                return read(store)

        return await asyncio.to_thread(ask)

    def _session(self, store: StoreReader, id_: DeviceId, session_id: str) -> SessionData | None:
        found = store.sessions(SessionFilter(id_.clinic, id_.device, session_id), 1)
        if not found:
            return None
        (summary,) = found
        from_ns, to_ns = span_ns(summary, time.time_ns())
        seconds = store.feature_seconds(id_, from_ns, to_ns, SECONDS_MAX)
        said = _said(store, id_, session_id)
        raw_files = session_files(self.shelves.captures / "sessions", id_, session_id)
        review = make_review(
            summary,
            seconds,
            said,
            self.shelves.sites,
            self._on_disk(said),
            kept_whole=bool(raw_files),
            is_cut=len(seconds) == SECONDS_MAX,
        )
        return SessionData(
            summary=summary,
            review=review,
            seconds=tuple(each for each in seconds if each.last.session_id == session_id),
            alarms=tuple(each.alarm for each in reversed(said)),
            others=_others(store, summary),
            raw_files=tuple(raw_files),
        )

    def _stretch(
        self, store: StoreReader, id_: DeviceId, session_id: str, from_ns: int, to_ns: int
    ) -> NDArray[np.float32] | None:
        said = _said(store, id_, session_id)
        spans = captured_spans_ns([each.alarm for each in said], self._on_disk(said))
        names = [name for name, (begin, end) in spans.items() if begin < to_ns and from_ns < end]
        paths = [path for name in names if (path := self._captures.find(name)) is not None]
        pieces = session_files(self.shelves.captures / "sessions", id_, session_id)
        paths += pieces_within(pieces, from_ns, to_ns)
        return make_stretch(chain.from_iterable(map(read_recording, paths)), from_ns, to_ns)

    def _on_disk(self, said: tuple[AlarmTransition, ...]) -> frozenset[str]:
        names = {each.alarm.capture for each in said if each.alarm.capture is not None}
        return frozenset(name for name in names if self._captures.find(name) is not None)

    def _capture(self, store: StoreReader, id_: DeviceId, name: str) -> CaptureData | None:
        path = self._captures.find(name)
        of_gun = AlarmFilter(clinic=id_.clinic, device=id_.device)
        said = [
            each.alarm
            for each in store.alarm_history(of_gun, KNOWN_MAX)
            if each.alarm.capture == name
        ]
        if path is None or not said:
            return None
        first = said[-1]
        waveform = make_waveform(read_recording(path), first.changed_at_ns)
        if waveform is None:
            return None
        asked = SessionFilter(id_.clinic, id_.device, first.session_id)
        sessions = store.sessions(asked, 1) if first.session_id is not None else ()
        return CaptureData(first, waveform, path, sessions[0].client if sessions else None)

    def _latest_captures(self, store: StoreReader) -> list[tuple[Alarm, Path]]:
        first: dict[str, Alarm] = {}
        for each in store.alarm_history(AlarmFilter(), KNOWN_MAX):
            if each.alarm.capture is not None:
                first[each.alarm.capture] = each.alarm
        found = [(alarm, self._captures.find(name)) for name, alarm in first.items()]
        return [(alarm, path) for alarm, path in found if path is not None]

    def _kept(self, store: StoreReader, wanted: Wanted) -> list[tuple[SessionSummary, list[Path]]]:
        place = self.shelves.captures / "sessions"
        found = store.sessions(_filter(wanted), KNOWN_MAX)
        kept = [(each, session_files(place, each.id, each.session_id)) for each in found]
        return [(summary, files) for summary, files in kept if files]


def _list(store: StoreReader, wanted: Wanted) -> SessionList:
    known = store.sessions(SessionFilter(clinic=wanted.clinic or None), KNOWN_MAX)
    found = store.sessions(_filter(wanted), LISTED_MAX + 1)
    return SessionList(
        wanted=wanted,
        lines=tuple(to_line(summary) for summary in found[:LISTED_MAX]),
        more=len(found) > LISTED_MAX,
        clients=_distinct(each.client for each in known),
        operators=_distinct(each.operator for each in known),
        guns=_distinct(each.id.device for each in known),
    )


def _distinct(names: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(sorted({name for name in names if name}))


def _said(store: StoreReader, id_: DeviceId, session_id: str) -> tuple[AlarmTransition, ...]:
    """What was said of its alarms, newest first."""
    asked = AlarmFilter(clinic=id_.clinic, device=id_.device, session_id=session_id)
    return store.alarm_history(asked, TRANSITIONS_MAX)


def _others(store: StoreReader, summary: SessionSummary) -> tuple[SessionLine, ...]:
    """Of the same client, if there is one; else of the same gun."""
    asked = SessionFilter(clinic=summary.id.clinic, client=summary.client)
    if summary.client is None:
        asked = replace(asked, device=summary.id.device)
    own = (summary.id, summary.session_id)
    found = store.sessions(asked, LISTED_MAX)
    return tuple(to_line(each) for each in found if (each.id, each.session_id) != own)


def _filter(wanted: Wanted) -> SessionFilter:
    from_ns, to_ns = day_ns(wanted.day)
    return SessionFilter(
        clinic=wanted.clinic or None,
        device=wanted.gun or None,
        operator=wanted.operator or None,
        client=wanted.client or None,
        from_ns=from_ns,
        to_ns=to_ns,
    )


def day_ns(day: str) -> tuple[int | None, int | None]:
    """When a day begins and ends here; no limits for what is no day."""
    try:
        begins = datetime.strptime(day, "%Y-%m-%d").astimezone()
    except ValueError:
        return None, None
    ends = (begins.replace(tzinfo=None) + timedelta(days=1)).astimezone()
    return round(begins.timestamp()) * NS_PER_S, round(ends.timestamp()) * NS_PER_S
