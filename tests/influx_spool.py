"""A store whose spool holds records for InfluxDB, and draining it, for the tests of the sink."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from influx_engine import points
from servers import DEADLINE_S
from store_records import GUN, SECOND_NS, T0_NS, alarm, exposure, hop, session, status

from pipeline.influx import Address, Drain, Server, encode
from pipeline.model import AlarmState, Counters, DeviceId, PipelineStatus, Record
from pipeline.store import SpoolCount, SpoolKind, Store, StoreReader

# A field that every point of the measurement has, so that counting it counts points.
EVERY = {
    SpoolKind.SECOND: ("features", "hops"),
    SpoolKind.MINUTE: ("features_1m", "hops"),
    SpoolKind.ALARM: ("alarms", "open"),
    SpoolKind.SESSION: ("sessions", "contact_s"),
    SpoolKind.STATUS: ("devices", "online"),
    SpoolKind.EXPOSURE: ("operators", "a8_m_s2"),
    SpoolKind.PIPELINE: ("pipeline", "guns"),
}
ALL_TO = dict.fromkeys(SpoolKind, "myoguard")


@dataclass
class Spool:
    """The store, and what became of its lines."""

    store: Store
    reader: StoreReader

    def counts(self) -> dict[SpoolKind, SpoolCount]:
        return dict(self.reader.spool_counts())

    @property
    def waiting(self) -> int:
        return self.reader.size().spooled

    def drain(self, url: str, **settings: object) -> Drain:
        settings.setdefault("timeout_s", 1.0)
        server = Server(Address(url, **settings))  # type: ignore[arg-type]
        return Drain(self.store, server, ALL_TO)


@contextmanager
def spool(directory: Path) -> Iterator[Spool]:
    with (
        Store.open(directory, encode=encode) as store,
        StoreReader.open(directory) as reader,
    ):
        yield Spool(store, reader)


def seconds(count: int, guns: int = 10, start_ns: int = T0_NS) -> list[Record]:
    """At least `count` closed seconds of some guns, and their minutes."""
    ids = [DeviceId("north", f"gun-{i}") for i in range(guns)]
    return [
        hop(start_ns + i * SECOND_NS, gun, session_id=f"s-{gun.device}", site="calf_left")
        for i in range(-(-count // guns) + 1)
        for gun in ids
    ]


def one_of_each() -> list[Record]:
    return [
        status(online=True),
        alarm("OVERDWELL", AlarmState.ACTIVE_UNACK),
        replace(session("s-01", T0_NS), ended_at_ns=T0_NS + SECOND_NS),
        exposure("op-7", "2026-09-21"),
        *(hop(T0_NS + i * 61 * SECOND_NS, GUN, session_id="s-01") for i in range(2)),
    ]


def own_status() -> PipelineStatus:
    return PipelineStatus("myoguard", T0_NS, 1, Counters(), 0.2, 4096, 1, 100, 0, 0)


def drained(spool: Spool, drain: Drain, deadline_s: float = DEADLINE_S) -> float:
    """Turn until nothing waits, waiting as the drain says; the longest turn, in seconds."""
    end_s, longest_s = time.monotonic() + deadline_s, 0.0
    while spool.waiting:
        began_s = time.monotonic()
        assert began_s < end_s, f"{spool.waiting} lines wait; {drain.status}"
        pause_s = drain.turn()
        longest_s = max(longest_s, time.monotonic() - began_s)
        if spool.waiting:
            time.sleep(min(pause_s, max(0.0, end_s - time.monotonic())))
    return longest_s


def stored(port: int, database: str = "myoguard") -> dict[SpoolKind, int]:
    """How many points the engine has, by what they were made of."""
    return {kind: points(port, *EVERY[kind], database) for kind in SpoolKind}


def check_balance(spool: Spool, port: int, database: str = "myoguard") -> None:
    """Points in = points stored + dead letters, kind by kind."""
    found = stored(port, database)
    for kind, count in spool.counts().items():
        assert count.spooled == found[kind] + count.refused, f"{kind}: {count}, {found[kind]}"
