"""Whether the pipeline's memory stays flat: an hour of a fleet, faster than it goes by.

    python -m benchmarks.memory_hour [guns] [seconds]

The whole of `myoguard run` with page, metrics, black box, a store on the disk and a real broker to
publish to. Only its messages do not come from the broker: some minutes of simulated guns with all
their alarms, rendered before and stamped anew for every gun and lap, as fast as they are taken.
Sessions begin and end with every lap. Prints the resident memory every five simulated minutes.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Self

import numpy as np
import psutil

from devices.demo import demo_fleet
from devices.feed import Feed
from devices.network import Packet
from devices.script import NO_FAULTS
from pipeline.app import Pipeline
from pipeline.app import pipeline as pipeline_module
from pipeline.broker import EmbeddedBroker
from pipeline.cli.gun_models import known_guns
from pipeline.config import BrokerSection, MetricsSection, PageSection, Settings, StoreSection, load
from pipeline.link import LinkStatus
from pipeline.model import Frame, Received
from pipeline.sources import Batch, Position
from pipeline.wire import decode, encode

SEED = 5
TRACKS = 4  # different guns of the demo; the others play the same at another time
FRAME_S = 1.0  # the longest of the contract: the hour is over three times as soon
TRACK_S = 120.0
TELL_S = 300.0
WINDOW = 13_000  # messages read and not committed, as the embedded broker has it
BATCH = 256
SEQ, T0, CRC = struct.Struct("<I"), struct.Struct("<Q"), struct.Struct("<I")
SEQ_AT, T0_AT = 12, 16  # contract, "Telemetry frame, binary"


@dataclass(frozen=True)
class Track:
    """What one gun says, from its start on: (seconds, kind, payload)."""

    messages: list[tuple[float, str, bytes]]
    start_ns: int

    def played(self, gun: int, start_ns: int) -> Iterator[Received]:
        """Lap after lap, by another gun."""
        topic = f"massage/v1/clinic-{gun % 5}/gun-{gun:03}"
        birth = self.messages[0][2]
        yield Received(start_ns, f"{topic}/state", birth)
        seq = count()
        for lap in count():
            lap_ns = start_ns + round(lap * TRACK_S * 1e9)
            for due_s, kind, payload in self.messages[1:]:
                at_ns = lap_ns + round(due_s * 1e9)
                if kind == "telemetry":
                    stamped = self._frame(payload, next(seq), lap_ns)
                else:
                    stamped = _session(payload, f"{gun}-{lap}", at_ns)
                yield Received(at_ns, f"{topic}/{kind}", stamped)

    def _frame(self, payload: bytes, seq: int, lap_ns: int) -> bytes:
        frame = bytearray(payload)
        (t0_ns,) = T0.unpack_from(frame, T0_AT)
        SEQ.pack_into(frame, SEQ_AT, seq)
        T0.pack_into(frame, T0_AT, lap_ns + t0_ns - self.start_ns)
        CRC.pack_into(frame, len(frame) - CRC.size, zlib.crc32(frame[: -CRC.size]))
        return bytes(frame)


def _session(payload: bytes, name: str, t_ns: int) -> bytes:
    said = json.loads(payload)
    return json.dumps(said | {"session_id": f"{said['session_id']}-{name}", "t_ns": t_ns}).encode()


def _merged(said: list[tuple[float, Packet]]) -> Iterator[tuple[float, str, bytes]]:
    """Frames that follow each other as one of a second; the rest as it is."""
    run: list[Frame] = []
    for at, (due_s, packet) in enumerate(said):
        message = decode(*packet)
        if not isinstance(message, Frame):
            yield due_s, packet.topic.rpartition("/")[2], packet.payload
            continue
        run.append(message)
        after = decode(*said[at + 1][1]) if at + 1 < len(said) else None
        is_long = sum(len(frame.samples_lsb) for frame in run) >= FRAME_S * message.rate_hz
        if is_long or not isinstance(after, Frame):
            samples = np.concatenate([frame.samples_lsb for frame in run])
            yield due_s, "telemetry", encode(replace(run[0], samples_lsb=samples))[1]
            run = []


def rendered() -> list[Track]:
    start_ns = time.time_ns()
    tracks = []
    for at, gun in enumerate(demo_fleet(TRACKS, SEED)):
        feed = Feed(gun, NO_FAULTS, SEED + at, start_ns)
        said = [(0.0, feed.birth())]
        while said[-1][0] < TRACK_S:
            said += [(m.due_s, packet) for m in feed.chunk() for packet in m.packets]
        messages = list(_merged([each for each in said if each[0] < TRACK_S]))
        tracks.append(Track(messages, start_ns))
    return tracks


class Loop:
    """A source: the fleet's messages as fast as they are taken, in order of their time."""

    keeps_arrival_times = True
    caught_up = False  # time passes with the messages alone
    lost_messages = 0

    def __init__(self, guns: int, seconds: float, stop: asyncio.Event) -> None:
        self.start_ns = time.time_ns()
        self.status = LinkStatus(connected=True, since_ns=self.start_ns)
        self.yielded = self.committed = 0
        self.simulated_s = 0.0
        self._guns, self._seconds, self._stop = guns, seconds, stop
        self._tracks = rendered()

    @property
    def uncommitted(self) -> int:
        return self.yielded - self.committed

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        pass

    async def commit(self, position: Position) -> None:
        self.committed = position

    async def batches(self) -> AsyncIterator[Batch]:
        step_ns = round(TRACK_S * 1e9 / self._guns)
        played = [
            self._tracks[gun % TRACKS].played(gun, self.start_ns + gun * step_ns)
            for gun in range(self._guns)
        ]
        merged = heapq.merge(*played, key=lambda each: each.received_at_ns)
        while messages := list(islice(merged, BATCH)):
            self.simulated_s = (messages[-1].received_at_ns - self.start_ns) / 1e9
            if self.simulated_s > self._seconds:
                break
            while self.uncommitted > WINDOW:  # noqa: ASYNC110 -- nobody is in a hurry
                await asyncio.sleep(0.01)
            self.yielded += len(messages)
            yield Batch(messages, Position(self.yielded))
        self._stop.set()


async def told(source: Loop, pipeline: Pipeline, directory: Path) -> None:
    store = directory / "store"
    process, began_s = psutil.Process(), time.monotonic()
    print("simulated  resident   store   messages  real time", flush=True)
    for at in count():
        while source.simulated_s < at * TELL_S or not store.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        stored = sum(each.stat().st_size for each in store.iterdir())
        print(
            f"{source.simulated_s / 60:5.0f} min  {process.memory_info().rss / 1e6:5.0f} MB "
            f"{stored / 1e6:5.0f} MB {pipeline.counters.messages:10,}"
            f"  {time.monotonic() - began_s:6.0f} s",
            flush=True,
        )


def settings_of(directory: Path, broker: EmbeddedBroker) -> Settings:
    return load(None).model_copy(
        update={
            "broker": BrokerSection(url=broker.mqtt_url),
            "store": StoreSection(directory=directory / "store"),
            "page": PageSection(port=0, accounts_file=directory / "accounts.json"),
            "metrics": MetricsSection(port=0),
        }
    )


async def main(guns: int = 200, seconds: float = 3600.0) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory, stop = Path(name), asyncio.Event()
        async with EmbeddedBroker(directory / "broker") as broker:
            settings = settings_of(directory, broker)
            source = Loop(guns, seconds, stop)
            pipeline_module.make_source = lambda _settings, **_: source  # type: ignore[assignment,return-value]
            pipeline = Pipeline(settings, known_guns(settings))
            telling = asyncio.create_task(told(source, pipeline, directory))
            await pipeline.run(stop)
            telling.cancel()


if __name__ == "__main__":
    asyncio.run(main(*(kind(word) for kind, word in zip((int, float), sys.argv[1:], strict=False))))
