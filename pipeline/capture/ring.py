"""The newest raw messages of every gun, in memory: what a black box is cut out of. Pure.

The fleet has so many bytes, and every gun that speaks an equal share of them: 21 s at 1600 Hz are
269 KB of samples, 298 KB with all that is kept of them. Where a share is less than that of its gun,
that gun's past is shorter, and is counted. Beside the frames the ring remembers what each gun and
its console said last of themselves, without which the frames could not be judged again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NamedTuple

from pipeline.model import DeviceId, Received, SessionEvent, SessionEventKind
from pipeline.wire import DecodeError, TopicKind, decode

NS_PER_S: Final = 1_000_000_000
BEFORE_NS: Final = 20 * NS_PER_S  # issue 7, "Black box"
LATE_NS: Final = NS_PER_S  # how late a frame may come and still count (monitor.reorder_window_s)
HELD_NS: Final = BEFORE_NS + LATE_NS  # by arrival: an alarm comes after the sample it is of
# The fastest of the contract's usual guns (3200 Hz, 8 bytes a sample) makes 512 KB in 20 s: more
# than twice that is a gun that floods. Engineering choice.
GUN_BYTES_MAX: Final = 2**20
MESSAGE_BYTES: Final = 250  # measured: what Python adds to a kept message of its own
# Who is remembered: twice the guns that are watched at most. What is said of a gun is 200 bytes,
# and not kept where it is absurd. Engineering choices: a stranger may say any number of names.
GUNS_MAX: Final = 10_000
SAID_BYTES_MAX: Final = 4_096
# What was said before the frames is dated no earlier than this before the first: a session begun
# an hour ago would otherwise be over by itself before it. Over the 2 s that an event waits for
# samples (sessions.EVENT_WAIT_NS).
LEAD_NS: Final = 3 * NS_PER_S


class _Kept(NamedTuple):
    t0_ns: int  # of the first sample; where it cannot be read, of the frame before
    message: Received


@dataclass(slots=True)
class _Gun:
    frames: deque[_Kept] = field(default_factory=deque)
    bytes: int = 0
    t0_ns: int = 0
    said: dict[str, Received] = field(default_factory=dict)  # birth, session, site


class Ring:
    """Bounded in time and in bytes, by gun and over the fleet."""

    def __init__(self, bytes_max: int, held_ns: int = HELD_NS) -> None:
        self.held_ns = held_ns
        self.shortened = 0  # frames that gave way before their 20 s
        self._bytes_max = bytes_max
        self._guns: dict[DeviceId, _Gun] = {}
        self._speaking = 0  # guns with frames

    @property
    def bytes(self) -> int:
        return sum(gun.bytes for gun in self._guns.values())

    def put(self, id_: DeviceId, t0_ns: int | None, message: Received) -> None:
        """A frame; `t0_ns` is None where it cannot be read."""
        gun = self._guns.setdefault(id_, _Gun())
        if t0_ns is not None:
            gun.t0_ns = t0_ns
        self._speaking += not gun.frames
        gun.frames.append(_Kept(gun.t0_ns, message))
        gun.bytes += _bytes(message)

    def note(self, id_: DeviceId, kind: TopicKind, message: Received) -> None:
        """What a gun (state) or its console (session) says; the newest counts."""
        if len(message.payload) > SAID_BYTES_MAX:
            return
        said = self._guns.setdefault(id_, _Gun()).said
        if kind is TopicKind.STATE:
            said["state"] = message
        elif kind is TopicKind.SESSION and (event := _session_event(message)) is not None:
            if event.event is SessionEventKind.SITE:
                said["site"] = message
            else:
                said.pop("site", None)
                said["session"] = message

    def said(self, id_: DeviceId) -> list[Received]:
        """What is known of a gun and its session."""
        return list(self._guns.get(id_, _Gun()).said.values())

    def all_said(self) -> list[Received]:
        return [each for gun in self._guns.values() for each in gun.said.values()]

    def newest_t0_ns(self, id_: DeviceId) -> int | None:
        gun = self._guns.get(id_)
        return gun.t0_ns if gun is not None and gun.frames else None

    def oldest_ns(self, id_: DeviceId) -> int:
        """When the oldest frame there is of a gun arrived; 0 where there is none."""
        gun = self._guns.get(id_)
        return gun.frames[0].message.received_at_ns if gun is not None and gun.frames else 0

    def window(self, id_: DeviceId, from_ns: int, to_ns: int) -> list[Received]:
        """The frames that begin in a span of sample time, after what was said before them."""
        gun = self._guns.get(id_, _Gun())
        frames = [kept.message for kept in gun.frames if from_ns <= kept.t0_ns < to_ns]
        return led(frames, gun.said.values())

    def arrived(self, id_: DeviceId, since_ns: int) -> list[Received]:
        """The frames that arrived since then, after what was said before them."""
        gun = self._guns.get(id_, _Gun())
        frames = [kept.message for kept in gun.frames]
        frames = [each for each in frames if each.received_at_ns >= since_ns]
        return led(frames, gun.said.values())

    def trim(self, now_ns: int, guns: Iterable[DeviceId] | None = None) -> Iterator[DeviceId]:
        """Drop what is too old or too much, of some guns or of all.

        A gun is yielded before its frames go, so that whoever needs them can still take them.
        """
        if guns is None:
            self._forget()
        share = min(GUN_BYTES_MAX, self._bytes_max // max(self._speaking, 1))
        for id_ in list(self._guns if guns is None else guns):
            gun = self._guns.get(id_)
            if gun is not None and gun.frames and self._overdue(gun, now_ns, share) is not None:
                yield id_
                self._trim(gun, now_ns, share)

    def _forget(self) -> None:
        """Names that say nothing, the first first, where there are too many."""
        too_many = len(self._guns) - GUNS_MAX
        if too_many > 0:
            quiet = (id_ for id_, gun in self._guns.items() if not gun.frames)
            for id_ in list(islice(quiet, too_many)):
                del self._guns[id_]

    def _trim(self, gun: _Gun, now_ns: int, share: int) -> None:
        while gun.frames and (early := self._overdue(gun, now_ns, share)) is not None:
            gun.bytes -= _bytes(gun.frames.popleft().message)
            self.shortened += early
        self._speaking -= not gun.frames

    def _overdue(self, gun: _Gun, now_ns: int, share: int) -> bool | None:
        """Whether the first frame has to go: because of its age (False) or its bytes (True)."""
        if gun.frames[0].message.received_at_ns < now_ns - self.held_ns:
            return False
        return True if gun.bytes > share else None


def led(frames: list[Received], said: Iterable[Received]) -> list[Received]:
    """Frames after what was said before the last of them."""
    if not frames:
        return []
    first_ns, last_ns = frames[0].received_at_ns - LEAD_NS, frames[-1].received_at_ns
    lead = [
        each._replace(received_at_ns=max(each.received_at_ns, first_ns))
        for each in said
        if each.received_at_ns <= last_ns
    ]
    return sorted([*lead, *frames], key=lambda each: each.received_at_ns)


def _session_event(message: Received) -> SessionEvent | None:
    try:
        event = decode(message.topic, message.payload)
    except DecodeError:
        return None
    return event if isinstance(event, SessionEvent) else None


def _bytes(message: Received) -> int:
    return len(message.payload) + len(message.topic) + MESSAGE_BYTES
