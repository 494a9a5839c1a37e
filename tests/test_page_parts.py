"""The pure parts of the page: what it says of what is known, at a given time."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from page_server import live_gun, put
from store_records import GUN, HOP_NS, SECOND_NS, T0_NS, alarm, hop, status

from pipeline.model import (
    Alarm,
    AlarmState,
    DeviceId,
    Live,
    Priority,
    Record,
)
from pipeline.page import LiveBoard, words
from pipeline.page.fleet import Fleet, GunState, Stored, Tile, compose
from pipeline.page.history import COLUMNS, make_history
from pipeline.page.sightings import Sightings
from pipeline.rules import ALARMS
from pipeline.sites import SiteTable
from pipeline.store import AlarmTransition, GunView, Store, StoreReader


def shown(
    board: LiveBoard,
    stored: Stored | None = None,
    now_ns: int = T0_NS,
    seen: Sightings | None = None,
) -> Fleet:
    return compose(stored or Stored(), board, SiteTable(), seen or Sightings(), now_ns)


def only_tile(fleet: Fleet) -> Tile:
    (tile,) = fleet.guns
    return tile


def stored_gun(tmp_path: Path, *records: Record) -> Stored:
    """What a store says that holds these records."""
    with Store.open(tmp_path) as store, StoreReader.open(tmp_path) as reader:
        store.checkpoint(list(records), b"")
        return Stored(reader.guns(), reader.current_alarms())


def test_the_board_keeps_what_came_last_and_no_more_than_its_bounds() -> None:
    board = LiveBoard(guns_max=3, alarms_max=2)
    for number in (1, 2, 3, 1, 4):
        put(board, live_gun(T0_NS - number), DeviceId("c", f"gun-{number}"))
        board.alarm(alarm("OVERDWELL", AlarmState.ACTIVE_UNACK, gun=DeviceId("c", f"g-{number}")))
        board.status(status(True, DeviceId("c", f"gun-{number}")))
    assert [gun.device for gun in board.guns] == ["gun-3", "gun-1", "gun-4"]
    assert [gun.device for gun in board.statuses] == ["gun-3", "gun-1", "gun-4"]
    assert [key[0].device for key in board.alarms] == ["g-1", "g-4"]
    put(
        board, live_gun(T0_NS - 99), DeviceId("c", "gun-4")
    )  # its clock went back: still the newest
    assert board.guns[DeviceId("c", "gun-4")].t_ns == T0_NS - 99


def test_every_rule_and_every_state_has_words() -> None:
    assert words.RULE_TITLES.keys() == ALARMS.keys()
    assert words.STATE_WORDS.keys() == set(AlarmState)
    assert len(set(words.RULE_TITLES.values())) == len(ALARMS)


@pytest.mark.parametrize(
    ("rule", "unit", "value", "setpoint", "said"),
    [
        ("EXCESS_PRESSURE", "N", 63.24, 50.0, "63.2 N, limit 50 N"),
        ("TENDON_PROXIMITY", "1", 1.104, 0.5, "stiffness 1.1, limit 0.5"),
        ("STARTED_TOO_STRONG", "1", 1.4, 1.0, "1.4 times the start limit"),
        ("BATTERY_LOW", "mV", 6700.0, None, "6700 mV"),
        ("DATA_GAPS", "frames", 1.0, None, "1 frame"),
        ("NO_GO_SITE", "N", 8.0, 0.0, "8 N"),
        ("UNCALIBRATED", "1", 1.0, 1.0, ""),
        ("EXCESS_PRESSURE", "N", None, 50.0, ""),
        ("EXCESS_PRESSURE", "N", math.nan, 50.0, ""),
    ],
)
def test_evidence_is_the_value_against_its_setpoint(
    rule: str, unit: str, value: float | None, setpoint: float | None, said: str
) -> None:
    raised = alarm(rule, AlarmState.ACTIVE_UNACK, unit=unit, value=value, setpoint=setpoint)
    assert words.evidence(raised, is_over=False) == said


def test_the_evidence_of_an_alarm_that_is_over_is_its_peak() -> None:
    over = alarm("EXCESS_PRESSURE", AlarmState.LATCHED, value=3.0, peak=71.0, setpoint=50.0)
    assert words.evidence(over, is_over=True) == "peak 71 N, limit 50 N"


@pytest.mark.parametrize(
    ("site", "said"),
    [("calf_left", "Left calf"), ("upper_back", "Upper back"), ("unknown", None)],
)
def test_a_site_in_words(site: str, said: str | None) -> None:
    assert words.site_words(site) == said


def test_the_worst_gun_comes_first() -> None:
    """Active alarms by priority, then contact (what is over first), the air, offline; by name."""
    expected = ["z-high", "y-medium", "x-low", "v-over", "gun-9", "gun-10", "b-air", "a-offline"]
    guns = {name: DeviceId("c", name) for name in expected}
    events: list[Live | Alarm] = [
        Live("c", T0_NS, {name: live_gun() for name in ("gun-10", "gun-9", "v-over")}),
        Live("c", T0_NS, {"b-air": live_gun(contact=False)}),
    ]
    for name, priority in zip(expected[:3], reversed(Priority), strict=True):
        raised = alarm("EXCESS_PRESSURE", AlarmState.ACTIVE_UNACK, gun=guns[name])
        events.append(replace(raised, priority=priority))
    events.append(alarm("NO_GO_SITE", AlarmState.LATCHED, gun=guns["v-over"]))
    waiting = alarm("UNCALIBRATED", AlarmState.ACTIVE_UNACK, gun=guns["a-offline"])
    events.append(replace(waiting, priority=Priority.LOW))
    for order in itertools.islice(itertools.permutations(events), 0, None, 97):
        board = LiveBoard()
        board.status(status(False, guns["a-offline"]))
        for event in order:
            board.put(event) if isinstance(event, Live) else board.alarm(event)
        assert [tile.device for tile in shown(board).guns] == expected


def test_the_board_knows_better_than_the_store(tmp_path: Path) -> None:
    raised = alarm("OVERDWELL", AlarmState.ACTIVE_UNACK)
    stored = stored_gun(tmp_path, hop(T0_NS, contact_force_n=20.0), raised)
    board = LiveBoard()
    assert [line.title for line in shown(board, stored).alarms] == ["Too long on one spot"]
    board.alarm(replace(raised, state=AlarmState.CLEARED))
    assert shown(board, stored).alarms == ()
    put(board, live_gun(T0_NS + HOP_NS, contact_force_n=44.0))
    readings = only_tile(shown(board, stored)).readings
    assert readings is not None
    assert readings.force_n == 44.0


def test_a_gun_that_says_nothing_is_not_shown_as_if_it_did() -> None:
    board, seen = LiveBoard(), Sightings()
    put(board, live_gun(T0_NS))
    tile = only_tile(shown(board, now_ns=T0_NS + 4 * SECOND_NS, seen=seen))
    assert (tile.state, tile.readings is None) == (GunState.CONTACT, False)
    tile = only_tile(shown(board, now_ns=T0_NS + 6 * SECOND_NS, seen=seen))
    assert (tile.state, tile.readings, tile.silent_s) == (GunState.SILENT, None, 6)


def test_a_gun_that_was_only_born_has_a_tile_without_values() -> None:
    stored = Stored(guns=(GunView(GUN, status(True), None),))
    tile = only_tile(shown(LiveBoard(), stored))
    assert (tile.state, tile.readings, tile.in_use) == (GunState.UNHEARD, None, False)


@pytest.mark.parametrize("clock_off_s", [-7200, 7200])
def test_silence_and_age_do_not_trust_the_clock_of_a_gun(clock_off_s: int) -> None:
    board, seen = LiveBoard(), Sightings()
    raised = alarm("OVERDWELL", AlarmState.ACTIVE_UNACK)
    for step in range(20):
        now_ns = T0_NS + step * HOP_NS
        gun_ns = now_ns + clock_off_s * SECOND_NS
        put(board, live_gun(gun_ns))
        board.alarm(replace(raised, raised_at_ns=T0_NS + clock_off_s * SECOND_NS))
        fleet = shown(board, now_ns=now_ns, seen=seen)
    assert only_tile(fleet).state is GunState.CONTACT
    assert fleet.alarms[0].age_s == 4
    fleet = shown(board, now_ns=now_ns + 7 * SECOND_NS, seen=seen)
    assert only_tile(fleet).state is GunState.SILENT
    assert fleet.alarms[0].age_s == 11


@given(
    force=st.floats(),
    dwell=st.floats(),
    stiffness=st.floats(),
    contact=st.booleans(),
    site=st.text(max_size=9),
    device=st.text(max_size=9),
)
def test_any_value_makes_a_message_and_none_that_is_missing_becomes_a_number(
    force: float, dwell: float, stiffness: float, contact: bool, site: str, device: str
) -> None:
    board = LiveBoard()
    values = live_gun(contact=contact, contact_force_n=force, dwell_s=dwell, stiffness=stiffness)
    put(board, replace(values, site=site), DeviceId("c", device))
    fleet = json.loads(orjson.dumps(shown(board)), parse_constant=pytest.fail)
    readings = fleet["guns"][0]["readings"]
    assert readings["force_n"] == (force if contact and math.isfinite(force) else None)
    assert readings["dwell_s"] == (dwell if math.isfinite(dwell) else None)


def test_a_history_breaks_where_nothing_came_and_spans_an_alarm_from_raise_to_end(
    tmp_path: Path,
) -> None:
    times_s = [1, 2, 3, 9, 10]
    hops = [
        hop(T0_NS + s * SECOND_NS, contact_force_n=40.0, contact_force_n_sd=3.0) for s in times_s
    ]
    with Store.open(tmp_path) as store, StoreReader.open(tmp_path) as reader:
        store.checkpoint(hops, b"")
        seconds = reader.feature_seconds(GUN, T0_NS, T0_NS + 60 * SECOND_NS, 100)
    raised = alarm("EXCESS_PRESSURE", AlarmState.ACTIVE_UNACK, raised_at_ns=T0_NS - 5 * SECOND_NS)
    over = replace(raised, state=AlarmState.RTN_UNACK, changed_at_ns=T0_NS + 4 * SECOND_NS)
    again = replace(raised, raised_at_ns=T0_NS + 8 * SECOND_NS, count=2)
    transitions = [AlarmTransition(2, again), AlarmTransition(1, over)]
    history = make_history(
        seconds, transitions, [again], SiteTable(), T0_NS, T0_NS + 10 * SECOND_NS
    )
    force = [row[COLUMNS.index("force_n")] for row in history.rows]
    assert force == [40.0, 40.0, 40.0, None, 40.0, 40.0]
    low, band = (COLUMNS.index(name) for name in ("force_n_low", "force_n_band"))
    assert (history.rows[0][low], history.rows[0][band]) == (34.0, 12.0)
    zero_ms = T0_NS // 1_000_000
    spans = [(span.panel, span.from_ms - zero_ms, span.to_ms - zero_ms) for span in history.spans]
    assert spans == [("force", -5000, 4000), ("force", 8000, 10000)]


@pytest.mark.parametrize(("began_s", "shown_s"), [(10, 60), (90, 89), (400, 300)])
def test_the_charts_begin_where_the_gun_began(tmp_path: Path, began_s: int, shown_s: int) -> None:
    with Store.open(tmp_path) as store, StoreReader.open(tmp_path) as reader:
        store.checkpoint([hop(T0_NS + s * SECOND_NS) for s in range(1, began_s + 1)], b"")
        to_ns = T0_NS + began_s * SECOND_NS
        from_ns = to_ns - 300 * SECOND_NS
        seconds = reader.feature_seconds(GUN, from_ns, to_ns + 1, 1000)
    history = make_history(seconds, [], [], SiteTable(), from_ns, to_ns)
    assert history.to_ms - history.from_ms == shown_s * 1000


def test_an_acknowledged_alarm_no_longer_calls() -> None:
    board = LiveBoard()
    raised = alarm("EXTREME_PRESSURE", AlarmState.ACTIVE_UNACK, priority=Priority.HIGH)
    board.alarm(raised)
    assert only_tile(shown(board)).calls
    board.alarm(replace(raised, state=AlarmState.ACTIVE_ACK))
    tile = only_tile(shown(board))
    assert (tile.attention, tile.calls) == (Priority.HIGH, False)
