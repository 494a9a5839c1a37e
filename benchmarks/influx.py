"""Points a second from the spool to a real InfluxDB, beside influxdb-client's own batching mode.

    python -m benchmarks.influx [POINTS]

Both ways write the same 20-field points of 200 guns into a database made anew for each, from a
process tied to one core; Debian's InfluxDB 1.6.7 may use the others. The client knows only the API
of version 2, which nginx puts before the engine; ours goes that way, and straight to the engine.
`CPU` is what this process took, which says what its core can do when nothing else wants it. Ours
starts from records: a checkpoint makes their lines and stores them in the spool, and the drain
sends them. At last the drain catches up with an outage while 200 guns go on as in life, four hops a
second, stored once a second.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import fields
from operator import attrgetter
from pathlib import Path

from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write.point import Point
from influxdb_client.client.write_api import WriteOptions
from influxdb_client.domain.write_precision import WritePrecision

from pipeline.influx import Address, Drain, Server
from pipeline.model import DeviceId, Features, FeatureSecond, MotorState, OutboundRecord, Quality
from pipeline.store import SpoolKind, Store, StoreReader
from tests import servers

V2 = """
location = /ping {{
  proxy_hide_header X-Influxdb-Version;
  add_header X-Influxdb-Version v2.7.1 always;
  proxy_pass {0};
}}
location = /api/v2/write {{ proxy_pass {0}/write?db=$arg_bucket&precision=u; }}
"""
GUNS, DATABASE = 200, "bench"
OUTAGE_S, HOPS_A_SECOND = 250, 4
T0_NS, SECOND_NS = 1_790_000_000_000_000_000, 1_000_000_000
A_CHECKPOINT = 2_000  # lines: a second of the largest fleet
NAMES = [field.name for field in fields(Features) if field.type == "float"]
NAMES += [f"{name}_again" for name in NAMES[: 20 - len(NAMES)]]
TEMPLATE = ",".join(f"{name}=%.6g" for name in NAMES)
numbers_of = attrgetter(*(name.removesuffix("_again") for name in NAMES))


def hop(gun: int, second: float) -> Features:
    numbers = {name: 1.234567 * (gun + 1) + 0.01 * second for name in NAMES if "_again" not in name}
    return Features(
        id=DeviceId("bench", f"gun-{gun:03}"),
        t_ns=T0_NS + round(second * SECOND_NS),
        motor=MotorState.RUNNING,
        contact=True,
        quality=Quality.GOOD,
        **numbers,
    )


def line(record: OutboundRecord, _model: str | None, _position: int) -> str:
    """20 fields, so that both ways write the same; ours have more."""
    last = record.last if isinstance(record, FeatureSecond) else None
    if last is None:
        return f"minutes,device={record.id.device} x=1 {record.t_ns // 1000}"
    head = f"bench,clinic={last.id.clinic},device={last.id.device},model=hx-16,site=unknown"
    return f"{head} {TEMPLATE % numbers_of(last)} {last.t_ns // 1000}"


def point(hop_: Features) -> Point:
    made = Point("bench").tag("clinic", hop_.id.clinic).tag("device", hop_.id.device)
    made.tag("model", "hx-16").tag("site", "unknown")
    for name, value in zip(NAMES, numbers_of(hop_), strict=True):
        made.field(name, value)
    return made.time(hop_.t_ns // 1000, WritePrecision.US)


def timed(what: str, points: int, work: Callable[[], object]) -> None:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    work()
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    print(f"{what:42} {points / wall_s:10,.0f} a second {points / cpu_s:10,.0f} a CPU second")


def ours(way: str, url: str, hops: list[Features]) -> None:
    server = Server(Address(url, timeout_s=60.0))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        with Store.open(path, encode=line) as store, StoreReader.open(path) as reader:

            def spool() -> None:
                for start in range(0, len(hops), A_CHECKPOINT):
                    store.checkpoint(hops[start : start + A_CHECKPOINT], b"")

            def drain() -> None:
                drain = Drain(store, server, dict.fromkeys(SpoolKind, DATABASE))
                while drain.turn() == 0.0:
                    pass

            timed("ours: records to lines in the spool", len(hops), spool)
            timed(f"ours: spool to engine, {way}", reader.size().spooled, drain)


def catching_up(url: str) -> None:
    """How fast the spool of an outage empties while the guns go on, beside how fast it filled."""
    with tempfile.TemporaryDirectory() as directory:
        path, over = Path(directory), threading.Event()
        with Store.open(path, encode=line) as store, StoreReader.open(path) as reader:
            for second in range(OUTAGE_S):
                store.checkpoint([hop(gun, second) for gun in range(GUNS)], b"")
            filled = reader.size().spooled / OUTAGE_S

            def go_on() -> None:
                second = OUTAGE_S
                while not over.wait(1.0):
                    times = [second + n / HOPS_A_SECOND for n in range(HOPS_A_SECOND)]
                    store.checkpoint([hop(gun, t) for t in times for gun in range(GUNS)], b"")
                    second += 1

            going_on = threading.Thread(target=go_on)
            drain = Drain(store, Server(Address(url)), dict.fromkeys(SpoolKind, DATABASE))
            going_on.start()
            began_s = time.perf_counter()
            while drain.turn() == 0.0:
                pass
            emptied = drain.status.lines_written / (time.perf_counter() - began_s)
            over.set()
            going_on.join()
    print(
        f"after an outage: filled at {filled:,.0f} lines a second, emptied at {emptied:,.0f} "
        f"while {GUNS} guns go on: {emptied / filled:.0f} times as fast"
    )


def theirs(url: str, hops: list[Features]) -> None:
    made: list[Point] = []
    timed("influxdb-client: Points made", len(hops), lambda: made.extend(map(point, hops)))
    timed("influxdb-client: batching to engine", len(hops), lambda: batching(url, made))


def batching(url: str, points: list[Point]) -> None:
    options = WriteOptions(batch_size=5_000, flush_interval=1_000)
    with InfluxDBClient(url, token="", org="-", timeout=60_000) as client:
        api = client.write_api(write_options=options)
        for each in points:
            api.write(DATABASE, record=each, write_precision=WritePrecision.US)
        api.close()


def main(count: int) -> None:
    hops = [hop(gun, second) for second in range(count // GUNS) for gun in range(GUNS)]
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        with servers.influxd(place / "influxd") as engine:
            engine_url = f"http://{servers.HOST}:{engine.port}"
            with servers.nginx(place / "nginx", V2.format(engine_url)) as proxy:
                os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
                measure(engine_url, f"http://{servers.HOST}:{proxy.port}", hops)


def measure(engine_url: str, url: str, hops: list[Features]) -> None:
    asking = Server(Address(engine_url, timeout_s=60.0))
    ways: list[Callable[[], None]] = [
        lambda: ours("own path", engine_url, hops),
        lambda: ours("version 2 by nginx", url, hops),
        lambda: theirs(url, hops),
        lambda: catching_up(engine_url),
    ]
    for way in ways:
        asking.query("", f'DROP DATABASE "{DATABASE}"')
        asking.make_database(DATABASE)
        way()
        rows = asking.query(DATABASE, f'SELECT count("{NAMES[0]}") FROM "bench"')  # noqa: S608
        print(f"  stored {rows[0][1]:,} (ours keeps each gun's last second open)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
