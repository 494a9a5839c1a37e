"""The percussion frequency within 0.2 Hz, a stated number of hops after whatever happened to it.

A hop's frequency is that of a window centred at the hop's beginning; where it moves, the estimate
is half a hop behind that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import naive
import numpy as np
import pytest
import signals
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline import kernels, tracking

WITHIN_HZ = 0.2  # contract, detection.md, "How good it must be"
FOUND_HOPS = 3  # the hop of the jump, one whose window holds half of it, one clean
SHAPES: Mapping[str, Mapping[float, complex]] = {
    "air": signals.AIR,
    "contact": signals.CONTACT,
    "bouncing": signals.BOUNCING,
    "second harmonic": signals.SECOND_HARMONIC,
}
HOP_S = kernels.HOP_S


def tracked(
    f_hz: naive.Floats,
    rate_hz: float,
    set_hz: float | naive.Floats,
    orders: Mapping[float, complex] = signals.AIR,
    noise_g: float = 0.02,
    seed: int = 0,
) -> NDArray[np.void]:
    lsb = signals.percussion(f_hz, rate_hz, orders, noise_g=noise_g, seed=seed)
    return followed([lsb], rate_hz, set_hz)


def followed(
    parts: Sequence[signals.Samples], rate_hz: float, set_hz: float | naive.Floats
) -> NDArray[np.void]:
    """Rows of what comes one after the other, in frames of 0.1 s."""
    frames = signals.cut(np.concatenate(parts), [round(0.1 * rate_hz)], rate_hz, set_hz)
    return signals.run_kernel(signals.fresh(), frames)


def stepped(before: float, after: float, at_s: float, rate_hz: float, for_s: float) -> naive.Floats:
    t = np.arange(round(for_s * rate_hz)) / rate_hz
    return np.asarray(np.where(t < at_s, before, after))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("off", [-0.15, -0.04, 0.0, 0.003, 0.1, 0.15])
@pytest.mark.parametrize("rate_hz", [800.0, 1600.0, 6400.0])
def test_a_gun_off_its_commanded_speed_is_found_at_once(
    rate_hz: float, off: float, shape: str
) -> None:
    f_hz = 40.0 * (1.0 + off)
    rows = tracked(signals.steady(f_hz, rate_hz, 3.0), rate_hz, 40.0, SHAPES[shape])
    assert np.abs(rows["f_hz"][FOUND_HOPS - 1 :] - f_hz).max() < WITHIN_HZ
    assert rows["settled"].tolist()[FOUND_HOPS:] >= list(range(2, 2 + len(rows) - FOUND_HOPS))


@settings(max_examples=80, deadline=None)
@given(
    set_hz=st.floats(20.0, 60.0),
    jump=st.floats(-0.15, 0.15),
    at_s=st.floats(2.0, 2.25),
    shape=st.sampled_from(sorted(SHAPES)),
    seed=st.integers(0, 2**32 - 1),
)
def test_an_unannounced_jump_is_followed(
    set_hz: float, jump: float, at_s: float, shape: str, seed: int
) -> None:
    after = set_hz * (1.0 + jump)
    f_hz = stepped(set_hz, after, at_s, 1600.0, 5.0)
    rows = tracked(f_hz, 1600.0, set_hz, SHAPES[shape], noise_g=0.1, seed=seed)
    jumped_in = int(at_s / HOP_S)
    assert np.abs(rows["f_hz"][2:jumped_in] - set_hz).max() < WITHIN_HZ
    assert np.abs(rows["f_hz"][jumped_in + FOUND_HOPS :] - after).max() < WITHIN_HZ


@pytest.mark.parametrize("start_hz", [29.0, 55.0])
def test_a_commanded_step_is_not_looked_for_where_it_came_from(start_hz: float) -> None:
    """The motor takes 0.3 s from one speed to the other; its true speed is 3 % low throughout."""
    rate_hz = 1600.0
    t = np.arange(round(5.0 * rate_hz)) / rate_hz
    set_hz = np.where(t < 2.0, start_hz, 40.0)
    f_hz = 0.97 * np.interp(t, [2.0, 2.3], [start_hz, 40.0])
    rows = tracked(f_hz, rate_hz, set_hz)
    after = rows[8:]
    assert np.abs(after["f_hz"][FOUND_HOPS:] - 0.97 * 40.0).max() < WITHIN_HZ
    assert after["settled"].tolist() == list(range(len(after)))


def test_sag_under_load_is_followed_half_a_hop_late() -> None:
    rate_hz, slope_hz_s = 1600.0, 1.5
    t = np.arange(round(6.0 * rate_hz)) / rate_hz
    f_hz = 40.0 - slope_hz_s * np.clip(t - 2.0, 0.0, 3.0)
    rows = tracked(f_hz, rate_hz, 40.0, signals.CONTACT)
    ends_s = (rows["t_ns"] - signals.T0_NS) / 1e9
    centre_hz = np.interp(ends_s - HOP_S, t, f_hz)
    assert np.abs(rows["f_hz"] - centre_hz)[2:].max() < slope_hz_s * HOP_S / 2.0 + 0.02
    assert rows["settled"][-1] == len(rows) - 1


def test_a_small_step_leaves_no_ringing() -> None:
    rows = tracked(stepped(40.0, 41.7, 2.1, 1600.0, 5.0), 1600.0, 40.0)
    assert np.abs(rows["f_hz"][12:] - 41.7).max() < 0.02


def test_noise_as_strong_as_the_percussion_is_no_jump() -> None:
    rows = tracked(
        signals.steady(41.0, 1600.0, 60.0), 1600.0, 40.0, {1.0: 2.0}, noise_g=1.4, seed=8
    )
    assert np.abs(rows["f_hz"][FOUND_HOPS:] - 41.0).max() < WITHIN_HZ
    assert rows["settled"][-1] == len(rows) - 1


@pytest.mark.parametrize("noise_g", [0.002, 1.0])
def test_a_motor_that_stands_still_settles(noise_g: float) -> None:
    """Nothing to follow is no jump: else a stalled motor would seem to be starting for ever."""
    f_hz = signals.steady(40.0, 1600.0, 30.0)
    orders = {1.0: 0.0}
    rows = tracked(f_hz, 1600.0, 40.0, orders, noise_g)
    assert rows["settled"][-1] == len(rows) - 1
    assert np.abs(rows["f_hz"] - 40.0).max() < 1.0


def test_a_speed_out_of_reach_is_not_taken_for_one_at_its_edge() -> None:
    rows = tracked(signals.steady(22.0, 1600.0, 4.0), 1600.0, 40.0)
    assert np.abs(rows["f_hz"] - 40.0).max() < 1.0


@pytest.mark.parametrize("share", [0.72, 0.6])
def test_a_weak_motor_is_followed_far_down_and_up_again(share: float) -> None:
    """What a press of 97 N did to one: a strong first harmonic, hardly any others."""
    pressed = {1.0: 7.5, 2.0: 1.5, 3.0: 0.6}
    speeds = ((40.0, signals.AIR), (40.0 * share, pressed), (40.0, signals.AIR))
    parts = [signals.percussion(signals.steady(f, 1600.0, 2.0), 1600.0, of) for f, of in speeds]
    rows = followed(parts, 1600.0, 40.0)
    for second, (f_hz, _) in zip((0, 2, 4), speeds, strict=True):
        then = rows["f_hz"][4 * second + FOUND_HOPS : 4 * second + 8]
        assert np.abs(then - f_hz).max() < WITHIN_HZ


def test_two_thirds_of_a_speed_is_no_sag_once_the_head_bounces_no_more() -> None:
    """It came down on every third stroke; the gun had jumped up when it was pressed."""
    muscle = {1.0: 2.2, 2.0: 0.8, 3.0: 0.2}
    thirds = {1 / 3: 4.2, 2 / 3: 3.5, 1.0: 1.0, 4 / 3: 1.9, 5 / 3: 0.8}
    speed = signals.steady(33.6, 1600.0, 2.0)
    parts = [signals.percussion(speed, 1600.0, each) for each in (muscle, thirds, muscle)]
    rows = followed(parts, 1600.0, 30.0)
    assert np.abs(rows["f_hz"] - 33.6)[16 + FOUND_HOPS :].max() < WITHIN_HZ


@pytest.mark.parametrize(("order", "alone"), [(1.0, 1.0), (1.5, 0.0), (3.0, 0.0)])
def test_far_down_the_orders_of_a_faster_gun_are_no_evidence(order: float, alone: float) -> None:
    """At two thirds of its speed, its first and second harmonic are of the orders 1½ and 3."""
    rows = np.zeros(1, kernels.HOP)
    rows["z_order"][0, kernels.ORDERS.index(order)] = 2.0
    rows["sd"][0, 2] = np.sqrt(2.0)
    assert tracking.harmonic_share(rows[0], False) == pytest.approx(1.0)
    assert tracking.harmonic_share(rows[0], True) == pytest.approx(alone)


def test_a_line_beside_the_percussion_must_be_much_stronger_to_be_taken_for_it() -> None:
    """A frame that resonates at 1.2 f while the head bounces on bone."""
    orders = {float(k): 1.0 for k in range(2, 15)} | {1.0: 1.7, 1.2: 2.2}
    parts = [
        signals.percussion(signals.steady(36.0, 3200.0, 2.0), 3200.0, each)
        for each in (signals.AIR, orders)
    ]
    rows = followed(parts, 3200.0, 35.8)
    assert np.abs(rows["f_hz"][FOUND_HOPS:] - 36.0).max() < WITHIN_HZ
    assert rows["settled"][-1] == len(rows) - 1


def test_harmonics_beyond_the_comb_do_not_unsettle_it() -> None:
    """Bone: narrow pulses, most of the power in orders 5 to 14, a fifth of it in the first."""
    orders = {float(k): 1.0 for k in range(2, 15)} | {1.0: 1.7}
    rows = tracked(signals.steady(36.2, 3200.0, 4.0), 3200.0, 36.0, orders)
    share = 0.5 * np.sum(np.abs(rows["z_order"][-1]) ** 2) / rows["sd"][-1][2] ** 2
    assert share < tracking.LOST_SHARE
    assert np.abs(rows["f_hz"][FOUND_HOPS:] - 36.2).max() < WITHIN_HZ
    assert rows["settled"][-1] == len(rows) - 1


def test_speed_is_remembered_across_commands() -> None:
    """A gun 5 % fast at one speed is looked for 5 % fast at the next."""
    t = np.arange(round(6.0 * 1600.0)) / 1600.0
    set_hz = np.where(t < 3.0, 30.0, 45.0)
    rows = tracked(1.05 * set_hz, 1600.0, set_hz)
    assert rows["f_hz"][12] == pytest.approx(1.05 * 45.0, abs=0.05)


def test_a_motor_that_is_off_has_no_frequency() -> None:
    rows = tracked(signals.steady(40.0, 1600.0, 1.0), 1600.0, 0.0, {1.0: 0.0})
    assert np.all(rows["f_hz"] == 0.0)


@settings(max_examples=25, deadline=None)
@given(
    f_hz=st.floats(20.0, 60.0),
    shape=st.sampled_from(sorted(SHAPES)),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_frequency_agrees_with_the_spectrum(f_hz: float, shape: str, seed: int) -> None:
    rate_hz = 1600.0
    lsb = signals.percussion(
        signals.steady(f_hz, rate_hz, 3.0), rate_hz, SHAPES[shape], noise_g=0.2, seed=seed
    )
    rows = signals.run_kernel(signals.fresh(), signals.cut(lsb, [400], rate_hz, f_hz / 1.02))
    peak_hz = naive.percussion_hz(np.asarray(lsb[-3200:, 2], np.float64), rate_hz, f_hz / 1.02)
    assert rows["f_hz"][-1] == pytest.approx(peak_hz, abs=WITHIN_HZ)
