"""Scripts, their truth and their files: what is scripted happens, and the truth says what happened.

The truth is judged on states made by hand with known answers, then on every named scenario.
"""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.demo import DEMO_HEAD, demo_fleet
from devices.gun import FloatArray
from devices.network import FaultyPath, Packet
from devices.performance import Performance, Take
from devices.profile import load_profile, load_profiles
from devices.recording import (
    START_NS,
    LoadcellClock,
    Player,
    Truth,
    frame_of,
    loadcell_rows,
    play,
    truth_of,
    write_bench,
    write_recording,
)
from devices.scenarios import BENCH_FORCES_N, SCENARIOS, bench_script, draw_session
from devices.script import Motion, NetworkFaults, Script, Segment
from devices.suite import choose_models, write_suite
from devices.tissue import TissueKind, draw_client
from devices.truth import GRID_S, Span, spans, tracks
from devices.unit import BENCH_OPERATOR, draw_operator, draw_unit
from pipeline.model import DeviceId, DeviceState, Frame, FrameFlag
from pipeline.wire import DecodeError, decode, encode

MODELS = list(load_profiles())
EPOCH_S = 2.0  # rows of a hand-made take
RATE_HZ = 500.0


def make_player(model: str = "hx-12", seed: int = 3, head: str | None = "ball") -> Player:
    rng = np.random.default_rng(seed)
    unit = draw_unit(load_profile(model), rng, head)
    return Player(DeviceId("test", "gun-1"), unit, draw_operator(rng), draw_client(rng))


@lru_cache(maxsize=64)
def performed(name: str) -> tuple[Player, list[Take], Truth]:
    """A named scenario, played by a model of its own."""
    script = SCENARIOS[name]
    player = make_player(MODELS[list(SCENARIOS).index(name) % len(MODELS)])
    rng = np.random.default_rng(11)
    performance = Performance(script, player.unit, player.operator, player.client, rng, START_NS)
    takes = list(performance)
    return player, takes, truth_of(takes, script, player, performance)


# ------------------------------------------------------------------------- truth, by hand


def made_take(
    force: FloatArray, tissue: FloatArray | int = 1, x_cm: FloatArray | float = 0.0
) -> Take:
    """A state with known answers."""
    count = len(force)
    position = np.zeros((count, 2))
    position[:, 0] = x_cm
    return Take(
        seq=0, t_s=0.0, true_rate_hz=RATE_HZ, rate_hz=RATE_HZ, clock_ns=0, set_hz=40.0,
        samples_lsb=np.zeros((count, 4), dtype=np.int16), flags=FrameFlag(1), battery_mv=7400,
        temperature_c=25.0, force_n=force, force_n_peak=force, crank_hz=np.full(count, 40.0),
        tissue=np.broadcast_to(np.asarray(tissue, dtype=np.int8), (count,)), position_cm=position,
        site=None,
    )  # fmt: skip


def pulse(force_n: float, seconds: float, rest_n: float = 0.0, whole_s: float = 20.0) -> FloatArray:
    """`seconds` of a force from 5 s on, `rest_n` before and after."""
    t = np.arange(int(whole_s * RATE_HZ)) / RATE_HZ
    return np.where((t >= 5.0) & (t < 5.0 + seconds), force_n, rest_n)


def only(found: list[Span], rule: str) -> list[Span]:
    return [span for span in found if span.rule == rule]


def test_pressure_begins_at_110_percent_is_allowed_from_90_and_ends_there() -> None:
    """A step from 0 to 100 N: the centred 1 s mean climbs 1 N every 10 ms from 4.5 s on."""
    (span,) = only(spans(tracks([made_take(pulse(100.0, 6.0))])), "EXCESS_PRESSURE")
    assert span.must
    assert span.allowed_from_s == pytest.approx(4.95, abs=2 * GRID_S)
    assert span.start_s == pytest.approx(5.05, abs=2 * GRID_S)
    assert span.onset_s == pytest.approx(6.05, abs=2 * GRID_S)
    assert span.end_s == pytest.approx(11.05, abs=2 * GRID_S)


@pytest.mark.parametrize(
    ("force_n", "seconds", "must"),
    [
        (60.0, 6.0, True),
        (52.0, 6.0, False),
        (44.0, 6.0, None),
        (80.0, 1.0, False),
        (80.0, 3.0, True),
    ],
)
def test_pressure_near_the_limit_or_short_is_not_scored(
    force_n: float, seconds: float, must: bool | None
) -> None:
    found = only(spans(tracks([made_take(pulse(force_n, seconds, 20.0))])), "EXCESS_PRESSURE")
    assert [span.must for span in found] == ([] if must is None else [must])


@settings(max_examples=40, deadline=None)
@given(st.floats(58.0, 140.0), st.floats(1.2, 8.0))
def test_a_press_must_be_found_exactly_when_it_lasts(force_n: float, seconds: float) -> None:
    """Time of the trapezoid over 55 N, from its geometry, against 1.1 s."""
    over_s = seconds + 1.0 - 2.0 * 55.0 / force_n
    if abs(over_s - 1.1) < 0.05:
        return
    found = only(spans(tracks([made_take(pulse(force_n, seconds))])), "EXCESS_PRESSURE")
    assert [span.must for span in found if span.must] == ([True] if over_s > 1.1 else [])


def test_extreme_pressure_has_its_own_limit_and_delay() -> None:
    found = spans(tracks([made_take(pulse(130.0, 4.0))]))
    (extreme,) = only(found, "EXTREME_PRESSURE")
    assert extreme.onset_s - extreme.start_s == pytest.approx(0.5)
    assert extreme.start_s > only(found, "EXCESS_PRESSURE")[0].start_s


def tendon_for(seconds: float, force_n: float = 25.0, kind: TissueKind = TissueKind.TENDON) -> Take:
    force = np.full(int(20.0 * RATE_HZ), force_n)
    on = pulse(1.0, seconds) > 0.0
    return made_take(force, np.where(on, int(kind), int(TissueKind.MUSCLE)))


@pytest.mark.parametrize(
    ("seconds", "force_n", "must"),
    [
        (4.0, 25.0, True),
        (1.0, 25.0, False),
        (0.7, 25.0, None),
        (4.0, 12.5, False),
        (4.0, 9.0, None),
    ],
)
@pytest.mark.parametrize("kind", [TissueKind.TENDON, TissueKind.BONE])
def test_tendon_needs_a_second_and_12_newton(
    seconds: float, force_n: float, must: bool | None, kind: TissueKind
) -> None:
    found = only(spans(tracks([tendon_for(seconds, force_n, kind)])), "TENDON_PROXIMITY")
    assert [span.must for span in found] == ([] if must is None else [must])


def test_tendon_is_allowed_from_the_first_touch() -> None:
    """Landing on a tendon: allowed at touch, begins when the mean reaches 13.2 N."""
    force = pulse(26.4, 6.0)
    (span,) = only(spans(tracks([made_take(force, int(TissueKind.TENDON))])), "TENDON_PROXIMITY")
    assert span.allowed_from_s == pytest.approx(4.9, abs=0.03)
    assert span.start_s == pytest.approx(5.0, abs=0.03)
    assert span.end_s == pytest.approx(11.09, abs=0.03)


def dwell_of(force: FloatArray, x_cm: FloatArray | float = 0.0) -> tuple[FloatArray, list[Span]]:
    state = tracks([made_take(force, 1, x_cm)])
    return state.dwell_s, spans(state)


@pytest.mark.parametrize(
    ("seconds", "advisory", "limit"),
    [(16.0, [], []), (21.0, [False], []), (24.0, [True], []), (31.0, [True], [False]),
     (38.0, [True], [True])],
)  # fmt: skip
def test_dwell_counts_seconds_on_a_spot(
    seconds: float, advisory: list[bool], limit: list[bool]
) -> None:
    _, found = dwell_of(pulse(30.0, seconds, whole_s=50.0))
    assert [span.must for span in only(found, "OVERDWELL_ADVISORY")] == advisory
    assert [span.must for span in only(found, "OVERDWELL")] == limit
    for span in only(found, "OVERDWELL"):
        assert span.allowed_from_s == pytest.approx(5.0 + 25.5, abs=0.6)
        assert span.onset_s == span.start_s


def test_a_lift_under_a_second_stops_the_clock_and_a_longer_one_resets_it() -> None:
    t = np.arange(int(40.0 * RATE_HZ)) / RATE_HZ
    for lift_s, resets in ((0.7, False), (1.6, True)):
        force = np.where((t > 10.0) & (t < 10.0 + lift_s), 0.0, 30.0)
        dwell, _ = dwell_of(force)
        after = dwell[int((12.0 + lift_s) / GRID_S)]
        assert after == pytest.approx(2.0 if resets else 12.0, abs=0.75)


@pytest.mark.parametrize(("speed_cm_s", "resets"), [(0.05, 0), (0.2, 2), (1.0, 13)])
def test_leaving_the_spot_resets_the_clock(speed_cm_s: float, resets: int) -> None:
    """40 s along a line: every 3 cm a new spot."""
    t = np.arange(int(40.0 * RATE_HZ)) / RATE_HZ
    dwell, _ = dwell_of(np.full(len(t), 30.0), speed_cm_s * t)
    assert (np.diff(dwell) < -0.5).sum() == resets


def test_circles_around_the_spot_do_not_leave_it() -> None:
    t = np.arange(int(40.0 * RATE_HZ)) / RATE_HZ
    dwell, _ = dwell_of(np.full(len(t), 30.0), 2.5 * np.sin(2.0 * math.pi * t))
    assert dwell[-1] == pytest.approx(40.0, abs=0.1)


# ------------------------------------------------------------------------- named scenarios

EXPECTED: dict[str, set[str]] = {
    "overdwell": {"OVERDWELL_ADVISORY", "OVERDWELL"},
    "excess_pressure": {"EXCESS_PRESSURE"},
    "extreme_pressure": {"EXCESS_PRESSURE", "EXTREME_PRESSURE"},
    "tendon_stay": {"TENDON_PROXIMITY"},
    "bone": {"TENDON_PROXIMITY"},
    "circles_in_place": {"OVERDWELL_ADVISORY", "OVERDWELL"},
    "slow_creep": {"OVERDWELL_ADVISORY"},
    "rocking": {"OVERDWELL_ADVISORY", "OVERDWELL"},
    "slip_and_return": {"OVERDWELL_ADVISORY", "OVERDWELL"},
    "lift_and_return": {"OVERDWELL_ADVISORY", "OVERDWELL"},
    "flaky_network": {"OVERDWELL_ADVISORY", "OVERDWELL", "EXCESS_PRESSURE"},
    "clock_step": {"OVERDWELL_ADVISORY", "OVERDWELL"},
    "low_battery": {"EXCESS_PRESSURE"},
}


def test_there_are_at_least_15_scenarios() -> None:
    assert len(SCENARIOS) >= 15
    assert EXPECTED.keys() < SCENARIOS.keys()


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_is_scripted_happens(name: str) -> None:
    """The hazards that must be found are those the scenario is about; the rest have none."""
    _, takes, truth = performed(name)
    assert {hazard["rule"] for hazard in truth["hazards"] if hazard["must"]} == EXPECTED.get(
        name, set()
    )
    length_s = SCENARIOS[name].duration_s
    assert len(truth["force_10hz"]) == pytest.approx(10.0 * length_s, abs=2)
    assert len(truth["tissue_10hz"]) == len(truth["dwell_10hz"]) == len(truth["force_10hz"])
    for hazard in truth["hazards"]:
        assert START_NS <= hazard["allowed_from_ns"] <= hazard["start_ns"] <= hazard["onset_ns"]
        assert hazard["start_ns"] <= hazard["end_ns"] <= takes[-1].clock_ns + 10**9


def swing_deg(takes: list[Take], player: Player, from_s: float, to_s: float) -> float:
    """Standard deviation of the tilt seen in the low-passed acceleration."""
    low = [take.samples_lsb[:, :3].mean(axis=0) for take in takes if from_s <= take.t_s < to_s]
    mean = np.array(low) * player.unit.profile.sensor.accel_g_per_lsb
    angles = np.degrees(np.arctan2(mean[:, :2], np.abs(mean[:, 2:])))
    return float(np.sqrt((angles.std(axis=0) ** 2).sum()))


def test_gliding_swings_the_gun_and_holding_does_not() -> None:
    player, takes, _ = performed("overdwell")
    gliding, holding = swing_deg(takes, player, 4.5, 12.5), swing_deg(takes, player, 19.0, 53.0)
    assert 2.0 < gliding < 15.0
    assert 0.1 < holding < 3.0
    assert gliding > 1.5 * holding


def test_a_gun_on_a_table_or_carried_touches_nothing() -> None:
    for name, quiet in (("on_table", (15.0, 56.0)), ("carried", (14.5, 51.0))):
        _, takes, _ = performed(name)
        force = [take.force_n.max() for take in takes if quiet[0] < take.t_s < quiet[1]]
        assert force
        assert max(force) == 0.0
        assert all(take.set_hz > 0.0 for take in takes)


def test_a_dropped_gun_is_weightless_then_hits_the_sensor_limit() -> None:
    player, takes, _ = performed("dropped")
    sensor = player.unit.profile.sensor
    samples = np.concatenate([take.samples_lsb for take in takes if 16.5 < take.t_s < 19.0])
    assert np.abs(samples[:, :3]).max() * sensor.accel_g_per_lsb > 0.95 * sensor.range_g
    assert any(take.flags & FrameFlag.ACCEL_CLIPPED for take in takes if 16.5 < take.t_s < 19.0)


def test_a_stuck_axis_repeats_one_value() -> None:
    _, takes, _ = performed("stuck_axis")
    stuck = np.concatenate([take.samples_lsb for take in takes if 10.5 < take.t_s < 21.0])
    assert len(np.unique(stuck[:, 2])) == 1
    assert len(np.unique(stuck[:, 0])) > 50
    after = np.concatenate([take.samples_lsb for take in takes if 22.5 < take.t_s < 30.0])
    assert len(np.unique(after[:, 2])) > 50


def test_a_clock_step_moves_the_frames_and_the_hazards_after_it() -> None:
    _, takes, truth = performed("clock_step")
    gaps_s = np.diff([take.clock_ns for take in takes]) / 1e9 - np.diff([t.t_s for t in takes])
    assert sorted(np.round(gaps_s, 6))[-1] == pytest.approx(2.5)
    assert (np.abs(gaps_s) > 1e-6).sum() == 1
    hazard = next(each for each in truth["hazards"] if each["rule"] == "OVERDWELL")
    held_s = 3.0 + 10.0 + 4.0
    assert (hazard["start_ns"] - START_NS) / 1e9 == pytest.approx(held_s + 30.0 + 2.5, abs=0.8)


def test_other_faults_show_where_they_should() -> None:
    _, takes, _ = performed("clock_unsynchronised")
    assert not any(take.flags & FrameFlag.CLOCK_SYNCHRONISED for take in takes)
    player, takes, _ = performed("low_battery")
    assert takes[-1].battery_mv < 3500 * player.unit.profile.battery.cells
    _, takes, _ = performed("stalled_motor")
    stalled = [take.crank_hz[-1] for take in takes if 15.0 < take.t_s < 18.5]
    assert max(stalled) < 1.0
    _, takes, _ = performed("speed_changes")
    assert {take.set_hz for take in takes} >= {0.0}
    assert len({take.set_hz for take in takes}) >= 4


def test_reported_rates_are_measured_ones() -> None:
    """Within 0.3 % of the truth, off the nominal rate, and the frames' own times are contiguous."""
    player, takes, _ = performed("good_practice")
    for before, after in pairwise(takes):
        length_s = len(before.force_n) / before.true_rate_hz
        assert after.t_s == pytest.approx(before.t_s + length_s, abs=1e-9)
        assert before.rate_hz == pytest.approx(before.true_rate_hz, rel=0.003)
    assert takes[0].rate_hz != player.unit.profile.sensor.rate_hz


# ------------------------------------------------------------------------- files


def test_a_recording_decodes_and_holds_everything(tmp_path: Path) -> None:
    player = make_player("ec-12")
    script = Script("short", "", (Segment(2.0, Motion.MOVE), Segment(4.0, Motion.HOLD, 30.0)))
    truth = write_recording(tmp_path, "short", script, player, np.random.default_rng(1))
    table = pq.read_table(tmp_path / "short.parquet")
    assert table.column_names == ["received_at_ns", "topic", "payload"]
    arrived = table.column("received_at_ns").to_pylist()
    assert arrived == sorted(arrived)
    messages = [
        decode(topic, payload)
        for topic, payload in zip(
            table.column("topic").to_pylist(), table.column("payload").to_pylist(), strict=True
        )
    ]
    assert isinstance(messages[0], DeviceState)
    frames = [message for message in messages if isinstance(message, Frame)]
    assert [frame.seq for frame in frames] == list(range(len(frames)))
    count = sum(len(frame.samples_lsb) for frame in frames)
    assert count / frames[0].rate_hz == pytest.approx(6.0, rel=0.003)
    on_disk = json.loads((tmp_path / "short.truth.json").read_text())
    assert on_disk == truth
    assert set(on_disk) == {
        "name", "model", "t0_ns", "hazards", "force_10hz", "tissue_10hz", "dwell_10hz", "device",
    }  # fmt: skip
    assert on_disk["t0_ns"] == frames[0].t0_ns
    assert max(truth["force_10hz"]) == pytest.approx(30.0, rel=0.25)


def test_a_bench_shows_every_speed_pad_and_force(tmp_path: Path) -> None:
    player = replace(make_player("mini-10"), operator=BENCH_OPERATOR)
    script = bench_script(1)
    clock = LoadcellClock(offset_s=0.03, drift_ppm=40.0)
    write_bench(tmp_path, "b", script, player, np.random.default_rng(2), clock)
    with (tmp_path / "b.bench.loadcell.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    t = np.array([int(row["t_ns"]) - START_NS for row in rows]) / 1e9
    force = np.array([float(row["force_n"]) for row in rows])
    assert len(script.segments) == 2 * len(BENCH_FORCES_N)
    for index, segment in enumerate(script.segments):
        settled = (t > 3.0 * index + 1.5) & (t < 3.0 * index + 2.9)
        assert force[settled].mean() == pytest.approx(segment.force_n, abs=1.5)
    assert pq.read_table(tmp_path / "b.bench.parquet").num_rows > 36.0 / 0.25


def test_the_loadcell_keeps_its_own_clock() -> None:
    player = make_player()
    takes = play(bench_script(1), player, np.random.default_rng(2))
    own = loadcell_rows(takes, LoadcellClock(), np.random.default_rng(0))
    other = loadcell_rows(takes, LoadcellClock(0.5, 1000.0), np.random.default_rng(0))
    assert [force for _, force in own] == [force for _, force in other]
    assert other[0][0] - own[0][0] == pytest.approx(0.5e9, rel=1e-6)
    assert other[-1][0] - own[-1][0] == pytest.approx(0.5e9 + 0.001 * (own[-1][0] - own[0][0]))


def test_a_suite_depends_on_its_seed_alone(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    folders = [tmp_path / name for name in ("one", "again", "longer", "other")]
    for folder, seed, sessions in zip(folders, (7, 7, 7, 8), (1, 1, 2, 1), strict=True):
        write_suite(
            folder, seed, sessions, ["lt-10", "hx-12"], bench=False, seconds=12.0,
            progress=lambda *at: calls.append(at),
        )  # fmt: skip
    one, again, longer, other = (
        [(folder / f"g000.{end}").read_bytes() for end in ("truth.json", "parquet")]
        for folder in folders
    )
    assert one == again == longer
    assert one[0] != other[0]
    assert (folders[2] / "g001.truth.json").exists()
    assert calls == [(1, 1), (1, 1), (1, 2), (2, 2), (1, 1)]


def test_more_models_than_there_are_get_invented() -> None:
    models = choose_models(14, seed=3)
    assert len({profile.model for profile in models}) == 14
    assert [profile.model for profile in models[:8]] == MODELS
    assert len({profile.drive.stroke_mm for profile in models}) > 10
    assert choose_models(14, seed=3) == models


def test_random_sessions_hold_every_treatment() -> None:
    """Over many seeds: holds long enough to alarm and not, presses, tendons, bones, grazes."""
    seen: Counter[str] = Counter()
    for seed in range(60):
        script = draw_session(np.random.default_rng(seed), 4)
        assert 120.0 < script.duration_s < 240.0
        assert script.segments[0].airborne
        assert script.segments[-1].airborne
        for segment in script.segments:
            if segment.tissue is not TissueKind.MUSCLE:
                seen["graze" if segment.duration_s < 1.0 else segment.tissue.name] += 1
            elif segment.force_n > 55.0:
                seen["press"] += 1
            elif segment.motion is Motion.HOLD:
                seen["dwell" if segment.duration_s > 33.0 else "short hold"] += 1
            else:
                seen[segment.motion] += 1
    for kind in ("graze", "TENDON", "BONE", "press", "dwell", "short hold", "circle", "glide"):
        assert seen[kind] >= 10, (kind, seen)


# ------------------------------------------------------------------------- network and demo


def test_a_faulty_path_keeps_its_books() -> None:
    path = FaultyPath(NetworkFaults(0.1, 0.1, 0.1, 0.1), np.random.default_rng(4))
    sent = [Packet("t", b"%04d %d" % (number, 3**number)) for number in range(2000)]
    came = [packet for each in sent for packet in path.pass_on(each)] + path.flush()
    counts = path.counts
    assert counts.packets == 2000
    assert len(came) == counts.packets - counts.dropped + counts.duplicated
    whole = set(sent)
    assert len([packet for packet in came if packet not in whole]) == counts.corrupted
    for count in (counts.dropped, counts.duplicated, counts.reordered, counts.corrupted):
        assert 120 < count < 320


def test_a_perfect_path_changes_nothing() -> None:
    path = FaultyPath(NetworkFaults(), np.random.default_rng(4))
    sent = [Packet("t", b"%04d" % number) for number in range(100)]
    assert [packet for each in sent for packet in path.pass_on(each)] == sent


def test_faults_are_probabilities() -> None:
    with pytest.raises(ValueError, match=r"NetworkFaults\.drop is 2"):
        NetworkFaults(drop=2)


def test_a_spoilt_frame_never_decodes() -> None:
    player, takes, _ = performed("good_practice")
    path = FaultyPath(NetworkFaults(corrupt=1.0), np.random.default_rng(6))
    for take in takes[:100]:
        (packet,) = path.pass_on(Packet(*encode(frame_of(take, player))))
        with pytest.raises(DecodeError):
            decode(*packet)


def test_one_demo_gun_shows_the_three_alarms_within_90_s() -> None:
    """Each arises and ends, with seconds to spare for the off-delays."""
    gun = demo_fleet(1, seed=5)[0]
    rng = np.random.default_rng(5)
    player = gun.player
    performance = Performance(
        gun.script, player.unit, player.operator, player.client, rng, START_NS
    )
    truth = truth_of(list(performance), gun.script, player, performance)
    for rule in ("OVERDWELL", "EXCESS_PRESSURE", "TENDON_PROXIMITY"):
        ends = [hazard["end_ns"] for hazard in truth["hazards"] if hazard["rule"] == rule]
        assert ends, rule
        assert (ends[0] - START_NS) / 1e9 < 85.0, rule


def test_a_demo_fleet_names_its_guns_and_repeats() -> None:
    fleet, again = demo_fleet(20, seed=1), demo_fleet(20, seed=1)
    assert len({gun.player.id for gun in fleet}) == 20
    assert {gun.player.id.clinic for gun in fleet} == {"demo"}
    assert {gun.player.unit.head.kind for gun in fleet} == {DEMO_HEAD}
    assert [gun.player.unit.serial for gun in fleet] == [gun.player.unit.serial for gun in again]
    for gun in fleet:
        assert any(segment.site is None for segment in gun.script.segments)
        assert all(booking.client.startswith("c-") for booking in gun.bookings)
    with pytest.raises(ValueError, match="demo fleet of 0"):
        demo_fleet(0, seed=1)
