"""The store as the page and the reports read it, and what is deleted when it is too much."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_records import (
    GUN,
    HOP_NS,
    OTHER,
    SECOND_NS,
    T0_NS,
    alarm,
    exposure,
    hop,
    line,
    session,
    status,
)

from pipeline.model import (
    AlarmState,
    DeadLetter,
    DeviceId,
    MotorState,
    Priority,
    Record,
)
from pipeline.store import (
    AlarmFilter,
    ExposureFilter,
    Retention,
    SessionFilter,
    Store,
    StoreReader,
    queries,
)
from pipeline.store.retention import DAY_NS, ROWS_PER_CALL_MAX


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store", encode=line) as opened:
        yield opened


@pytest.fixture
def reader(store: Store) -> Iterator[StoreReader]:
    with StoreReader.open(store.directory) as opened:
        yield opened


def test_current_alarms_are_those_not_cleared(store: Store, reader: StoreReader) -> None:
    raised = alarm("OVERDWELL", AlarmState.ACTIVE_UNACK, T0_NS)
    acknowledged = replace(raised, state=AlarmState.ACTIVE_ACK, changed_at_ns=T0_NS + 5, by="op-7")
    without_session = alarm("DEVICE_OFFLINE", AlarmState.LATCHED, gun=OTHER, session_id=None)
    store.checkpoint([raised, without_session], b"")
    store.checkpoint([acknowledged], b"")
    assert reader.current_alarms() == (acknowledged, without_session)
    assert reader.current_alarms("clinic-b") == (without_session,)
    store.checkpoint([replace(acknowledged, state=AlarmState.CLEARED)], b"")
    assert reader.current_alarms() == (without_session,)
    assert len(reader.alarm_history(AlarmFilter())) == 4


@pytest.mark.parametrize(
    ("wanted", "positions"),
    [
        (AlarmFilter(), [5, 4, 3, 2, 1]),
        (AlarmFilter(clinic="clinic-b"), [5]),
        (AlarmFilter(clinic="clinic-a", device="gun-1"), [4, 3, 2, 1]),
        (AlarmFilter(rule="OVERDWELL"), [3, 1]),
        (AlarmFilter(priority=Priority.HIGH), [4]),
        (AlarmFilter(state=AlarmState.CLEARED), [3]),
        (AlarmFilter(session_id="s-02"), [2]),
        (AlarmFilter(operator="op-8"), [5]),
        (AlarmFilter(from_ns=T0_NS + 2, to_ns=T0_NS + 4), [4, 3]),
        (AlarmFilter(before=3), [2, 1]),
        (AlarmFilter(rule="NO_SUCH_RULE"), []),
    ],
)
def test_alarm_history_is_filtered(
    store: Store, reader: StoreReader, wanted: AlarmFilter, positions: list[int]
) -> None:
    store.checkpoint(
        [
            alarm("OVERDWELL", AlarmState.ACTIVE_UNACK, T0_NS),
            alarm("EXCESS_PRESSURE", AlarmState.ACTIVE_UNACK, T0_NS + 1, session_id="s-02"),
            alarm("OVERDWELL", AlarmState.CLEARED, T0_NS + 2),
            alarm("NO_GO_SITE", AlarmState.LATCHED, T0_NS + 3, priority=Priority.HIGH),
            alarm("SESSION_TIME", AlarmState.ACTIVE_UNACK, T0_NS + 4, OTHER, operator="op-8"),
        ],
        b"",
    )
    assert [found.position for found in reader.alarm_history(wanted)] == positions
    assert [found.position for found in reader.alarm_history(wanted, limit=1)] == positions[:1]


def test_sessions_and_exposures_are_kept_up_to_date_and_filtered(
    store: Store, reader: StoreReader
) -> None:
    first, second = session("s-1", T0_NS), session("s-2", T0_NS + 9, OTHER)
    store.checkpoint([first, second, exposure("op-7", "2026-09-20")], b"")
    ended = replace(first, ended_at_ns=T0_NS + 5, contact_s=99.0)
    today = replace(exposure("op-7", "2026-09-21"), points=100.0)
    store.checkpoint([ended, exposure("op-7", "2026-09-21"), today], b"")
    assert reader.sessions(SessionFilter()) == (second, ended)
    assert reader.sessions(SessionFilter(clinic="clinic-a", client="c-1")) == (ended,)
    assert reader.sessions(SessionFilter(from_ns=T0_NS + 1)) == (second,)
    assert reader.sessions(SessionFilter(operator="op-9")) == ()
    assert reader.exposures(ExposureFilter(operator="op-7", from_day="2026-09-21")) == (today,)
    assert len(reader.exposures(ExposureFilter(to_day="2026-09-21"))) == 2


@settings(max_examples=40, deadline=None)
@given(
    start_s=st.integers(-100, 9000),
    span_s=st.integers(1, 12_000),
    points_max=st.integers(2, 50),
)
def test_a_chart_has_at_most_the_points_asked_for_and_loses_no_contact(
    long_store: StoreReader, start_s: int, span_s: int, points_max: int
) -> None:
    from_ns, to_ns = T0_NS + start_s * SECOND_NS, T0_NS + (start_s + span_s) * SECOND_NS
    points = long_store.features(GUN, from_ns, to_ns, points_max)
    assert len(points) <= points_max
    assert [p.t_ns for p in points] == sorted({p.t_ns for p in points})
    whole = long_store.features(GUN, from_ns, to_ns, points_max=100_000)
    assert sum(p.hops for p in points) == sum(p.hops for p in whole)
    assert sum(p.contact_s for p in points) == sum(p.contact_s for p in whole)
    worst = max((p.contact_force_n_max for p in whole), default=0.0)
    assert max((p.contact_force_n_max for p in points), default=0.0) == worst
    assert (len(whole) == 0) or whole[0].span_s == (60.0 if span_s > 3600 else 1.0)


@pytest.fixture(scope="module")
def long_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreReader]:
    """Two and a half hours of one gun."""
    rng = random.Random(7)
    hops = [
        hop(T0_NS + i * HOP_NS, contact_force_n=rng.uniform(0, 60), contact=rng.random() < 0.5)
        for i in range(4 * 9000)
    ]
    directory = tmp_path_factory.mktemp("long")
    with Store.open(directory) as store:
        store.checkpoint(hops, b"")
    with StoreReader.open(directory) as reader:
        yield reader


def test_means_of_a_chart_are_over_contact_and_over_the_motor_running(
    store: Store, reader: StoreReader
) -> None:
    pressed = hop(T0_NS + HOP_NS, contact_force_n=40.0, percussion_hz=30.0, a_hv_m_s2=3.0)
    off = replace(
        pressed,
        t_ns=T0_NS + 2 * SECOND_NS,
        contact=False,
        contact_force_n=0.0,
        motor=MotorState.OFF,
        percussion_hz=0.0,
        a_hv_m_s2=0.0,
    )
    store.checkpoint([pressed, off], b"")
    for span_ns in (1800 * SECOND_NS, DAY_NS):  # from the seconds, and from the rollups
        start = T0_NS // span_ns * span_ns
        (point,) = reader.features(GUN, start, start + span_ns, points_max=2)
        assert (point.contact_force_n_mean, point.contact_force_n_max) == (40.0, 40.0)
        assert (point.percussion_hz_mean, point.a_hv_m_s2_rms) == (30.0, 3.0)
        assert (point.contact_s, point.hops) == (0.25, 2)


@pytest.mark.parametrize("name", ["SECONDS", "SECOND_POINTS", "MINUTE_POINTS"])
def test_a_guns_history_is_found_by_its_key(reader: StoreReader, name: str) -> None:
    """Read from end to end, a fleet's features would take minutes where they take milliseconds."""
    asked = {"clinic": "", "device": "", "from_ns": 0, "to_ns": 1, "span_ns": 1, "limit": 1}
    plan = reader._query(f"EXPLAIN QUERY PLAN {getattr(queries, name)}", asked)
    steps = [str(step[3]) for step in plan]
    assert any(
        s.startswith(("SEARCH features USING PRIMARY", "SEARCH rollup_1min USING PRIMARY"))
        for s in steps
    )
    assert not [s for s in steps if s.startswith(("SCAN features", "SCAN rollup", "SCAN second"))]


def test_what_is_too_old_goes_and_the_rest_stays(store: Store, reader: StoreReader) -> None:
    old, new = T0_NS, T0_NS + 10 * DAY_NS
    store.checkpoint(
        [
            *(hop(t, gun) for gun in (GUN, OTHER) for t in (old, old + SECOND_NS, new)),
            status(online=False),
            alarm("OVERDWELL", AlarmState.CLEARED, old),
            alarm("EXCESS_PRESSURE", AlarmState.ACTIVE_UNACK, old),
            alarm("OVERDWELL", AlarmState.CLEARED, new),
            session("s-1", old),
            session("s-2", new),
            DeadLetter(old, "t", "r", b""),
            DeadLetter(new, "t", "r", b""),
        ],
        b"",
    )
    keep_two_days = Retention(size_bytes_max=2**40, features_days=2, rollups_days=2, records_days=2)
    retired = store.retire(keep_two_days, now_ns=new + DAY_NS)
    assert (retired.features, retired.rollups, retired.records) == (4, 2, 3)
    assert [s.last.t_ns for s in reader.feature_seconds(GUN, 0, new + 1, limit=9)] == [new]
    assert [s.last.t_ns for s in reader.feature_seconds(OTHER, 0, new + 1, limit=9)] == [new]
    history = reader.alarm_history(AlarmFilter())
    assert [found.alarm.rule for found in history] == ["OVERDWELL", "EXCESS_PRESSURE"]
    assert [found.session_id for found in reader.sessions(SessionFilter())] == ["s-2"]
    assert [letter.received_at_ns for letter in reader.dead_letters()] == [new]
    assert store.retire(keep_two_days, now_ns=new + DAY_NS).total == 0


def test_over_its_size_the_store_gives_up_features_first_and_standing_alarms_never(
    tmp_path: Path,
) -> None:
    guns = [DeviceId("clinic-a", f"gun-{i}") for i in range(4)]
    hops = [hop(T0_NS + i * SECOND_NS, gun) for i in range(4000) for gun in guns]
    standing = alarm("NO_GO_SITE", AlarmState.LATCHED)
    others: list[Record] = [standing, alarm("OVERDWELL", AlarmState.CLEARED), session("s-1", T0_NS)]
    with Store.open(tmp_path, encode=line) as store, StoreReader.open(tmp_path) as reader:
        store.checkpoint([*hops, *others], b"snapshot")
        full = reader.size().used_bytes
        assert store.retire(Retention(size_bytes_max=full), T0_NS).total == 0
        stages, order = ["features", "rollups", "spooled", "records"], []
        while (retired := store.retire(Retention(size_bytes_max=0), T0_NS)).total:
            assert retired.total <= ROWS_PER_CALL_MAX
            order += [stage for stage in stages if getattr(retired, stage)]
        assert order == sorted(order, key=stages.index)
        assert set(order) == set(stages)
        assert reader.current_alarms() == (standing,)
        assert [found.alarm for found in reader.alarm_history(AlarmFilter())] == [standing]
        assert store.load_snapshot() == b"snapshot"
        assert reader.size().used_bytes < full / 10
        assert reader.size().spool_dropped > 0
    with Store.open(tmp_path) as store:  # what is left can be added to
        store.checkpoint([alarm("OVERDWELL", AlarmState.ACTIVE_UNACK)], b"next")


def test_the_oldest_hour_of_the_fleet_goes_before_any_later_one(
    store: Store, reader: StoreReader
) -> None:
    late = T0_NS + DAY_NS
    guns = [(GUN, T0_NS), (OTHER, late)]
    hops = [hop(start + i * SECOND_NS, gun) for gun, start in guns for i in range(100)]
    store.checkpoint(hops, b"")
    assert store.retire(Retention(size_bytes_max=0), late).features == 99  # one is still open
    assert len(reader.feature_seconds(OTHER, 0, late + DAY_NS, limit=1000)) == 100
