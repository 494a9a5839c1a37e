"""What a broker sends again on a new connection, put in the order in which it was said.

nats-server sends what was in flight before what is new, but in parts: a part that a connection had
begun to bring and did not live to acknowledge comes after the rest. MQTT does not number messages,
so the order is that of their own times, gun by gun.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from pipeline.model import DeviceState, Frame, SessionEvent
from pipeline.mqtt import Arrival, Connection
from pipeline.wire import DecodeError, decode

QUIET_S: Final = 1.0  # engineering choice: who sends what it holds does not pause for so long
_GUN_LEVELS: Final = 4  # massage/v1/{clinic}/{device}


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


def in_order(arrivals: Sequence[Arrival]) -> list[Arrival]:
    """Gun by gun, by the times of what they say; what has none stays behind what it came after."""
    newest_ns: dict[tuple[str, ...], int] = {}
    keys = []
    for at, arrival in enumerate(arrivals):
        gun = tuple(arrival.topic.split("/")[:_GUN_LEVELS])
        said_ns = _said_at_ns(arrival)
        newest_ns[gun] = newest_ns.get(gun, 0) if said_ns is None else said_ns
        keys.append((gun, newest_ns[gun], at))
    return [arrivals[at] for _, _, at in sorted(keys)]


def _said_at_ns(arrival: Arrival) -> int | None:
    try:
        message = decode(arrival.topic, arrival.payload)
    except DecodeError:
        return None
    if isinstance(message, Frame):
        return message.t0_ns
    return message.t_ns if isinstance(message, DeviceState | SessionEvent) else None
