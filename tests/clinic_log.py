"""A clinic's log of messages from the simulator: births, sessions, frames in order of arrival.

What guns and their console would have said on a broker, as `Received`; and the frames of it cut
anew, as other firmware might have.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import takewhile

import numpy as np

from devices.demo import demo_fleet
from devices.feed import Feed, FleetGun
from devices.recording import START_NS
from devices.script import NO_FAULTS, NetworkFaults
from pipeline import wire
from pipeline.model import Frame, Received

SEED = 1


def clinic_log(
    guns: int,
    seconds: float,
    faults: NetworkFaults = NO_FAULTS,
    seed: int = SEED,
    start_ns: int = START_NS,
) -> list[Received]:
    """`seconds` of the demo clinic; the first gun shows every main alarm within 90 s."""
    fleet = demo_fleet(guns, seed)
    logs = [_gun_log(gun, seconds, faults, seed + at, start_ns) for at, gun in enumerate(fleet)]
    return list(heapq.merge(*logs, key=lambda each: each.received_at_ns))


def _gun_log(
    gun: FleetGun, seconds: float, faults: NetworkFaults, seed: int, start_ns: int
) -> Iterator[Received]:
    feed = Feed(gun, faults, seed, start_ns)
    yield Received(start_ns, *feed.birth())
    chunks = iter(feed.chunk, None)
    messages = (message for chunk in chunks for message in chunk)
    for message in takewhile(lambda each: each.due_s <= seconds, messages):
        arrived_ns = start_ns + round(message.due_s * 1e9)
        for packet in message.packets:
            yield Received(arrived_ns, *packet)


def cut_anew(log: Iterable[Received], seed: int) -> Iterator[Received]:
    """The same samples in frames of 1 to 50 of them, numbered in order; all else as it was."""
    rng = np.random.default_rng(seed)
    seqs: dict[tuple[object, int], int] = {}
    for received in log:
        if not received.topic.endswith("/telemetry"):
            yield received
            continue
        frame = wire.decode(received.topic, received.payload)
        assert isinstance(frame, Frame)
        for piece in _pieces(frame, rng):
            key = (frame.id, frame.boot_id)
            seqs[key] = seqs.get(key, -1) + 1
            yield Received(received.received_at_ns, *wire.encode(replace(piece, seq=seqs[key])))


def _pieces(frame: Frame, rng: np.random.Generator) -> Iterator[Frame]:
    at = 0
    while at < len(frame.samples_lsb):
        end = at + int(rng.integers(1, 51))
        t0_ns = frame.t0_ns + round(at / frame.rate_hz * 1e9)
        yield replace(frame, t0_ns=t0_ns, samples_lsb=frame.samples_lsb[at:end])
        at = end
