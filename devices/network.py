"""A network that loses, doubles, swaps and spoils messages, seeded, and keeps the books of it.

Pure; shared by recordings and the fleet, so that both see the same kinds of trouble.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from devices.script import NetworkFaults


class Packet(NamedTuple):
    """One message on its way."""

    topic: str
    payload: bytes


@dataclass(slots=True)
class PathCounts:
    """What became of the packets put in: out = packets − dropped + duplicated − held."""

    packets: int = 0
    dropped: int = 0
    duplicated: int = 0
    reordered: int = 0
    corrupted: int = 0  # copies with one bit changed
    held: int = 0  # copies waiting to be overtaken


class FaultyPath:
    """The way of one sender to the broker."""

    def __init__(self, faults: NetworkFaults, rng: np.random.Generator) -> None:
        """Draws four numbers a packet, whatever the faults: a fault does not move the others."""
        self._faults = faults
        self._rng = rng
        self._held: list[Packet] = []
        self.counts = PathCounts()

    def pass_on(self, packet: Packet) -> list[Packet]:
        """What arrives now; a packet held back to be overtaken comes with the next one."""
        drop, duplicate, reorder, corrupt = self._rng.random(4)
        self.counts.packets += 1
        if drop < self._faults.drop:
            self.counts.dropped += 1
            return []
        copies = 2 if duplicate < self._faults.duplicate else 1
        self.counts.duplicated += copies - 1
        if corrupt < self._faults.corrupt:
            packet = self._spoil(packet)
            self.counts.corrupted += copies
        if not self._held and reorder < self._faults.reorder:
            self.counts.reordered += copies
            self._held = [packet] * copies
            self.counts.held = copies
            return []
        return [packet] * copies + self.flush()

    def flush(self) -> list[Packet]:
        """What is still held back, at the end."""
        held, self._held = self._held, []
        self.counts.held = 0
        return held

    def _spoil(self, packet: Packet) -> Packet:
        """One bit changed: the CRC finds every such error."""
        payload = bytearray(packet.payload)
        payload[int(self._rng.integers(len(payload)))] ^= 1 << int(self._rng.integers(8))
        return Packet(packet.topic, bytes(payload))
