"""One gun's frames, put in order: what is next, what came twice or too late, what never came.

Pure; knows model only. Frames are numbered within a boot. One that comes early waits for those
before it, until a frame begins more than the reorder window after the last one taken: time is
measured in samples, so that a replay decides the same. Then what is missing is given up and
counted, and the frame that follows says how many samples to step over, or to begin anew where too
much is gone to bridge.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, TypedDict

from pipeline.model import HOP_NS, DeviceId, Frame, StreamEvent, StreamEventKind

REORDER_WINDOW_S = 0.5  # issue "Nothing lost", the default
WAITING_MAX = 64  # frames; 20 a second (contract) for the window, six times over
BRIDGED_NS = 2 * HOP_NS  # a longer gap leaves nothing of the analysis window: begin anew
UNSEEN_NS = 2_000_000_000  # detection.md: lifted for 2 s clears a dwell; unseen cannot do less
CLOCK_STEP_NS = HOP_NS  # engineering choice: jitter and drift between two frames are far below it
SEQ_MODULUS = 1 << 32  # contract, "seq"
MISSING_REMEMBERED = (
    256  # to tell a late frame from a repeated one: 10 s of the fastest gun and more
)
BOOTS_REMEMBERED = 8  # engineering choice: redelivery goes back seconds, not eight power-ons
ANEW = -1  # for Turn.missing_samples, as the kernels read it


class Turn(NamedTuple):
    """A frame whose turn has come, after `missing_samples` that never came (or ANEW).

    `unseen`: for so long that nothing is known any more of what the head touched.
    """

    frame: Frame
    missing_samples: int
    unseen: bool


class Early(NamedTuple):
    """A frame that waits for those before it, and when it arrived."""

    received_at_ns: int
    frame: Frame


@dataclass(slots=True)
class Ordered:
    """Where streams put what they release: each gun's in order."""

    turns: list[Turn] = field(default_factory=list)
    events: list[StreamEvent] = field(default_factory=list)

    def note(self, frame: Frame, kind: StreamEventKind, count: int = 1) -> None:
        self.events.append(StreamEvent(frame.id, kind, frame.t0_ns, count))


class StreamDump(TypedDict):
    """A stream as JSON, but for the frames that wait."""

    device: DeviceId
    boot_id: int | None
    first_seq: int
    next_seq: int
    end_ns: int
    missing: list[int]
    past_boots: list[int]
    received_at_ns: list[int]


@dataclass(slots=True)
class Stream:
    """Where one gun's sequence of frames stands. Methods append what they release to `out`.

    Sequence numbers in [first_seq, next_seq) were taken, or are in `missing`; `end_ns` is when the
    samples of the last frame taken end.
    """

    device: DeviceId
    boot_id: int | None = None
    first_seq: int = 0
    next_seq: int = 0
    end_ns: int = 0
    early: dict[int, Early] = field(default_factory=dict)
    missing: deque[int] = field(default_factory=lambda: deque(maxlen=MISSING_REMEMBERED))
    past_boots: deque[int] = field(default_factory=lambda: deque(maxlen=BOOTS_REMEMBERED))

    # Frames in.

    def admit(self, received_at_ns: int, frame: Frame, window_ns: int, out: Ordered) -> None:
        """Take a frame as it arrives: now, later, or not at all."""
        if frame.boot_id != self.boot_id:
            self._change_boot(frame, out)
            return
        ahead = (frame.seq - self.next_seq) % SEQ_MODULUS
        if ahead == 0:
            self._take(frame, 0, out)
            self._take_followers(out)
        elif ahead >= SEQ_MODULUS // 2:
            self._refuse(frame, out)
        elif frame.seq in self.early:
            out.note(frame, StreamEventKind.DUPLICATE)
        else:
            self.early[frame.seq] = Early(received_at_ns, frame)
            while self._has_waited(window_ns):
                self._give_up_gap(out)

    def release_overdue(self, now_ns: int, window_ns: int, out: Ordered) -> None:
        """Give up on what early frames have waited for longer than the window, by arrival time."""
        while self.early and now_ns - self._waiting_since_ns() > window_ns:
            self._give_up_gap(out)

    def release_all(self, out: Ordered) -> None:
        """Nothing more will come."""
        while self.early:
            self._give_up_gap(out)

    def postpone(self, away_ns: int) -> None:
        """Nobody listened for `away_ns`: what waits has not waited any longer for it."""
        for seq, (received_at_ns, frame) in self.early.items():
            self.early[seq] = Early(received_at_ns + away_ns, frame)

    # What to do with them.

    def _change_boot(self, frame: Frame, out: Ordered) -> None:
        if frame.boot_id in self.past_boots:
            out.note(frame, StreamEventKind.LATE)
            return
        self.release_all(out)
        if self.boot_id is not None:
            self.past_boots.append(self.boot_id)
        self.boot_id, self.first_seq = frame.boot_id, frame.seq
        self.missing.clear()
        out.note(frame, StreamEventKind.FIRST_FRAME)
        self._accept(Turn(frame, ANEW, unseen=True), out)

    def _refuse(self, frame: Frame, out: Ordered) -> None:
        """A frame from before `next_seq`: taken already, given up, or older than the first."""
        taken = (self.next_seq - self.first_seq) % SEQ_MODULUS
        is_known = (frame.seq - self.first_seq) % SEQ_MODULUS < taken
        if is_known and frame.seq not in self.missing:
            out.note(frame, StreamEventKind.DUPLICATE)
            return
        if is_known:
            self.missing.remove(frame.seq)  # should it come once more, that is a duplicate
        out.note(frame, StreamEventKind.LATE)

    def _has_waited(self, window_ns: int) -> bool:
        """Whether what is missing can be given up, by sample time or for want of room."""
        if len(self.early) > WAITING_MAX:
            return True
        return any(abs(e.frame.t0_ns - self.end_ns) > window_ns for e in self.early.values())

    def _waiting_since_ns(self) -> int:
        return min(e.received_at_ns for e in self.early.values())

    def _give_up_gap(self, out: Ordered) -> None:
        """Go on with the first early frame; what is missing before it will not come any more."""
        lost = min((seq - self.next_seq) % SEQ_MODULUS for seq in self.early)
        frame = self.early.pop((self.next_seq + lost) % SEQ_MODULUS).frame
        out.note(frame, StreamEventKind.SEQUENCE_GAP, lost)
        remembered = range(max(lost - MISSING_REMEMBERED, 0), lost)
        self.missing.extend((self.next_seq + k) % SEQ_MODULUS for k in remembered)
        self._take(frame, lost, out)
        self._take_followers(out)

    def _take_followers(self, out: Ordered) -> None:
        while (early := self.early.pop(self.next_seq, None)) is not None:
            self._take(early.frame, 0, out)

    def _take(self, frame: Frame, lost: int, out: Ordered) -> None:
        """Accept a frame after `lost` frames that never came."""
        silence_ns = frame.t0_ns - self.end_ns
        has_stepped = silence_ns < -CLOCK_STEP_NS or (lost == 0 and silence_ns > CLOCK_STEP_NS)
        if has_stepped:
            out.note(frame, StreamEventKind.CLOCK_STEP)
        if lost == 0 and not has_stepped:
            turn = Turn(frame, 0, unseen=False)
        elif lost > 0 and 0 <= silence_ns <= BRIDGED_NS:
            turn = Turn(frame, round(silence_ns * frame.rate_hz / 1e9), unseen=False)
        else:
            # where the clock cannot tell, the lost frames were about as long as this one
            unseen_ns = max(silence_ns, lost * duration_ns(frame))
            turn = Turn(frame, ANEW, unseen_ns > UNSEEN_NS)
        self._accept(turn, out)

    def _accept(self, turn: Turn, out: Ordered) -> None:
        frame = turn.frame
        out.turns.append(turn)
        self.next_seq = (frame.seq + 1) % SEQ_MODULUS
        self.end_ns = frame.t0_ns + duration_ns(frame)

    # Across a restart.

    def dump(self) -> StreamDump:
        """All but the early frames, whose arrival times are given in their order."""
        return {
            "device": self.device,
            "boot_id": self.boot_id,
            "first_seq": self.first_seq,
            "next_seq": self.next_seq,
            "end_ns": self.end_ns,
            "missing": list(self.missing),
            "past_boots": list(self.past_boots),
            "received_at_ns": [early.received_at_ns for early in self.early.values()],
        }

    @classmethod
    def load(cls, dump: StreamDump, frames: Iterable[Frame]) -> Stream:
        """The stream that was dumped while `frames` waited."""
        stream = cls(
            DeviceId(*dump["device"]),
            dump["boot_id"],
            dump["first_seq"],
            dump["next_seq"],
            dump["end_ns"],
        )
        stream.missing.extend(dump["missing"])
        stream.past_boots.extend(dump["past_boots"])
        for received_at_ns, frame in zip(dump["received_at_ns"], frames, strict=True):
            stream.early[frame.seq] = Early(received_at_ns, frame)
        return stream


def duration_ns(frame: Frame) -> int:
    return round(len(frame.samples_lsb) * 1e9 / frame.rate_hz)
