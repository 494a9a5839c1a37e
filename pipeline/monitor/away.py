"""Guns not heard of for a day: out of the slots, and remembered so that they come back whole.

Pure. What is remembered is packed, 2 kB a gun, and goes into the snapshot with the rest. Bounded:
where there is no room, the one that left first is forgotten, and would come back as a new gun.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

from pipeline.model import DeviceId

PACKING = 1  # zlib's fastest: a whole fleet may leave on the same evening


class Away:
    """The guns that left, the first to leave first."""

    def __init__(self, guns_max: int) -> None:
        self.forgotten = 0
        self._guns_max = guns_max
        self._packed: dict[DeviceId, bytes] = {}

    def __len__(self) -> int:
        return len(self._packed)

    def put(self, device: DeviceId, state: bytes) -> None:
        self._packed[device] = zlib.compress(state, PACKING)
        if len(self._packed) > self._guns_max:
            del self._packed[next(iter(self._packed))]
            self.forgotten += 1

    def take(self, device: DeviceId) -> bytes | None:
        """What was put, if it is still remembered; from now on it is not."""
        packed = self._packed.pop(device, None)
        return None if packed is None else zlib.decompress(packed)

    def dump(self) -> tuple[list[object], bytes]:
        """What goes into a header, and the bytes that it describes."""
        rows: list[object] = [[*device, len(packed)] for device, packed in self._packed.items()]
        return [self.forgotten, rows], b"".join(self._packed.values())

    def load(self, header: Iterable[Any], data: bytes) -> int:
        """The inverse; how many of the bytes were its own."""
        self.forgotten, rows = header
        self._packed, at = {}, 0
        for clinic, device, length in rows:
            self._packed[DeviceId(clinic, device)] = data[at : at + length]
            at += length
        return at
