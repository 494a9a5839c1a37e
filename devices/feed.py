"""One gun and its console as the broker hears them: timed MQTT messages, made ahead in chunks.

Sans I/O and seeded: a performance that loops for ever becomes births, session events and frames
with the time at which each is due, a faulty network already behind them. `fleet` sends what comes
out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from devices.network import FaultyPath, Packet, PathCounts
from devices.performance import Performance, Take
from devices.recording import Player, birth_of, frame_of
from devices.script import NetworkFaults, Script
from pipeline.model import DeviceState, SessionContext, SessionEvent, SessionEventKind
from pipeline.wire import encode

CHUNK_S = 1.0  # simulated at a time: long enough to be cheap, short enough to stop soon


@dataclass(frozen=True, slots=True)
class Booking:
    """What the console says when a session starts."""

    operator: str
    client: str
    avoid: tuple[str, ...] = ()
    context: SessionContext | None = None


@dataclass(frozen=True, slots=True)
class FleetGun:
    """A gun, the looping script it plays, and who is treated with it.

    A session runs while segments name a site; a segment without one ends it. Sessions take the
    bookings in turn.
    """

    player: Player
    script: Script
    bookings: tuple[Booking, ...]


class Kind(StrEnum):
    FRAME = "frame"
    START = "start"  # of a session
    SESSION = "session"  # its site changed, or it ended
    BREAK = "break"  # no message: the connection breaks here


class Outgoing(NamedTuple):
    """What is due at `due_s` of the gun's time since the start.

    A frame may come out of the network as none, one or several packets; `counts` are the network's
    books up to here.
    """

    due_s: float
    kind: Kind
    packets: tuple[Packet, ...]
    counts: PathCounts


class Feed:
    """The messages of one gun in order of time."""

    def __init__(self, gun: FleetGun, faults: NetworkFaults, seed: int, start_ns: int) -> None:
        """`start_ns` is the gun's clock at the first sample."""
        world, network = np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1])
        player = gun.player
        self._gun, self._faults, self._rng = gun, faults, network
        self._path = FaultyPath(faults, network)
        self._takes = iter(
            Performance(
                gun.script, player.unit, player.operator, player.client, world, start_ns, loop=True
            )
        )
        self._start_ns = start_ns
        self._site: str | None = None
        self._sessions = 0

    @property
    def gun(self) -> FleetGun:
        return self._gun

    def birth(self) -> Packet:
        """The retained message with which the gun comes online."""
        return Packet(*encode(birth_of(self._gun.player, self._start_ns)))

    def farewell(self) -> Packet:
        """What the broker is to say when the gun is gone: its Last Will."""
        player = self._gun.player
        return Packet(*encode(DeviceState(player.id, online=False, boot_id=player.boot_id)))

    def chunk(self) -> list[Outgoing]:
        """The next CHUNK_S or so."""
        out: list[Outgoing] = []
        until_s: float | None = None
        for take in self._takes:
            if until_s is None:
                until_s = take.t_s + CHUNK_S
            due_s = take.t_s + len(take.force_n) / take.true_rate_hz
            out += self._session_events(take)
            packets = self._path.pass_on(Packet(*encode(frame_of(take, self._gun.player))))
            out.append(self._outgoing(due_s, Kind.FRAME, packets))
            if self._rng.random() < self._faults.disconnect:
                out.append(self._outgoing(due_s, Kind.BREAK, []))
            if due_s >= until_s:
                break
        return out

    def _outgoing(self, due_s: float, kind: Kind, packets: list[Packet]) -> Outgoing:
        return Outgoing(due_s, kind, tuple(packets), replace(self._path.counts))

    def _session_events(self, take: Take) -> list[Outgoing]:
        """What the console says when the site changes: start, site or end."""
        before, now = self._site, take.site
        if before == now:
            return []
        self._site = now
        if now is None:
            kind = SessionEventKind.END
        elif before is None:
            kind = SessionEventKind.START
            self._sessions += 1
        else:
            kind = SessionEventKind.SITE
        packet = self._session_packet(kind, take.clock_ns)
        sort = Kind.START if kind is SessionEventKind.START else Kind.SESSION
        return [self._outgoing(take.t_s, sort, [packet])]

    def _session_packet(self, kind: SessionEventKind, t_ns: int) -> Packet:
        booking = self._gun.bookings[(self._sessions - 1) % len(self._gun.bookings)]
        starting = kind is SessionEventKind.START
        event = SessionEvent(
            id=self._gun.player.id,
            session_id=f"{self._gun.player.id.device}-{self._start_ns // 10**9}-{self._sessions}",
            event=kind,
            t_ns=t_ns,
            operator=booking.operator,
            client=booking.client,
            site=self._site,
            avoid=booking.avoid,
            context=booking.context if starting else None,
        )
        return Packet(*encode(event))
