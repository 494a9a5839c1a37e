"""What a broker sends again on a new connection, put in the order in which it came at first.

nats-server sends what was in flight before what is new, but in parts: a part that a connection had
begun to bring and did not live to acknowledge comes after the rest. MQTT does not number messages,
but guns number their frames: where those leap, gun by gun, a part ends, and parts are put in order.
Within one everything stays as it came, what a network had swapped, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from pipeline.model import DeviceState, Frame, SessionEvent
from pipeline.mqtt import Arrival, Connection
from pipeline.ordering import SEQ_MODULUS, duration_ns
from pipeline.wire import DecodeError, decode

QUIET_S: Final = 1.0  # engineering choice: who sends what it holds does not pause for so long
_GUN_LEVELS: Final = 4  # massage/v1/{clinic}/{device}
# Frames by which one that follows another may be ahead of it, or behind, in one part: a network
# that swaps two and loses one. Engineering choice; a part that is shorter is put in order in vain.
_AHEAD, _BEHIND = 3, 1


class Again:
    """Holds what a connection brings until the first new message comes, or none for a while."""

    def __init__(self) -> None:
        self._held: list[Arrival] = []
        self._new = False

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, arrivals: Sequence[Arrival]) -> None:
        self._held.extend(arrivals)
        self._new = self._new or not all(arrival.dup for arrival in arrivals)

    async def complete(self, connection: Connection) -> list[Arrival]:
        """Everything up to now, in order. Raises BrokerError if the connection is lost before."""
        count = -1 if connection.session_present else len(self._held)
        while not self._new and count != len(self._held):
            count = len(self._held)
            with suppress(TimeoutError):
                async with asyncio.timeout(QUIET_S):
                    await connection.lost()
        return [
            *in_order([arrival for arrival in self._held if arrival.dup]),
            *(arrival for arrival in self._held if not arrival.dup),
        ]


class _Said(NamedTuple):
    """An arrival, from when to when what it says was measured, and a frame's numbers."""

    arrival: Arrival
    from_ns: int | None = None
    to_ns: int = 0
    boot_id: int = 0
    seq: int | None = None


def in_order(arrivals: Sequence[Arrival]) -> list[Arrival]:
    """Gun by gun, its parts by when what they say first was said."""
    guns: dict[tuple[str, ...], list[_Said]] = {}
    for arrival in arrivals:
        gun = tuple(arrival.topic.split("/")[:_GUN_LEVELS])
        guns.setdefault(gun, []).append(_said(arrival))
    ordered = [part for said in guns.values() for part in sorted(_parts(said), key=_begins_ns)]
    return [each.arrival for part in ordered for each in part]


def _parts(said: Sequence[_Said]) -> list[list[_Said]]:
    """Cut where frames leap; what stands between two frames there goes with the nearer one.

    Round in a circle: what stands after the last frame may belong before the first.
    """
    frames = [each for each in said if each.seq is not None]
    parts: list[list[_Said]] = [[]]
    between: list[_Said] = []
    newest: _Said | None = None
    for each in [*said, *frames[:1]]:
        if each.seq is None:
            between.append(each)
            continue
        if newest is not None and not _follows(each, newest):
            staying = _staying(newest, between, each)
            parts[-1] += between[:staying]
            parts.append([])
            between = between[staying:]
        parts[-1] += [*between, each]
        between, newest = [], each
    parts[-1] += between
    if frames:
        parts[-1].pop()  # the first, round again
    return [part for part in parts if part]


def _follows(after: _Said, before: _Said) -> bool:
    leap = ((after.seq or 0) - (before.seq or 0) + _BEHIND) % SEQ_MODULUS
    return after.boot_id == before.boot_id and leap <= _BEHIND + _AHEAD


def _staying(before: _Said, between: Sequence[_Said], after: _Said) -> int:
    """How many stay with the frame before them."""
    for at, each in enumerate(between):
        if each.from_ns is None or after.from_ns is None:
            continue
        if abs(each.from_ns - before.to_ns) > abs(after.from_ns - each.from_ns):
            return at
    return len(between)


def _begins_ns(part: Sequence[_Said]) -> int:
    return next((each.from_ns for each in part if each.from_ns is not None), 0)


def _said(arrival: Arrival) -> _Said:
    try:
        message = decode(arrival.topic, arrival.payload)
    except DecodeError:
        return _Said(arrival)
    if isinstance(message, Frame):
        to_ns = message.t0_ns + duration_ns(message)
        return _Said(arrival, message.t0_ns, to_ns, message.boot_id, message.seq)
    if isinstance(message, DeviceState | SessionEvent) and message.t_ns is not None:
        return _Said(arrival, message.t_ns, message.t_ns)
    return _Said(arrival)
