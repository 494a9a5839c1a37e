"""The dwell clock on made-up attitudes: trembling, gliding, slipping, lifting, creeping."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline import dwell
from pipeline.contact import CONTACT
from pipeline.kernels import HOP, HOP_S

Floats = NDArray[np.float64]
HOPS = round(40.0 / HOP_S)
T_S = np.arange(HOPS) * HOP_S
LONG_S = np.arange(round(60.0 / HOP_S)) * HOP_S
STILL = np.zeros(HOPS)


def attitudes(along_deg: Floats, across_deg: Floats) -> Floats:
    """Unit gravity of two angles of tilt, a row a hop."""
    along, across = np.radians(along_deg), np.radians(across_deg)
    return np.column_stack(
        [np.sin(along), np.cos(along) * np.sin(across), np.cos(along) * np.cos(across)]
    )


def clock(
    gravity: Floats,
    contact: NDArray[np.bool_] | None = None,
    clipped: NDArray[np.bool_] | None = None,
) -> Floats:
    """What the clock says after each hop."""
    state, row = np.zeros(1, CONTACT), np.zeros(1, HOP)
    out = np.empty(len(gravity))
    for k, direction in enumerate(gravity):
        row["mean"][0, :3] = direction
        row["clipped"] = 0.1 if clipped is not None and clipped[k] else 0.0
        dwell.update_tilt(state[0], row[0])
        dwell.update_dwell(state[0], contact is None or bool(contact[k]))
        out[k] = dwell.said_dwell_s(state[0])
    return out


def tremor(deg: float, seed: int, hops: int = HOPS) -> Floats:
    """Two angles that wander about 0 with a correlation time of 0.35 s, seen through 0.5 s."""
    rng = np.random.default_rng(seed)
    print(f"seed {seed}")
    keep = math.exp(-0.05 / 0.35)
    fine = np.zeros((5 * hops + 10, 2))
    for k in range(1, len(fine)):
        fine[k] = keep * fine[k - 1] + math.sqrt(1 - keep**2) * rng.normal(0.0, deg, 2)
    weights = np.sin(np.pi * (np.arange(10) + 0.5) / 10) ** 2
    weights /= weights.sum()
    return np.array([weights @ fine[5 * k : 5 * k + 10] for k in range(hops)])


@pytest.mark.parametrize("deg", [0.3, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("seed", range(4))
def test_trembling_on_the_spot_is_staying(deg: float, seed: int) -> None:
    said = clock(attitudes(*tremor(deg, seed).T))
    reached = T_S[np.argmax(said >= 30.0)]
    assert said.max() >= 30.0
    assert 29.0 <= reached <= 32.0  # the contract's window is 2.5 s


@pytest.mark.parametrize("period_s", [3.0, 6.0, 12.0, 17.0])
@pytest.mark.parametrize("swing_deg", [4.0, 8.0, 15.0])
@pytest.mark.parametrize("deg", [0.3, 1.0])
def test_gliding_is_moving(period_s: float, swing_deg: float, deg: float) -> None:
    along, across = tremor(deg, 1).T
    glide = swing_deg * np.sin(2.0 * math.pi * T_S / period_s)
    assert clock(attitudes(along + glide, across)).max() < 20.0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("period_s", [3.0, 4.0, 6.0, 8.0, 12.0])
def test_a_glide_no_wider_than_the_tremor_is_moving(period_s: float, seed: int) -> None:
    """It goes to and fro without end."""
    along, across = tremor(2.0, seed).T
    glide = 5.0 * np.sin(2.0 * math.pi * T_S / period_s)
    assert clock(attitudes(along + glide, across)).max() < 20.0


def clipping(along_deg: Floats, across_deg: Floats, seed: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Mean acceleration of a gun tilted by 30°, whose strokes clip along z but for the first."""
    mean, clipped = attitudes(30.0 + along_deg, across_deg), np.arange(len(along_deg)) > 4
    mean[clipped, 2] = np.random.default_rng(seed).normal(0.0, 1.0, int(clipped.sum()))
    return mean, clipped


@pytest.mark.parametrize("seed", range(4))
def test_a_glide_is_seen_though_strokes_clip(seed: int) -> None:
    along, across = tremor(2.0, seed).T
    mean, clipped = clipping(along + 5.0 * np.sin(2.0 * math.pi * T_S / 6.0), across, seed)
    assert clock(mean, clipped=clipped).max() < 20.0


@pytest.mark.parametrize("seed", range(4))
def test_a_stay_counts_though_strokes_clip(seed: int) -> None:
    mean, clipped = clipping(*tremor(1.0, seed).T, seed)
    assert clock(mean, clipped=clipped)[-1] == 40.0


def test_on_its_side_a_clipping_gun_keeps_the_attitude_that_it_had() -> None:
    """There x and y say nothing of z: nothing says that it moved."""
    lying = np.tile([1.0, 0.0, 0.0], (HOPS, 1))
    lying[:, 2] = np.random.default_rng(0).normal(0.0, 1.0, HOPS)
    lying[:5, 2] = 0.0
    assert clock(lying, clipped=np.arange(HOPS) > 4)[-1] == 40.0


@pytest.mark.parametrize("seed", range(4))
def test_a_stay_after_a_glide_has_its_advisory_in_time_and_not_before(seed: int) -> None:
    """The glide, no wider than the tremor, does not count as staying: it ends after 20 s."""
    turn = 2.0 * math.pi * LONG_S / 8.0
    glide = np.where(LONG_S < 20.0, 5.0 * np.sin(turn), 0.0)
    along, across = tremor(2.0, seed, LONG_S.size).T
    said = clock(attitudes(along + glide, across))
    assert LONG_S[np.argmax(said >= 20.0)] > 20.0 + 11.0  # not of half a window's stay
    assert LONG_S[np.argmax(said >= 30.0)] < 20.0 + 32.5


def test_who_was_seen_to_glide_is_believed_to_until_it_is_much_less() -> None:
    state = np.zeros(1, CONTACT)
    state["n_blocks"] = dwell.SWAY_BLOCKS
    turn = 2.0 * math.pi * np.arange(dwell.SWAY_BLOCKS) / 6.0
    for has_s, swing_deg, sways in (
        (10.0, 2.0, dwell.STEADY),
        (18.0, 4.0, dwell.SWAYING),
        (18.0, 2.0, dwell.DOUBTFUL),
        (22.0, 2.0, dwell.DOUBTFUL),
        (22.0, 4.0, dwell.SWAYING),
        (22.0, 1.0, dwell.STEADY),
        (22.0, 4.0, dwell.STEADY),  # a spot that has had its advisory is not asked any more
    ):
        blocks = attitudes(swing_deg * np.sin(turn), np.zeros(turn.size))
        state["dwell_s"], state["blocks"][0, : dwell.SWAY_BLOCKS] = has_s, blocks
        dwell._update_sways(state[0])
        assert state["sways"][0] == sways


def test_in_doubt_no_more_is_said_than_less_than_an_advisory() -> None:
    state = np.zeros(1, CONTACT)
    for sways, has_s, says_s in (
        (dwell.STEADY, 25.0, 25.0),
        (dwell.DOUBTFUL, 5.0, 5.0),
        (dwell.DOUBTFUL, 25.0, 19.75),
        (dwell.SWAYING, 26.75, 19.75),
        (dwell.DOUBTFUL, 27.0, 27.0),
    ):
        state["sways"], state["dwell_s"] = sways, has_s
        assert dwell.said_dwell_s(state[0]) == says_s


def test_a_stay_that_has_had_its_advisory_is_not_taken_for_a_glide() -> None:
    """What looks like a glide by chance, or is a patient's breath, must not end an overdwell."""
    along = np.where(T_S < 21.0, 0.0, 3.0 * np.sin(2.0 * math.pi * T_S / 5.0))
    tremble, across = tremor(2.0, 0).T
    assert clock(attitudes(along + tremble, across)).max() > 30.0


@settings(deadline=None)
@given(
    st.integers(dwell.SWAY_BLOCKS, dwell.BLOCKS),
    st.floats(0.0, 4.0),
    st.floats(3.0, 12.0),
    st.floats(0.0, 3.0),
    st.integers(0, 2**32 - 1),
)
def test_swaying_is_that_of_a_slow_twin(
    blocks: int, swing_deg: float, period_s: float, noise_deg: float, seed: int
) -> None:
    """By an FFT of the newest blocks, padded to twice their number."""
    rng = np.random.default_rng(seed)
    glide = swing_deg * np.sin(2.0 * math.pi * np.arange(blocks) / period_s)
    noise = rng.normal(0.0, noise_deg, (2, blocks))
    points = attitudes(glide + noise[0], noise[1]).astype(np.float32)
    state = np.zeros(1, CONTACT)
    state["n_blocks"], state["blocks"][0, :blocks] = blocks, points
    last = points[-dwell.SWAY_BLOCKS :].astype(np.float64)
    lines = np.fft.fft(last - last.mean(axis=0), 2 * dwell.SWAY_BLOCKS, axis=0)[2:14]
    hz = np.arange(2, 14) / (2 * dwell.SWAY_BLOCKS)
    amplitude = 2.0 / dwell.SWAY_BLOCKS * np.sqrt((np.abs(lines) ** 2).sum(axis=1))
    amplitude /= np.sqrt(1.0 + (dwell.DRIFT_HZ / hz) ** 2)
    assert dwell.sway_rad(state[0]) == pytest.approx(amplitude.max(), abs=1e-9)


def test_small_circles_are_staying() -> None:
    turn = 2.0 * math.pi * 0.6 * T_S
    assert clock(attitudes(1.5 * np.cos(turn), 1.5 * np.sin(turn))).max() > 39.0


def test_a_creep_is_seen_by_how_far_it_has_turned() -> None:
    """0.3 °/s: a new spot about every SPOT_DEG / 0.3 = 15 s, however slow each step."""
    said = clock(attitudes(0.3 * T_S, STILL))
    assert 12.0 < said.max() < 18.0


@pytest.mark.parametrize(("hops", "kept"), [(1, True), (2, True), (3, True), (12, False)])
def test_a_slip_is_passed_over_and_a_stay_elsewhere_is_not(hops: int, kept: bool) -> None:
    along = STILL.copy()
    along[80 : 80 + hops] = 15.0
    said = clock(attitudes(along, STILL))
    assert said[79] == 20.0
    assert bool(said[80 + hops + 8] > 18.0) is kept
    assert said.min() >= 0.0


@pytest.mark.parametrize(("hops", "left_s"), [(1, 19.75), (2, 19.5), (4, 19.0), (5, 0.0), (9, 0.0)])
def test_a_lift_drains_and_a_long_one_empties(hops: int, left_s: float) -> None:
    contact = np.ones(HOPS, np.bool_)
    contact[80 : 80 + hops] = False
    said = clock(attitudes(STILL, STILL), contact)
    assert said[80 + hops - 1] == pytest.approx(left_s)
    assert said[80 + hops] == pytest.approx(left_s + HOP_S)


def test_returning_to_another_place_after_a_lift_begins_anew() -> None:
    contact = np.ones(HOPS, np.bool_)
    contact[80:83] = False
    along = np.where(np.arange(HOPS) < 80, 0.0, 20.0)
    said = clock(attitudes(along, STILL), contact)
    assert said[83 + 12] < 4.0


def test_staying_longer_than_is_remembered_goes_on() -> None:
    still = np.zeros(round(100.0 / HOP_S))
    assert clock(attitudes(still, still))[-1] == 100.0


def test_without_any_attitude_contact_counts() -> None:
    """Every window clipped since the gun was switched on."""
    state = np.zeros(1, CONTACT)
    for _ in range(8):
        dwell.update_dwell(state[0], True)
    assert state["dwell_s"][0] == 2.0


@given(
    st.lists(
        st.tuples(st.booleans(), st.floats(-180.0, 180.0), st.floats(-90.0, 90.0)), max_size=120
    )
)
@settings(deadline=None)
def test_the_clock_never_runs_faster_than_time(hops: list[tuple[bool, float, float]]) -> None:
    along, across = np.array([h[1] for h in hops]), np.array([h[2] for h in hops])
    said = clock(attitudes(along, across), np.array([h[0] for h in hops], np.bool_))
    steps = np.diff(said, prepend=0.0)
    assert np.all(np.isfinite(said))
    assert np.all(said >= 0.0)
    assert np.all(steps <= HOP_S + 1e-9)
