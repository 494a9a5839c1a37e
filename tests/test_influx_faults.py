"""Whatever goes wrong between spool and engine: points in = points stored + dead letters.

A real HTTP proxy before a real engine does what servers and networks do. Run with -s, this prints
the table of docs/reliability.md.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import servers
from influx_engine import Fault, FaultyProxy, faulty_proxy, influxql, make_database
from influx_spool import Spool, check_balance, drained, seconds, spool, stored
from store_records import SECOND_NS, T0_NS

from pipeline.influx import Address, Drain, DrainState, Server
from pipeline.influx.drain import DENIED_S
from pipeline.store import SpoolKind

LINES = 800  # of seconds, and a minute of each gun
A_REQUEST = 200
GUNS = 40
POISON = b"gun-7,"


@dataclass(frozen=True)
class Case:
    """Faults in a row, in front of healthy requests, or lines that are not taken."""

    name: str
    faults: tuple[Fault, ...] = ()
    poison_status: int | None = None  # of every request with a line of one gun of 40
    bytes_max: int | None = None
    dead: bool = False  # whether lines are lost to it
    states: frozenset[DrainState] = field(default=frozenset({DrainState.FLOWING}))


UNREACHABLE = frozenset({DrainState.FLOWING, DrainState.UNREACHABLE})
DENIED = frozenset({DrainState.FLOWING, DrainState.DENIED})
NONE, LOSE, CUT = Fault.NONE, Fault.LOSE_ANSWER, Fault.CUT
CASES = (
    Case("none"),
    Case("429 twice, come back in 1 s", (NONE, Fault.BUSY, Fault.BUSY), states=UNREACHABLE),
    Case("503 three times", (Fault.UNAVAILABLE,) * 3, states=UNREACHABLE),
    Case("no answer twice", (NONE, Fault.HANG, Fault.HANG), states=UNREACHABLE),
    Case("answers lost, four of five", (LOSE, LOSE, NONE, LOSE, LOSE), states=UNREACHABLE),
    Case("connections cut", (CUT, NONE, CUT), states=UNREACHABLE),
    Case("502 in bytes that are no text", (Fault.GARBLE,), states=UNREACHABLE),
    Case("401, then let in", (NONE, Fault.DENY), states=DENIED),
    Case("404, then made", (NONE, Fault.MISS), states=DENIED),
    Case("422 for one line in 40", poison_status=422, dead=True),
    Case("400 for the whole batch, one line in 40 is bad", poison_status=400, dead=True),
    Case("413 above 40 kB", bytes_max=40_000),
    Case(
        "503, lost answers and bad lines together",
        (LOSE, Fault.UNAVAILABLE, NONE, LOSE, CUT, NONE, LOSE),
        poison_status=400,
        dead=True,
        states=UNREACHABLE,
    ),
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    with servers.influxd(tmp_path_factory.mktemp("influxd")) as server:
        yield server


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    rows: list[str] = []
    yield rows
    print("\n| fault | points sent | stored | dead letters | requests | longest block |")
    print("| --- | --- | --- | --- | --- | --- |")
    print("\n".join(rows))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_goes_in_is_stored_or_a_dead_letter(
    engine: servers.Server, tmp_path: Path, table: list[str], case: Case
) -> None:
    influxql(engine.port, 'DROP DATABASE "myoguard"')
    make_database(engine.port, "myoguard")
    with spool(tmp_path) as ours, faulty_proxy(engine.port) as proxy:
        ours.store.checkpoint(seconds(LINES, guns=GUNS), b"")
        sent = ours.waiting
        proxy.faults.extend(case.faults)
        proxy.bytes_max = case.bytes_max
        if case.poison_status is not None:
            proxy.poison, proxy.poison_status = POISON, case.poison_status
        drain = Drain(
            ours.store,
            Server(Address(proxy.url, timeout_s=1.0)),
            dict.fromkeys(SpoolKind, "myoguard"),
            lines_a_request=A_REQUEST,
        )
        longest_s, states = until_empty(ours, drain)
        check_balance(ours, engine.port)
        check_dead_letters(ours, case)
        assert states == case.states
        assert list(case.faults) == proxy.met[: len(case.faults)], "every fault was met"
        dead = sum(count.refused for count in ours.counts().values())
        total = sum(stored(engine.port).values())
        assert sent == total + dead
        table.append(
            f"| {case.name} | {sent:,} | {total:,} | {dead:,} | {len(proxy.paths)} "
            f"| {longest_s:.1f} s |"
        )


def until_empty(ours: Spool, drain: Drain) -> tuple[float, frozenset[DrainState]]:
    """Turn until nothing waits; the longest turn, and every state that was seen."""
    longest_s, states = 0.0, {drain.status.state}
    end_s = time.monotonic() + 120.0
    while ours.waiting:
        began_s = time.monotonic()
        assert began_s < end_s, f"{ours.waiting} lines wait; {drain.status}"
        pause_s = drain.turn()
        longest_s = max(longest_s, time.monotonic() - began_s)
        states.add(drain.status.state)
        if drain.status.state is DrainState.DENIED:
            assert pause_s == DENIED_S  # a person needs longer than this test has time for
            pause_s = 0.0
        time.sleep(pause_s if ours.waiting else 0.0)
    return longest_s, frozenset(states)


def check_dead_letters(ours: Spool, case: Case) -> None:
    """They are the bad lines, all of them and no others, with what the server said."""
    letters = ours.reader.dead_letters(limit=10_000)
    counts = ours.counts()
    assert len(letters) == sum(count.refused for count in counts.values())
    assert bool(letters) is case.dead
    words = f"{case.poison_status}: a line cannot be taken"
    assert {letter.reason for letter in letters} <= {words}
    assert all(POISON in letter.payload for letter in letters)
    if case.dead:
        assert counts[SpoolKind.SECOND].refused * GUNS == counts[SpoolKind.SECOND].spooled


def proxied(ours: Spool, proxy: FaultyProxy) -> Drain:
    return ours.drain(proxy.url)


def test_the_time_a_server_asks_for_is_waited(engine: servers.Server, tmp_path: Path) -> None:
    with spool(tmp_path) as ours, faulty_proxy(engine.port) as proxy:
        ours.store.checkpoint(seconds(10), b"")
        proxy.faults.extend([Fault.BUSY, Fault.UNAVAILABLE])
        drain = proxied(ours, proxy)
        assert drain.turn() == 1.0
        assert "429" in drain.status.reason
        assert drain.turn() < 1.0  # a 503 without one: our own backoff
        assert drain.status.failures == 2


def test_nothing_overtakes_what_waits(engine: servers.Server, tmp_path: Path) -> None:
    """In order: while the first batch is not through, no later line is sent."""
    influxql(engine.port, 'DROP DATABASE "myoguard"')
    make_database(engine.port, "myoguard")
    with spool(tmp_path) as ours, faulty_proxy(engine.port) as proxy:
        proxy.faults.extend([Fault.UNAVAILABLE])
        ours.store.checkpoint(seconds(10, guns=1), b"")
        drain = proxied(ours, proxy)
        drain.turn()
        ours.store.checkpoint(seconds(10, guns=1, start_ns=T0_NS + 60 * SECOND_NS), b"")
        drain.turn()
        rows = influxql(engine.port, 'SELECT last("hops") FROM "features"', "myoguard")
        assert rows[0]["time"] == (T0_NS + 9 * SECOND_NS) // 1000
        drained(ours, drain)
        check_balance(ours, engine.port)
