"""The highest rate without loss and the cost of a frame, beside peers on the same broker.

Guns publish as fast as the consumer takes; 4,000 frames are under way at most, so that nobody is
measured drowning. The same payloads for all. About 130 s.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from benchmarks import consumers, influx, rig
from benchmarks.peers import node_red
from benchmarks.table import Table, UnavailableError, digits, figure
from pipeline.influx import Address, Server
from tests import servers

GUNS: Final = 2_000
SECONDS: Final = 3 * rig.LOOK_S
SETTLED: Final = 8 * GUNS  # frames of ours: two seconds of each gun
DATABASE: Final = "bench"
_COLUMNS: Final = (
    *("who", "does", "frames/s at most", "we take", "frames a CPU second", "we take"),
    *("broker's cores", "lost"),
)
_NOTES: Final = (
    "`we take`: our median over theirs, over mqtt; of those who only drop frames it is under 1.",
    (
        "A core each for consumer and broker, and the load beside them: who needs little is held"
        " back by the broker or by the load, whose core is then full."
    ),
    (
        "The script is benchmarks/peers/script.py, one frame at a time; Node-RED's flow, in"
        " benchmarks/peers/node_red.py, sends 500 points a request. InfluxDB is Debian's."
    ),
)

Opened = AbstractContextManager[consumers.Consumer]


class Who(NamedTuple):
    """A consumer; `opened` starts it on a broker, with a folder of its own."""

    name: str
    does: str
    opened: Callable[[servers.Server, Path], Opened]
    kind: str = "mqtt"
    settled: int = 0


def table() -> Table:
    floods: dict[str, rig.Flood] = {}
    missing = []
    for who in WHO:
        try:
            floods[who.name] = measured(who)
        except UnavailableError as reason:
            missing.append(f"Not measured, {who.name}: {reason}.")
    ours = floods[OURS]
    rows = [_row(who, floods[who.name], ours) for who in WHO if who.name in floods]
    return Table("The highest rate, beside peers", _COLUMNS, rows, (*_NOTES, *missing))


def measured(who: Who) -> rig.Flood:
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name,
        rig.broker(who.kind, Path(name) / "broker") as server,
        who.opened(server, Path(name)) as consumer,
    ):
        return rig.flood(consumer, server, GUNS, SECONDS, who.settled)


def _row(who: Who, theirs: rig.Flood, ours: rig.Flood) -> tuple[str, ...]:
    return (
        who.name,
        who.does,
        figure(theirs.frames_hz),
        _times(ours.frames_hz, theirs.frames_hz),
        figure(theirs.frames_per_cpu_s),
        _times(ours.frames_per_cpu_s, theirs.frames_per_cpu_s),
        digits(float(np.median(theirs.broker_cores))),
        f"{theirs.lost:,}",
    )


def _times(ours: tuple[float, ...], theirs: tuple[float, ...]) -> str:
    return f"{digits(float(np.median(ours) / np.median(theirs)))} ×"


# ------------------------------------------------------------------------------------ who there is


def _ours(kind: str) -> Callable[[servers.Server, Path], Opened]:
    return lambda server, directory: consumers.pipeline(server, kind, directory)


def _null(server: servers.Server, _: Path) -> Opened:
    return consumers.counting(*consumers.python("benchmarks.peers.null", str(server.port)))


def _mosquitto_sub(server: servers.Server, _: Path) -> Opened:
    return consumers.mosquitto_sub(server, rig.frame_bytes())


@contextmanager
def _script(server: servers.Server, directory: Path) -> Iterator[consumers.Consumer]:
    """Its client speaks version 2 only, which nginx puts before Debian's InfluxDB."""
    with ExitStack() as stack:
        engine = stack.enter_context(_influxd(directory))
        locations = influx.V2.format(f"http://127.0.0.1:{engine.port}")
        front = stack.enter_context(_there(lambda: servers.nginx(directory / "nginx", locations)))
        arguments = str(server.port), f"http://127.0.0.1:{front.port}"
        command = consumers.python("benchmarks.peers.script", *arguments)
        yield stack.enter_context(consumers.counting(*command))


@contextmanager
def _node_red(server: servers.Server, directory: Path) -> Iterator[consumers.Consumer]:
    with (
        _influxd(directory) as engine,
        consumers.counting(*node_red.command(server.port, engine.port)) as running,
    ):
        yield running


@contextmanager
def _influxd(directory: Path) -> Iterator[servers.Server]:
    with _there(lambda: servers.influxd(directory / "influxd")) as engine:
        Server(Address(f"http://127.0.0.1:{engine.port}")).make_database(DATABASE)
        yield engine


@contextmanager
def _there(
    start: Callable[[], AbstractContextManager[servers.Server]],
) -> Iterator[servers.Server]:
    """A server, or UnavailableError with the sentence that says how to get it."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(start())
        except AssertionError as error:
            raise UnavailableError(str(error)) from None
        yield server


OURS: Final = "`myoguard run`, mqtt"
WHO: Final = (
    Who(OURS, "everything, stored", _ours("mqtt"), settled=SETTLED),
    Who("`myoguard run`, nats", "everything, stored", _ours("nats"), "nats", SETTLED),
    Who("script: paho, scipy, influxdb-client", "RMS, weighting, frequency, stored", _script),
    Who("Node-RED", "RMS, stored", _node_red),
    Who("Python, paho", "drops it", _null),
    Who("`mosquitto_sub`", "drops it", _mosquitto_sub),
)
