"""Thousands of guns at a broker, cheap enough not to be what is measured.

    python -m benchmarks.load URL GUNS FRAMES [SECONDS]

`devices` plays a few guns once, into the file FRAMES; each gun of the load plays one of these loops
from a frame of its own. To publish is to copy a frame into a packet, write its sequence number, its
time and its packet identifier, and mend its CRC, which is linear: 1 µs a frame, and the socket's
part. Raw MQTT 3.1.1, QoS 1, a connection per GUNS_PER_CONNECTION guns; PUBACKs are counted.

A frame is due when its last sample was taken, so whoever hears an alarm knows by its
sample time how long it took. Nothing waits for the broker: what it does not take is sent late.

Without SECONDS guns keep no time: they publish as fast as a consumer takes it, until stdin ends.
There somebody says, a number a line, how many frames it has taken; AHEAD are under way.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import zlib
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import numpy as np
from numba import njit
from numpy.typing import NDArray

from devices.performance import Performance
from devices.profile import load_profiles
from devices.recording import Player, frame_of
from devices.script import Motion, Script, Segment
from devices.tissue import draw_client
from devices.unit import draw_operator, draw_unit
from pipeline.model import DeviceId, DeviceState, SessionEvent, SessionEventKind
from pipeline.wire import encode

SEED: Final = 7
MODEL: Final = "hx-16"
LOOPS: Final = 6
RATE_HZ: Final = 1600.0
FRAME_S: Final = 0.25
FRAME_NS: Final = 250_000_000
SAMPLES: Final = 400
GUNS_PER_CONNECTION: Final = 125
TICKS: Final = 25  # a frame's time in so many steps
TURNS: Final = 5  # a connection's guns publish in as many groups: fewer, larger writes
TICK_NS: Final = FRAME_NS // TICKS
LEAD_S: Final = 0.5  # from the last birth to the first frame
AHEAD: Final = 4_000  # paced: as many as a broker's window lets out, and a poll's time of frames
PACED_TURN_NS: Final = 200_000
GRACE_S: Final = 10.0  # for the last acknowledgements
_SEQ: Final = 12  # where a frame keeps what is written anew (contract, "Telemetry frame, binary")
_STAMPED: Final = 12  # bytes: both
_PUBLISH_QOS1: Final = 0x32
_CONNECT: Final = b"\x10%c\x00\x04MQTT\x04\x02\x00\x00\x00%c%s"  # 3.1.1, clean, no keep-alive

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

# In contact but for two seconds, which is the dearest there is; too much force once a loop.
_SCRIPT: Final = Script(
    "load",
    "a treatment with one press",
    (
        Segment(2.0, Motion.MOVE),
        Segment(9.0, Motion.GLIDE, 28.0),
        Segment(4.0, Motion.GLIDE, 95.0),
        Segment(9.0, Motion.GLIDE, 28.0),
    ),
)


# ---------------------------------------------------------------------------------- what is played


def write_frames(path: Path) -> None:
    """Play the loops and keep their frames, sequence number and time 0, as one array."""
    rng = np.random.default_rng(SEED)
    profile = load_profiles()[MODEL]
    loops: list[list[bytes]] = []
    for _ in range(LOOPS):
        unit, operator, client = draw_unit(profile, rng), draw_operator(rng), draw_client(rng)
        player = Player(DeviceId("c", "g"), unit, operator, client)
        takes = Performance(_SCRIPT, unit, operator, client, rng, 0)
        frames = [frame_of(t, player) for t in takes if len(t.samples_lsb) == SAMPLES]
        # at the sampling rate that makes the frames' times add up
        blank = (replace(each, seq=0, t0_ns=0, rate_hz=RATE_HZ) for each in frames)
        loops.append([encode(each)[1] for each in blank])
    least = min(len(loop) for loop in loops)
    flat = b"".join(payload for loop in loops for payload in loop[:least])
    np.save(path, np.frombuffer(flat, np.uint8).reshape(LOOPS, least, -1))


def _crc_tables(body_bytes: int) -> NDArray[np.uint32]:
    """What each value of each stamped byte changes in the CRC of a body that long."""
    zero = zlib.crc32(bytes(body_bytes))
    tables = np.zeros((_STAMPED, 256), np.uint32)
    body = bytearray(body_bytes)
    for at in range(_STAMPED):
        for value in range(256):
            body[_SEQ + at] = value
            tables[at, value] = zlib.crc32(body) ^ zero
        body[_SEQ + at] = 0
    return tables


@njit(cache=True)
def _stamp(
    packets: Bytes, heads: Bytes, mids: Any, loops: Bytes, which: Any, at: Any, seqs: Any, t0s: Any,
    tables: Any,
) -> None:  # fmt: skip
    """Write one PUBLISH a row: head, packet identifier, frame with its own number, time and CRC."""
    head_bytes, frame_bytes = heads.shape[1], loops.shape[2]
    start = head_bytes + 2
    for row in range(packets.shape[0]):
        packet = packets[row]
        packet[:head_bytes] = heads[row]
        packet[head_bytes] = mids[row] >> 8
        packet[head_bytes + 1] = mids[row] & 255
        packet[start:] = loops[which[row], at[row]]
        crc = np.uint32(0)
        for i in range(_STAMPED):
            value = (seqs[row] >> (8 * i)) if i < 4 else (t0s[row] >> (8 * (i - 4)))
            byte = np.uint8(value & 255)
            packet[start + _SEQ + i] = byte
            crc ^= tables[i, byte]
        end = start + frame_bytes - 4
        for i in range(4):
            packet[end + i] ^= np.uint8((crc >> np.uint32(8 * i)) & np.uint32(255))


# -------------------------------------------------------------------------------------- the sockets


class _Line:
    """One connection: what is to be sent, and how much has been acknowledged."""

    def __init__(self, address: tuple[str, int], name: str) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client_id = name.encode()
        self.socket.sendall(
            _CONNECT % (12 + len(client_id), len(client_id), client_id)  # under 128 bytes
        )
        answer = self.socket.recv(4, socket.MSG_WAITALL)
        assert answer == b"\x20\x02\x00\x00", f"the broker refused {name}: {answer!r}"  # noqa: S101
        self.socket.setblocking(False)
        self.waiting: list[memoryview] = []
        self.sent = 0
        self.acknowledged_bytes = 0

    def next_mids(self, count: int) -> NDArray[np.int64]:
        mids = (self.sent + np.arange(count)) % 65_535 + 1
        self.sent += count
        return mids

    def put(self, packets: bytes | NDArray[np.uint8]) -> None:
        self.waiting.append(memoryview(packets).cast("B"))
        self.flush()

    def flush(self) -> None:
        try:
            while self.waiting:
                first = self.waiting[0]
                done = self.socket.send(first)
                if done < len(first):
                    self.waiting[0] = first[done:]
                    return
                self.waiting.pop(0)
        except BlockingIOError:
            return

    def hear(self) -> None:
        try:
            self.acknowledged_bytes += len(self.socket.recv(1 << 16))
        except BlockingIOError:
            return

    @property
    def unacknowledged(self) -> int:
        return self.sent - self.acknowledged_bytes // 4  # a PUBACK has four bytes


def _publish_packet(topic: str, payload: bytes, mid: int, *, retain: bool) -> bytes:
    return _head(topic, len(payload), retain=retain) + mid.to_bytes(2, "big") + payload


def _head(topic: str, payload_bytes: int, *, retain: bool = False) -> bytes:
    name = topic.encode()
    left, length = 2 + len(name) + 2 + payload_bytes, b""
    while True:
        left, low = left >> 7, left & 127
        length += bytes((low | (0x80 if left else 0),))
        if not left:
            break
    return bytes((_PUBLISH_QOS1 | retain,)) + length + len(name).to_bytes(2, "big") + name


# --------------------------------------------------------------------------------------- the guns


class Report(NamedTuple):
    """What was published, how late each step was, and what that cost."""

    guns: int
    frames: int
    unacknowledged: int
    late_ms_max: float
    cpu_s: float
    wall_s: float
    start_ns: int
    late_us: list[int]


def gun_id(number: int) -> DeviceId:
    return DeviceId(f"c{number // 1000:02}", f"g{number:05}")  # topics of one length


def _turns(guns: Ints, line: int) -> list[Ints]:
    """By tick, the guns of a connection that publish then; connections take turns, too."""
    groups = {(n * (TICKS // TURNS) + line) % TICKS: guns[n::TURNS] for n in range(TURNS)}
    return [groups.get(tick, guns[:0]) for tick in range(TICKS)]


class _Taken:
    """How many frames the consumer has taken, as stdin last said."""

    def __init__(self) -> None:
        os.set_blocking(0, False)
        self._frames, self._rest = 0, b""

    def newest(self) -> int | None:
        """None when nobody will say more."""
        try:
            said = os.read(0, 1 << 16)
        except BlockingIOError:
            return self._frames
        if not said:
            return None
        *lines, self._rest = (self._rest + said).split(b"\n")
        if lines:
            self._frames = int(lines[-1])
        return self._frames


class Load:
    """All guns; `run` publishes in real time."""

    def __init__(self, url: str, guns: int, frames: Path) -> None:
        parts = urlsplit(url)
        address = parts.hostname or "127.0.0.1", parts.port or 1883
        self._loops: Bytes = np.load(frames)
        self._tables = _crc_tables(self._loops.shape[2] - 4)
        count = -(-guns // GUNS_PER_CONNECTION)
        self._lines = [_Line(address, f"load-{n}") for n in range(count)]
        self._of_line = [np.arange(n, guns, count) for n in range(count)]
        self._turns = [_turns(each, n) for n, each in enumerate(self._of_line)]
        self._guns = guns
        self._frames = 0
        self._late_us: list[int] = []
        topics = [f"massage/v1/{c}/{d}/telemetry" for c, d in map(gun_id, range(guns))]
        heads = b"".join(_head(topic, self._loops.shape[2]) for topic in topics)
        self._heads = np.frombuffer(heads, np.uint8).reshape(guns, -1)
        self._which = np.arange(guns) % LOOPS
        self._offset = (np.arange(guns) * 37) % self._loops.shape[1]  # no two neighbours in step

    def run(self, seconds: float) -> Report:
        self._begin()
        start_ns = time.time_ns() + round(LEAD_S * 1e9)
        began_s, began_cpu_s = time.monotonic(), time.process_time()
        for step in range(round(seconds * 1e9) // TICK_NS):
            due_ns = start_ns + step * TICK_NS
            self._turn_until(due_ns)
            self._late_us.append((time.time_ns() - due_ns) // 1_000)
            self._publish(due_ns, step)
        return self._report(start_ns, began_s, began_cpu_s)

    def run_paced(self) -> Report:
        """Publish as fast as frames are taken, for as long as somebody says so."""
        self._begin()
        start_ns, taken = time.time_ns(), _Taken()
        began_s, began_cpu_s = time.monotonic(), time.process_time()
        steps = count()
        while (newest := taken.newest()) is not None:
            self._turn_until(time.time_ns() + PACED_TURN_NS)
            if self._frames - newest < AHEAD:
                step = next(steps)
                self._publish(start_ns + step * TICK_NS, step)
        return self._report(start_ns, began_s, began_cpu_s)

    def _begin(self) -> None:
        one = np.zeros(1, np.int64)
        self._packets(one, one, 0, 0)  # compiled before the clock starts
        self._greet(time.time_ns())

    def _report(self, start_ns: int, began_s: float, began_cpu_s: float) -> Report:
        cpu_s, wall_s = time.process_time() - began_cpu_s, time.monotonic() - began_s
        end_ns = time.time_ns() + round(GRACE_S * 1e9)
        while self._unacknowledged and time.time_ns() < end_ns:
            self._turn_until(time.time_ns() + TICK_NS)
        return Report(
            self._guns,
            self._frames,
            self._unacknowledged,
            max(self._late_us, default=0) / 1e3,
            cpu_s,
            wall_s,
            start_ns,
            self._late_us,
        )

    @property
    def _unacknowledged(self) -> int:
        return sum(line.unacknowledged for line in self._lines)

    def _greet(self, now_ns: int) -> None:
        """Births and sessions; everybody waits until the broker has them."""
        for line, guns in zip(self._lines, self._of_line, strict=True):
            for number in guns.tolist():
                id_ = gun_id(number)
                birth = DeviceState(id_, True, 7, MODEL, str(number), "1", "ball", RATE_HZ, now_ns)
                start = SessionEvent(
                    id_, f"s-{number}", SessionEventKind.START, now_ns, f"op-{number % 500}",
                    "c-1", "quadriceps_left",
                )  # fmt: skip
                for message in (birth, start):
                    (mid,) = line.next_mids(1).tolist()
                    line.put(_publish_packet(*encode(message), mid, retain=True))
        while self._unacknowledged:
            self._turn_until(time.time_ns() + TICK_NS)

    def _publish(self, due_ns: int, step: int) -> None:
        """A frame of each gun whose turn it is."""
        number, tick = divmod(step, TICKS)
        for line, turns in zip(self._lines, self._turns, strict=True):
            turn = turns[tick]
            if turn.size:
                line.put(self._packets(turn, line.next_mids(turn.size), due_ns, number))
                self._frames += turn.size

    def _packets(self, guns: Ints, mids: Ints, due_ns: int, number: int) -> Bytes:
        packets = np.empty((guns.size, self._heads.shape[1] + 2 + self._loops.shape[2]), np.uint8)
        at = (self._offset[guns] + number) % self._loops.shape[1]
        numbers, t0s_ns = np.full(guns.size, number), np.full(guns.size, due_ns - FRAME_NS)
        _stamp(
            packets, self._heads[guns], mids, self._loops, self._which[guns], at, numbers, t0s_ns,
            self._tables,
        )  # fmt: skip
        return packets

    def _turn_until(self, due_ns: int) -> None:
        """Send what waits and hear acknowledgements until then."""
        while (left_ns := due_ns - time.time_ns()) > 0:
            time.sleep(min(left_ns / 1e9, TICK_NS / 1e9))
            for line in self._lines:
                line.hear()
                if line.waiting:
                    line.flush()


def main(url: str, guns: int, frames: Path, seconds: float | None) -> None:
    if not frames.exists():
        write_frames(frames)
    load = Load(url, guns, frames)
    report = load.run_paced() if seconds is None else load.run(seconds)
    print(json.dumps(report._asdict()))


if __name__ == "__main__":
    _, url, guns, frames, *more = sys.argv
    main(url, int(guns), Path(frames), float(more[0]) if more else None)
