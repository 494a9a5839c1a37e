"""The embedded store as it is written: what goes in is there once, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import random
import resource
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_records import (
    GUN,
    HOP_NS,
    SECOND_NS,
    T0_NS,
    alarm,
    dump,
    exposure,
    hop,
    line,
    random_log,
    session,
    status,
)

from pipeline.model import (
    Alarm,
    AlarmState,
    Counters,
    DeadLetter,
    DeviceId,
    DeviceStatus,
    Features,
    FeatureSecond,
    MinuteRollup,
    MotorState,
    OperatorExposure,
    Priority,
    Quality,
    Record,
    SessionSummary,
)
from pipeline.store import (
    AlarmFilter,
    ExposureFilter,
    Refused,
    Retention,
    SessionFilter,
    SpoolCount,
    SpoolKind,
    Store,
    StoreReader,
    StoreWriteError,
    queries,
    rows,
    schema,
    statements,
    writer,
)
from pipeline.store.folding import extend_second, start_second
from pipeline.store.retention import DAY_NS


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store", encode=line) as opened:
        yield opened


@pytest.fixture
def reader(store: Store) -> Iterator[StoreReader]:
    with StoreReader.open(store.directory) as opened:
        yield opened


NounT = TypeVar("NounT", bound=Record)
TIMES = st.integers(1, rows.INT64_MAX)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
NUMBERS = st.floats(allow_nan=False, width=64)
SITES = st.dictionaries(TEXTS, st.floats(0, 1e6), max_size=3)
GUNS = st.builds(DeviceId, st.sampled_from(["a", "b"]), st.sampled_from(["g1", "g2"]))


def nouns(noun: type[NounT]) -> st.SearchStrategy[NounT]:
    """Any value of every field, within what the field's type allows."""
    by_type = {
        "DeviceId": GUNS,
        "int": TIMES,
        "int | None": st.none() | TIMES,
        "float": NUMBERS,
        "float | None": st.none() | NUMBERS,
        "str": TEXTS,
        "str | None": st.none() | TEXTS,
        "bool": st.booleans(),
        "bytes": st.binary(max_size=50),
        "tuple[str, ...]": st.lists(TEXTS, max_size=3).map(tuple),
        "tuple[float, ...]": st.lists(NUMBERS, max_size=3).map(tuple),
        "Mapping[str, float]": SITES,
        "Mapping[str, int]": st.dictionaries(TEXTS, st.integers(0, 9), max_size=3),
        "Priority": st.sampled_from(Priority),
        "AlarmState": st.sampled_from(AlarmState),
        "Quality": st.sampled_from(Quality),
        "MotorState": st.sampled_from(MotorState),
    }
    return st.builds(noun, **{f.name: by_type[str(f.type)] for f in fields(noun)})


# Records, and how they are folded.


@settings(max_examples=60, deadline=None)
@given(
    nouns(Alarm).filter(lambda a: a.state is not AlarmState.CLEARED),
    nouns(SessionSummary),
    nouns(OperatorExposure),
    nouns(DeviceStatus),
    nouns(DeadLetter),
    nouns(Features),
)
def test_every_record_is_read_back_as_it_was(
    raised: Alarm,
    summary: SessionSummary,
    exposed: OperatorExposure,
    online: DeviceStatus,
    letter: DeadLetter,
    hopped: Features,
) -> None:
    with tempfile.TemporaryDirectory() as place, Store.open(Path(place)) as store:
        store.checkpoint([raised, summary, exposed, online, letter, hopped], b"")
        with StoreReader.open(store.directory) as reader:
            assert reader.current_alarms() == (raised,)
            assert [t.alarm for t in reader.alarm_history(AlarmFilter())] == [raised]
            assert reader.sessions(SessionFilter()) == (summary,)
            assert reader.exposures(ExposureFilter()) == (exposed,)
            assert reader.dead_letters() == (letter,)
            views = {view.id: view for view in reader.guns()}
            assert views[online.id].status == online
            if online.online or online.id != hopped.id:
                latest = views[hopped.id].latest
                assert latest is not None
                assert latest.last == hopped


def test_a_value_that_is_not_a_number_stays_one(store: Store, reader: StoreReader) -> None:
    store.checkpoint([hop(T0_NS, contact_force_n=math.nan, temperature_c=None)], b"")
    (view,) = reader.guns()
    assert view.latest is not None
    assert math.isnan(view.latest.last.contact_force_n)
    assert view.latest.last.temperature_c is None
    assert view.latest.contact_force_n_max == 0.0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3 * statements.SNAPSHOT_CHUNK_BYTES), min_size=1, max_size=4))
def test_the_last_snapshot_is_loaded_whatever_its_size(sizes: list[int]) -> None:
    with tempfile.TemporaryDirectory() as place, Store.open(Path(place)) as store:
        assert store.load_snapshot() is None
        for size in sizes:
            snapshot = random.Random(size).randbytes(size)
            store.checkpoint([], snapshot)
            assert store.load_snapshot() == snapshot


def test_counters_are_those_of_the_last_checkpoint_that_said(
    store: Store, reader: StoreReader
) -> None:
    assert reader.counters() is None
    counters = Counters(messages=9, frames=8, frames_processed=7, rejected={"crc": 1})
    store.checkpoint([], b"", counters)
    store.checkpoint([], b"")
    assert reader.counters() == counters


def test_a_second_is_its_last_hop_and_its_worst_values(store: Store, reader: StoreReader) -> None:
    first = T0_NS + HOP_NS
    forces = [30.0, 62.0, 31.0, 32.0]
    hops = [hop(first + i * HOP_NS, contact_force_n=f) for i, f in enumerate(forces)]
    hops[1] = replace(hops[1], quality=Quality.BAD, contact=False)
    store.checkpoint([*hops, hop(first + 4 * HOP_NS)], b"")
    (second, still_open) = reader.feature_seconds(GUN, T0_NS, T0_NS + 10 * SECOND_NS, limit=10)
    assert second.last == hops[3]  # it ends on the second, and so belongs to the one before
    assert (second.hops, second.contact_hops) == (4, 3)
    assert (second.contact_force_n_max, second.quality_worst) == (62.0, Quality.BAD)
    assert (still_open.hops, still_open.last.t_ns) == (1, first + 4 * HOP_NS)
    points = reader.features(GUN, T0_NS, T0_NS + 10 * SECOND_NS)
    assert [(p.t_ns, p.hops) for p in points] == [(T0_NS, 4), (T0_NS + SECOND_NS, 1)]


def test_a_clock_that_steps_back_adds_to_what_it_left(store: Store, reader: StoreReader) -> None:
    there, back = hop(T0_NS + 1, contact_force_n=50.0), hop(T0_NS + 1, contact_force_n=20.0)
    elsewhere = hop(T0_NS + 600 * SECOND_NS)
    for records in ([there, elsewhere], [back], [elsewhere, hop(T0_NS + 900 * SECOND_NS)]):
        store.checkpoint(records, b"")
    (second,) = reader.feature_seconds(GUN, T0_NS, T0_NS + SECOND_NS, limit=9)
    assert (second.hops, second.contact_force_n_max, second.last) == (2, 50.0, back)
    first, later, _ = _minutes(reader, GUN, T0_NS - 60 * SECOND_NS, T0_NS + 3600 * SECOND_NS)
    assert (first.hops, first.contact_force_n_sum, first.contact_force_n_max) == (2, 70.0, 50.0)
    assert (later.hops, later.running_hops) == (2, 2)


def test_a_gun_that_goes_offline_leaves_its_last_second_and_minute_closed(
    store: Store, reader: StoreReader
) -> None:
    last = hop(T0_NS + 2)
    store.checkpoint([hop(T0_NS + 1), last], b"")
    assert store.spool_read(9) == ()
    store.checkpoint([status(online=False)], b"")
    kinds = [spooled.kind for spooled in store.spool_read(9)]
    assert kinds == [SpoolKind.SECOND, SpoolKind.MINUTE, SpoolKind.STATUS]
    (view,) = reader.guns()
    assert view.latest is not None
    assert view.latest.last == last
    store.checkpoint([hop(T0_NS + 2 * HOP_NS)], b"")
    (point,) = reader.features(GUN, T0_NS - DAY_NS, T0_NS + DAY_NS, points_max=2)
    assert point.hops == 3


def naive_fold(
    hops: Sequence[Features], span_ns: int
) -> dict[tuple[DeviceId, int], list[Features]]:
    """The slow twin: which hops lie in which second or minute of which gun."""
    spans: dict[tuple[DeviceId, int], list[Features]] = defaultdict(list)
    for one in hops:
        spans[one.id, -(-one.t_ns // span_ns) - 1].append(one)
    return spans


@pytest.mark.parametrize("seed", range(3))
def test_seconds_and_minutes_agree_with_the_slow_twin(tmp_path: Path, seed: int) -> None:
    print(f"{seed=}")
    hops = [r for r in random_log(seed, 3000) if isinstance(r, Features)]
    steady = [  # without the clock's steps: those are for the test of batches
        replace(one, t_ns=T0_NS + i * HOP_NS)
        for gun in {one.id for one in hops}
        for i, one in enumerate(o for o in hops if o.id == gun)
    ]
    with Store.open(tmp_path) as store:
        store.checkpoint(steady, b"")
        with StoreReader.open(tmp_path) as reader:
            for (gun, second), expected in naive_fold(steady, SECOND_NS).items():
                start = second * SECOND_NS
                (found,) = reader.feature_seconds(gun, start + 1, start + SECOND_NS + 1, limit=9)
                _assert_second(found, expected)
            for (gun, minute), expected in naive_fold(steady, 60 * SECOND_NS).items():
                start = minute * 60 * SECOND_NS
                (found_minute,) = _minutes(reader, gun, start, start + 1)
                _assert_minute(found_minute, expected)


def _assert_second(found: FeatureSecond, expected: Sequence[Features]) -> None:
    forces = [one.contact_force_n for one in expected if not math.isnan(one.contact_force_n)]
    assert repr(found.last) == repr(expected[-1])  # repr: not-a-number is not equal to itself
    assert found.hops == len(expected)
    assert found.contact_hops == sum(one.contact for one in expected)
    assert found.contact_force_n_max == max(forces, default=0.0)
    assert found.stiffness_max == max(one.stiffness for one in expected)
    order = [Quality.GOOD, Quality.DEGRADED, Quality.BAD]
    assert found.quality_worst == max((one.quality for one in expected), key=order.index)


def _minutes(reader: StoreReader, gun: DeviceId, from_ns: int, to_ns: int) -> list[MinuteRollup]:
    asked = {**gun._asdict(), "from_ns": from_ns, "to_ns": to_ns}
    found = reader._query(f"{queries._THE_MINUTES} ORDER BY t_ns", asked)
    return [rows.MINUTE.read(values, id=gun) for values in found]


def _assert_minute(found: MinuteRollup, expected: Sequence[Features]) -> None:
    running = [one for one in expected if one.motor is not MotorState.OFF]
    pressed = [
        one.contact_force_n
        for one in expected
        if one.contact and not math.isnan(one.contact_force_n)
    ]
    assert found.hops == len(expected)
    assert found.contact_hops == sum(one.contact for one in expected)
    assert found.running_hops == len(running)
    assert found.degraded_hops == sum(one.quality is not Quality.GOOD for one in expected)
    assert math.isclose(found.contact_force_n_sum, math.fsum(pressed))
    assert math.isclose(found.percussion_hz_sum, math.fsum(one.percussion_hz for one in running))
    assert math.isclose(found.a_hv_m2_s4_sum, math.fsum(one.a_hv_m_s2**2 for one in running))
    assert found.stiffness_max == max(one.stiffness for one in expected)


# Whole or in pieces, killed, or without room.


def write_log(
    directory: Path, log: Sequence[Record], rng: random.Random, records_max: int, reopen: float
) -> None:
    """Write `log` in batches of random size, the place in it as snapshot, reopening at times."""
    store = Store.open(directory, encode=line)
    at = 0
    while at < len(log):
        taken = rng.randint(1, records_max)
        store.checkpoint(log[at : at + taken], str(at + taken).encode())
        at += taken
        if rng.random() < reopen:
            store.close()
            store = Store.open(directory, encode=line)
            assert store.load_snapshot() == str(at).encode()
    store.checkpoint([], b"end")
    store.close()


@pytest.mark.parametrize("seed", range(4))
def test_how_records_are_cut_into_batches_changes_nothing(tmp_path: Path, seed: int) -> None:
    print(f"{seed=}")
    log, rng = random_log(seed, 2000), random.Random(seed)
    write_log(tmp_path / "whole", log, rng, records_max=len(log), reopen=0.0)
    write_log(tmp_path / "cut", log, rng, records_max=40, reopen=0.1)
    assert dump(tmp_path / "cut") == dump(tmp_path / "whole")


def _write_until_killed(directory: Path, seed: int, count: int, progress: Connection) -> None:
    """A pipeline in small: goes on after its snapshot, and says after each checkpoint how far."""
    log, rng = random_log(seed, count), random.Random(seed)
    with Store.open(directory, encode=line) as store:
        at = int(store.load_snapshot() or b"0")
        while at < len(log):
            taken = rng.randint(1, 20)
            store.checkpoint(log[at : at + taken], str(min(at + taken, len(log))).encode())
            at += taken
            progress.send(at)
    progress.send(None)


def _run_and_kill(directory: Path, seed: int, count: int, rng: random.Random) -> bool:
    """Run a writer and kill it (SIGKILL) in a random checkpoint; True when it got to the end."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe(duplex=False)
    writer = spawn.Process(target=_write_until_killed, args=(directory, seed, count, theirs))
    writer.start()
    theirs.close()
    ended = False
    try:
        for _ in range(rng.randint(1, 40)):
            assert ours.poll(60), "the writer says nothing"
            if ours.recv() is None:
                ended = True
                break
        ours.poll(rng.uniform(0, 0.004))  # somewhere in the next checkpoint
    finally:
        writer.kill()
        writer.join()
    return ended


def test_after_kill_9_at_any_point_every_record_is_there_once(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"{seed=}")
    rng, count = random.Random(seed), 2500
    kills = 0
    while not _run_and_kill(tmp_path / "killed", seed, count, rng):
        kills += 1
    print(f"{kills=}")
    with Store.open(tmp_path / "undisturbed", encode=line) as store:
        store.checkpoint(random_log(seed, count), str(count).encode())
    assert kills > 0
    assert dump(tmp_path / "killed") == dump(tmp_path / "undisturbed")


def test_a_checkpoint_that_fails_leaves_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    log = random_log(seed=5, count=400)
    with Store.open(tmp_path / "full", encode=line) as store:
        store.checkpoint(log[:200], b"first")
        with _no_room_for_more(tmp_path / "full"), pytest.raises(StoreWriteError) as error:
            store.checkpoint(log[200:], bytes(4 * 2**20))
        assert str(tmp_path / "full") in str(error.value)
        assert store.load_snapshot() == b"first"
        store.checkpoint(log[200:], b"second")
    with Store.open(tmp_path / "roomy", encode=line) as store:
        store.checkpoint(log, b"second")
    assert dump(tmp_path / "full") == dump(tmp_path / "roomy")


def test_a_store_that_was_taken_away_is_missed(store: Store, tmp_path: Path) -> None:
    store.checkpoint([hop(T0_NS)], b"first")
    store.directory.rename(tmp_path / "elsewhere")
    with pytest.raises(StoreWriteError, match="moved or deleted"):
        store.checkpoint([hop(T0_NS + SECOND_NS)], b"second")
    (tmp_path / "elsewhere").rename(store.directory)
    store.checkpoint([hop(T0_NS + SECOND_NS)], b"second")
    assert store.load_snapshot() == b"second"


@contextlib.contextmanager
def _no_room_for_more(directory: Path) -> Iterator[None]:
    """As on a full disk: no file of this process may grow beyond the store's log by over 64 KiB."""
    log = directory / schema.LOG_NAME
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size + 64 * 1024, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# Bounds.


def test_dead_letters_are_capped_and_the_oldest_give_way(store: Store, reader: StoreReader) -> None:
    extra = 50
    letters = [
        DeadLetter(T0_NS + i, "t" * 1000, "too_long", bytes(9000) if i % 100 == 0 else b"x")
        for i in range(statements.DEAD_LETTERS_MAX + extra)
    ]
    assert store.checkpoint(letters, b"").dead_letters_dropped == extra
    kept = reader.dead_letters(limit=len(letters))
    assert [letter.received_at_ns for letter in kept] == [
        letter.received_at_ns for letter in reversed(letters[extra:])
    ]
    assert max(len(letter.payload) for letter in kept) == 4096
    assert max(len(letter.topic) for letter in kept) == 512
    size = reader.size()
    assert (size.dead_letters, size.dead_letters_dropped) == (statements.DEAD_LETTERS_MAX, extra)


def test_a_clock_beyond_what_the_store_can_hold_is_counted_and_stops_nothing(
    store: Store, reader: StoreReader
) -> None:
    beyond = 2**63
    records: list[Record] = [
        hop(beyond),
        hop(0),
        alarm("OVERDWELL", AlarmState.ACTIVE_UNACK, beyond),
        session("s-1", beyond),
        replace(status(online=True), t_ns=beyond),
        replace(exposure("op-7", "2026-09-21"), t_ns=beyond),
        hop(T0_NS),
    ]
    assert store.checkpoint(records, b"").unstorable == 6
    assert reader.size().unstorable == 6
    assert len(reader.feature_seconds(GUN, 0, beyond - 1, limit=9)) == 1
    assert reader.current_alarms() == ()


def test_a_reader_that_never_ends_does_not_stop_the_writer(store: Store) -> None:
    store.checkpoint([hop(T0_NS)], b"first")
    with contextlib.closing(
        sqlite3.connect(store.directory / schema.DATABASE_NAME, isolation_level=None)
    ) as slow:
        slow.execute("BEGIN")
        assert slow.execute("SELECT count(*) FROM second_open").fetchone() == (1,)
        for i in range(5):
            store.checkpoint([hop(T0_NS, DeviceId("clinic-a", f"gun-{i}"))], b"next")
        assert slow.execute("SELECT count(*) FROM second_open").fetchone() == (1,)
        slow.execute("COMMIT")
        assert slow.execute("SELECT count(*) FROM second_open").fetchone() == (5,)


def test_the_log_starts_over_once_readers_let_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "LOG_BYTES_MAX", 2**20)
    log = store.directory / schema.LOG_NAME
    with contextlib.closing(
        sqlite3.connect(store.directory / schema.DATABASE_NAME, isolation_level=None)
    ) as slow:
        slow.execute("BEGIN")
        slow.execute("SELECT count(*) FROM snapshot").fetchone()
        for i in range(8):
            store.checkpoint([], random.Random(i).randbytes(2**20))
    held = log.stat().st_size
    assert held > 8 * 2**20
    for i in range(16):
        store.checkpoint([], random.Random(i).randbytes(2**20))
    assert log.stat().st_size < held + 2 * 2**20


# What waits for InfluxDB.


def test_spooled_records_leave_in_order_once_acknowledged(
    store: Store, reader: StoreReader
) -> None:
    records: list[Record] = [
        alarm("OVERDWELL", AlarmState.ACTIVE_UNACK),
        exposure("op-7", "2026-09-21"),
        status(online=True),
        session("s-1", T0_NS),
        replace(session("s-1", T0_NS), ended_at_ns=T0_NS + 1),
    ]
    store.checkpoint(records, b"")
    store.checkpoint([hop(T0_NS), hop(T0_NS + SECOND_NS)], b"")
    spooled = store.spool_read(100)
    second = extend_second(start_second(hop(T0_NS)), hop(T0_NS))
    assert [s.line for s in spooled] == [
        line(records[0], None, 1),  # nobody knows the gun's model yet
        line(records[1], None, 0),
        line(records[2], "fx-16", 0),
        line(records[4], "fx-16", 0),  # a session goes out once, when it is over
        line(second, "fx-16", 0),
    ]
    assert store.spool_read(2) == spooled[:2]
    refused = Refused(spooled[1], "400: unable to parse")
    store.spool_acknowledge(spooled[3].position, [refused], now_ns=T0_NS)
    assert store.spool_read(100) == spooled[4:]
    letter = DeadLetter(T0_NS, "influx/exposure", refused.words, spooled[1].line.encode())
    assert reader.dead_letters() == (letter,)
    size = reader.size()
    assert (size.spooled, size.spool_bytes) == (1, len(spooled[4].line))
    counts = reader.spool_counts()
    assert counts[SpoolKind.EXPOSURE] == SpoolCount(spooled=1, refused=1)
    assert counts[SpoolKind.SECOND] == SpoolCount(spooled=1, waiting=1)
    assert counts[SpoolKind.ALARM].stored == 1


def test_a_full_spool_gives_up_seconds_first_and_never_what_is_under_way(
    store: Store, reader: StoreReader
) -> None:
    store.checkpoint([alarm("OVERDWELL", AlarmState.ACTIVE_UNACK), status(online=True)], b"")
    store.checkpoint([hop(T0_NS + i * SECOND_NS) for i in range(100)], b"")
    under_way = store.spool_read(10)
    full = Retention(size_bytes_max=2**40, spool_bytes_max=0)
    assert store.retire(full, T0_NS).spooled == 91
    assert reader.size().spooled == 11
    assert store.spool_read(10) == under_way
    store.spool_acknowledge(under_way[-1].position)
    counts = reader.spool_counts()
    assert counts[SpoolKind.SECOND] == SpoolCount(spooled=99, dropped=91)
    assert counts[SpoolKind.MINUTE].waiting == 1
    assert store.retire(full, T0_NS).spooled == 1
    assert (reader.size().spool_bytes, reader.size().spool_dropped) == (0, 92)


def test_nothing_is_spooled_unless_asked(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.checkpoint(random_log(seed=1, count=200), b"")
        assert store.spool_read(10) == ()
