"""Whole sessions, raw: every message of a gun from a session's start to its end. A setting.

A session is a directory of pieces of a minute, each whole on the disk when it appears, so that a
crash costs the last minute at most; after a restart the session goes on in further pieces. What
session a gun is in is read off its features, which know it after a restart too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Final

from pipeline.capture.folder import SUFFIX, CaptureFolder
from pipeline.capture.recording import read_recording
from pipeline.capture.ring import LATE_NS, NS_PER_S, Ring
from pipeline.capture.writing import CaptureWriter
from pipeline.model import DeviceId, Features, Received, Record
from pipeline.wire import sample_time_ns

PIECE_NS: Final = 60 * NS_PER_S  # what a crash may cost; engineering choice
# What waits in memory to become a piece, of all guns: a minute of 160 guns at 1600 Hz. Beyond it
# pieces are shorter. Engineering choice.
PENDING_BYTES_MAX: Final = 128 * 2**20
# The first features of a session come at most so long after the frames they were made of.
START_NS: Final = 2 * NS_PER_S  # the reorder window, and a hop (monitor.reorder_window_s)


def session_directory(directory: Path, id_: DeviceId, session_id: str) -> Path:
    """Where the pieces of a session lie. Its name is a console's: hashed, it is safe as a path."""
    name = blake2b(session_id.encode(), digest_size=8).hexdigest()
    return directory / id_.clinic / id_.device / name


def session_files(directory: Path, id_: DeviceId, session_id: str) -> list[Path]:
    """The pieces of a session in order: together one recording. None where nothing was kept."""
    return sorted(session_directory(directory, id_, session_id).glob(f"*{SUFFIX}"))


def pieces_within(pieces: Sequence[Path], from_ns: int, to_ns: int) -> list[Path]:
    """Of a session's pieces those with frames between two sample times, by their first frames.

    Pieces are named after times of arrival, which is another clock. Raises RecordingError.
    """
    begins = [_begins_ns(piece) for piece in pieces]
    spans = pairwise([*begins, to_ns])  # none where there is no piece yet
    return [
        piece
        for piece, (begin, end) in zip(pieces, spans, strict=True)
        if begin - LATE_NS < to_ns and from_ns < end + LATE_NS
    ]


@lru_cache(maxsize=4_096)  # a session of an hour has 60
def _begins_ns(piece: Path) -> int:
    """When the first frame of a piece begins; 0 where none can be read, so that it is looked at."""
    times = (sample_time_ns(each.payload) for each in read_recording(piece) if _is_frame(each))
    return next((at for at in times if at is not None), 0)


def _is_frame(message: Received) -> bool:
    return message.topic.endswith("/telemetry")


@dataclass(slots=True)
class _Piece:
    session_id: str
    messages: list[Received] = field(default_factory=list)
    bytes: int = 0


class SessionLog:
    """What is told by `took` goes to the writer a piece at a time."""

    def __init__(self, folder: CaptureFolder, writer: CaptureWriter) -> None:
        self._folder = folder
        self._writer = writer
        self._pieces: dict[DeviceId, _Piece] = {}
        writer.clean(folder)

    @property
    def bytes(self) -> int:
        """On the disk."""
        return self._folder.bytes

    def took(
        self,
        messages: Mapping[DeviceId, Sequence[Received]],
        records: Iterable[Record],
        ring: Ring,
        now_ns: int,
    ) -> None:
        """Messages by gun, and the records they gave rise to; the ring has the messages already."""
        for id_ in self._pieces.keys() & messages.keys():
            self._append(self._pieces[id_], messages[id_])
        for id_, session_id in _sessions(records).items():
            piece = self._pieces.get(id_)
            if piece is not None and piece.session_id != session_id:
                self._end_piece(id_)
                del self._pieces[id_]
                piece = None
            if piece is None and session_id is not None:
                piece = self._pieces[id_] = _Piece(session_id)
                self._append(piece, ring.arrived(id_, now_ns - START_NS))
        self._end_pieces(now_ns)

    def close(self) -> None:
        for id_ in self._pieces:
            self._end_piece(id_)
        self._pieces.clear()

    def _append(self, piece: _Piece, messages: Sequence[Received]) -> None:
        piece.messages += messages
        piece.bytes += sum(len(message.payload) for message in messages)

    def _end_pieces(self, now_ns: int) -> None:
        """Those that are a minute long; and where memory is short, all."""
        short = sum(piece.bytes for piece in self._pieces.values()) > PENDING_BYTES_MAX
        for id_, piece in self._pieces.items():
            began = piece.messages[0].received_at_ns if piece.messages else now_ns
            if short or now_ns - began >= PIECE_NS:
                self._end_piece(id_)

    def _end_piece(self, id_: DeviceId) -> None:
        piece = self._pieces[id_]
        if not piece.messages:
            return
        place = session_directory(self._folder.directory, id_, piece.session_id)
        path = place / f"{piece.messages[0].received_at_ns:020}{SUFFIX}"
        self._writer.put(self._folder, path, piece.messages)
        piece.messages, piece.bytes = [], 0


def _sessions(records: Iterable[Record]) -> dict[DeviceId, str | None]:
    """The session each gun is in, by its newest features."""
    return {each.id: each.session_id for each in records if isinstance(each, Features)}
