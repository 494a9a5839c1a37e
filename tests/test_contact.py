"""Relearning in air, and the two witnesses of force: on hops made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import baseline, contact, force, kernels
from pipeline.features import Calibration
from pipeline.stiffness import STIFFNESS_MODEL

SPEEDS_HZ = (30.0, 40.0)
A1_PER_HZ2, SECOND, I0_A = 0.002, 0.2 + 0j, 0.6
KNOWN = Calibration(
    True, 0.012, 1.1, SPEEDS_HZ, (A1_PER_HZ2,) * 2, (SECOND,) * 2, (0j,) * 2, (I0_A,) * 2,
    force_rel_sd=0.03, by_current=(0.0, 1.0, 0.0, 0.0, 0.0, 0.0), by_current_low=(-3.0, -0.5),
    by_current_high=(2.0, 0.5), by_current_rel_sd=0.07,
)  # fmt: skip
SHAKE_DEG, TABLE_DEG = 1.0, 0.01
HAND = 0.08 - 0.12j  # what another hand adds to the second harmonic: more than SHAPE_AIR


def in_air(
    n: int, second: complex, shake_deg: float, f_hz: float = 30.0, i_a: float = I0_A
) -> np.ndarray:
    """Hops of a gun that runs free with this second harmonic, in a hand that shakes so much."""
    rng = np.random.default_rng(5)
    hops = np.zeros(n, kernels.HOP)
    a1 = A1_PER_HZ2 * f_hz**2
    tilt = np.radians(shake_deg) * rng.standard_normal(n)
    hops["present"] = 1.0
    hops["f_hz"] = hops["set_hz"] = f_hz
    hops["z_order"][:, 1] = a1
    hops["z_order"][:, 3] = a1 * second
    hops["sd"][:, 2] = 0.7 * a1
    hops["z_kurtosis"] = 1.5
    hops["mean"] = np.stack([np.sin(tilt), 0 * tilt, np.cos(tilt), i_a + 0 * tilt], axis=1)
    return hops


def learnt(*parts: np.ndarray) -> complex:
    """What the second harmonic is believed to be beyond the bench's, after these hops in air."""
    state, meaning = interpreted(np.concatenate(parts))
    assert not meaning["contact"].any()
    return complex(*state["second_shift"])


def interpreted(hops: np.ndarray, known: bool = True) -> tuple[np.void, np.ndarray]:
    """A gun's state after these hops, and what each of them meant; `known` by its bench."""
    units, state = np.zeros(1, baseline.UNIT), np.zeros(1, contact.CONTACT)
    KNOWN.fill(units[0])
    units["calibrated"] = known
    meaning = np.zeros(hops.size, contact.MEANING)
    contact.interpret(state, units, STIFFNESS_MODEL, hops, meaning)
    return state[0], meaning


def test_another_hand_is_learnt_in_air() -> None:
    assert learnt(in_air(20, SECOND + HAND, SHAKE_DEG)) == pytest.approx(HAND, abs=0.02)


def test_a_table_is_not_learnt_as_a_hand() -> None:
    assert learnt(in_air(60, SECOND + HAND, TABLE_DEG)) == 0


def test_what_pushes_back_is_not_learnt_as_a_hand() -> None:
    state, _ = interpreted(in_air(20, SECOND + HAND, SHAKE_DEG, i_a=1.2 * I0_A))
    assert not state["second_shift"].any()


def test_how_a_touch_begins_is_taken_back() -> None:
    """Before it is one it does no work, and might be another hand: 0.5 s of it are unlearnt."""
    air = in_air(20, SECOND + HAND, SHAKE_DEG)
    coming_down = in_air(contact.BACK_HOPS, SECOND + HAND - 0.1, SHAKE_DEG)
    touch = in_air(4, SECOND + HAND - 0.1, SHAKE_DEG, i_a=2.0 * I0_A)
    before, _ = interpreted(air)
    misled, _ = interpreted(np.concatenate((air, coming_down)))
    after, meaning = interpreted(np.concatenate((air, coming_down, touch)))
    assert meaning["contact"][-1]
    assert abs(complex(*misled["second_shift"] - before["second_shift"])) > 0.005
    for name in ("second_shift", "third_shift", "a1_scale", "i0_scale", "learnt", "learnt_hz"):
        assert np.array_equal(after[name], before[name]), name


def test_at_another_speed_the_hand_is_learnt_anew() -> None:
    """A grip that resonates moves the second harmonic otherwise at another speed."""
    there, here = in_air(60, SECOND + HAND, SHAKE_DEG), in_air(16, SECOND - 0.07, SHAKE_DEG, 40.0)
    assert learnt(there, here) == pytest.approx(-0.07, abs=0.03)


def carried(scale: float, second: complex, from_hz: float, to_hz: float) -> tuple[float, complex]:
    """What a hand learnt in air at one speed is believed to do at another."""
    units, state = np.zeros(1, baseline.UNIT), np.zeros(1, contact.CONTACT)
    KNOWN.fill(units[0])
    shift = second - SECOND
    state["a1_scale"], state["learnt_hz"] = scale, from_hz
    state["second_shift"] = shift.real, shift.imag
    a1_scale, second_shift = contact.hand_at(state[0], units[0], to_hz)
    return a1_scale, SECOND + second_shift


def test_a_hand_is_carried_to_another_speed_by_the_frequency_it_acts_at() -> None:
    """What it did at 2f it does at f, when that has doubled."""
    second = 1.5 * SECOND * np.exp(0.3j)
    same, there = carried(0.8, second, 30.0, 30.0)
    assert (same, there) == (0.8, pytest.approx(second))
    double, after = carried(0.8, second, 20.0, 40.0)
    assert double == pytest.approx(0.8 * 1.5)
    assert abs(after) / abs(SECOND) == pytest.approx(1.2 ** (1 / 4) / 1.2)  # fades with 1/f²
    assert np.angle(after) == pytest.approx(0.3)
    below, lower = carried(0.8, second, 40.0, 20.0)
    assert below == pytest.approx(0.8)
    assert abs(lower) == pytest.approx(abs(SECOND))  # now 2f is where f was


def in_hand(learnt_hz: float, shift: complex, work_a: float = 1.0) -> tuple[float, float]:
    """Force and relative SD at 36 Hz of a wave that says 42 N, where the current says 30."""
    state = np.zeros(1, contact.CONTACT)
    state["learnt_hz"] = learnt_hz
    state["second_shift"] = shift.real, shift.imag
    return combined(42.0, work_a=work_a, state=state)


def test_a_hand_carried_further_leaves_the_force_less_certain() -> None:
    """The more, the more it changes, and most where the gun was never seen in air in this hand."""

    def sd_of_wave(learnt_hz: float, shift: complex) -> float:
        return in_hand(learnt_hz, shift, work_a=-1.0)[1]

    bench = [sd_of_wave(f_hz, 0j) for f_hz in (20.0, 30.0, 36.0)]
    assert bench == [bench[0]] * 3
    hands = ((36.0, HAND), (30.0, 0.3 * HAND), (30.0, HAND), (26.0, HAND), (0.0, HAND))
    sds = [sd_of_wave(*hand) for hand in hands]
    assert sds == sorted(sds)
    assert sds[0] == bench[0]
    assert sds[-1] == sd_of_wave(0.0, 0j) == pytest.approx(math.hypot(bench[0], 0.4))


def test_in_a_hand_that_is_not_known_the_current_has_the_say() -> None:
    known, carried_far, unknown = ((*hand, HAND) for hand in ((36.0,), (26.0,), (0.0,)))
    assert in_hand(*known)[0] > 38.0 > in_hand(*carried_far)[0] > in_hand(*unknown)[0]
    assert in_hand(*unknown)[0] == pytest.approx(30.0, rel=0.1)


@pytest.mark.parametrize("known", [True, False])
def test_a_strange_hand_is_no_touch_but_an_unknown_gun_is_not_left_alone(known: bool) -> None:
    """A third off in shape, with a tenth of work, before any air."""
    hops = in_air(12, 1.5 * SECOND, SHAKE_DEG, i_a=1.1 * I0_A)
    hops["z_order"][:, 1] *= 0.75
    state, meaning = interpreted(hops, known)
    assert bool(meaning["contact"][5]) != known
    assert (state["learnt"] > 0) == known


def touched(work: float, shape: float, stiffness: float, worked: int) -> int:
    """Hops that contact lasts once the wave is like this, after `worked` hops of work."""
    state = np.zeros(1, contact.CONTACT)
    state["motor"], state["stiffness"] = contact.RUNNING, stiffness
    for _ in range(worked):
        contact._update_contact(state[0], 1.0, 0.5, False)
    for hop in range(20):
        contact._update_contact(state[0], work, shape, False)
        if not state["contact"][0]:
            return hop
    return 20


def test_a_tendon_that_gives_all_back_is_still_touched_for_a_while() -> None:
    """And nothing else is: a lift, what is not stiff, a touch too short to have been one."""
    springing, moved = contact.SPRING_HOPS - 1, 2.0 * contact.SHAPE_ON
    assert touched(0.0, moved, 1.0, worked=8) == springing
    assert touched(0.0, 0.1, 1.0, worked=8) == 1
    assert touched(0.0, moved, 0.1, worked=8) == 1
    assert touched(0.0, moved, 1.0, worked=1) == 1


def combine(
    state: np.ndarray, units: np.ndarray, raw: float, log_var: float, work_a: float
) -> None:
    """Both witnesses at 36 Hz, in the hand that `state` knows."""
    hand_var = force.hand_variance(state[0], units[0], 36.0)
    force._combine(state[0], units[0], raw, log_var, hand_var, 36.0, work_a)


@settings(max_examples=100, deadline=None)
@given(
    raw=st.floats(-2.0, 1.5),
    log_var=st.floats(0.0, 5.0),
    work_a=st.floats(0.05, 7.0),
)
def test_the_current_never_outweighs_a_wave_that_is_badly_explained(
    raw: float, log_var: float, work_a: float
) -> None:
    """On a tendon it is wrong by half, just where the wave is hard to explain."""
    units, state = np.zeros(1, baseline.UNIT), np.zeros(1, contact.CONTACT)
    KNOWN.fill(units[0])
    state["learnt_hz"], state["stiffness"] = 36.0, 1.0
    combine(state, units, raw, log_var, work_a)
    said = np.log(state[0]["force"][-1] / 30.0)
    by_current = np.log(np.clip(work_a, np.exp(-3.0), np.exp(2.0)))
    share = (said - raw) / (by_current - raw) if abs(by_current - raw) > 1e-6 else 0.0
    assert -1e-9 <= share <= 0.12
    sd = np.sqrt(state[0]["force_var"][-1]) / state[0]["force"][-1]
    assert sd >= 0.87 * min(np.hypot(np.sqrt(log_var), 0.03), 1.0)


def combined(
    wave_n: float, turned: float = 0.0, work_a: float = 1.0, state: np.ndarray | None = None
) -> tuple[float, float]:
    """Force and relative SD where the wave says `wave_n`, and the current 30 N for each ampere."""
    units = np.zeros(1, baseline.UNIT)
    KNOWN.fill(units[0])
    if state is None:
        state = np.zeros(1, contact.CONTACT)
        state["turned"], state["learnt_hz"] = turned, 36.0
    combine(state, units, math.log(wave_n / 30.0), 0.01, work_a)
    said_n = float(state[0]["force"][-1])
    return said_n, math.sqrt(state[0]["force_var"][-1]) / said_n


def test_while_the_motor_gives_way_the_current_has_the_say() -> None:
    """The oscillators lag behind the motor, and the wave they leave says too much."""
    steady_n, sd = combined(42.0)
    assert combined(42.0, turned=1e-4)[0] == pytest.approx(steady_n, rel=0.01)
    chirp_n, doubt = combined(42.0, turned=0.03)
    assert steady_n > 38.0
    assert chirp_n == pytest.approx(30.0, rel=0.05)
    assert sd < doubt < 0.7


def test_where_both_witnesses_agree_on_muscle_the_force_is_sure() -> None:
    """However uncertain each of them is: they are not wrong together. On a tendon they may be."""
    state = np.zeros(1, contact.CONTACT)  # never seen in air
    agreed_n, sd = combined(60.0, work_a=2.0, state=state)
    assert agreed_n == pytest.approx(60.0, rel=0.02)
    assert sd == pytest.approx(force.AGREED_LOG_SD, rel=0.02)
    assert combined(60.0, work_a=1.4, state=state)[1] > 2.0 * sd
    state["stiffness"] = 1.0
    assert combined(60.0, work_a=2.0, state=state)[1] > 2.0 * sd


def test_a_current_that_says_far_less_leaves_the_force_uncertain() -> None:
    agreed, less, far_less, more = (combined(60.0, work_a=a)[1] for a in (2.0, 1.4, 0.5, 8.0))
    assert agreed < less < more < far_less
    assert more < 0.7  # as by the wave alone
    assert far_less > 1.0


def test_on_muscle_next_to_no_current_is_less_force_than_the_bench_knew() -> None:
    """A gun that buzzes on a table, say. A tendon may push hard and do no work."""
    state = np.zeros(1, contact.CONTACT)
    state["learnt_hz"] = 36.0
    on_muscle = combined(60.0, work_a=1e-4, state=state)[1]
    state["stiffness"] = 1.0
    on_tendon = combined(60.0, work_a=1e-4, state=state)[1]
    assert on_tendon < 0.75  # as by the wave alone
    assert on_muscle > 2.0


def test_where_strokes_clip_the_force_is_less_certain() -> None:
    def sd(clipped: float) -> float:
        units, state, row = (np.zeros(1, d) for d in (baseline.UNIT, contact.CONTACT, kernels.HOP))
        KNOWN.fill(units[0])
        row["f_hz"], row["mean"][0, 3], row["clipped"] = 36.0, 2.0, clipped
        state["learnt_hz"], state["stiffness"] = 36.0, 1.0
        z = np.array([0.8, 0.25, 0.1], np.complex128)
        free = np.array([1.0, 0.2, 0.0], np.complex128)
        force.update_force(state[0], units[0], row[0], z, free, 2.0, 1.0, 1.0)
        return math.sqrt(state[0]["force_var"][-1]) / float(state[0]["force"][-1])

    assert sd(0.01) == pytest.approx(math.hypot(sd(0.0), force.CLIPPED_LOG_SD), rel=0.2)


def test_in_a_hand_that_is_not_known_a_strange_wave_is_less_strange() -> None:
    """What it may be off by does not count as badly explained: a hand is no tendon."""

    def cost(learnt_hz: float) -> float:
        units, state, row = (np.zeros(1, d) for d in (baseline.UNIT, contact.CONTACT, kernels.HOP))
        KNOWN.fill(units[0])
        row["f_hz"], row["mean"][0, 3] = 36.0, 2.0
        state["learnt_hz"] = learnt_hz
        z = np.array([0.8, 0.5, 0.1], np.complex128)
        free = np.array([1.0, 0.2, 0.0], np.complex128)
        force.update_force(state[0], units[0], row[0], z, free, 2.0, 1.0, 1.0)
        return float(np.expm1(state[0]["cues"][force.COST_CUE]))

    assert cost(36.0) > 10.0
    assert cost(0.0) < 0.5 * cost(36.0)


def test_a_bench_that_left_much_over_makes_bodies_less_certain() -> None:
    """Its two pads differ less than people do."""
    said = []
    for rel_sd in (0.03, 0.06):
        units, state = np.zeros(1, baseline.UNIT), np.zeros(1, contact.CONTACT)
        KNOWN.fill(units[0])
        units["force_rel_sd"], units["by_current_rel_sd"] = rel_sd, 0.0
        state["learnt_hz"] = 36.0
        combine(state, units, 0.0, 0.0, 1.0)
        said.append(math.sqrt(state[0]["force_var"][-1]) / state[0]["force"][-1])
    assert said == pytest.approx([0.09, 0.18])


def test_what_cannot_be_explained_is_searched_for_once_a_second() -> None:
    """And when it changes, or the speed has: a search takes as long as all else together."""
    units, state, row = (np.zeros(1, d) for d in (baseline.UNIT, contact.CONTACT, kernels.HOP))
    KNOWN.fill(units[0])
    row["f_hz"] = 36.0
    state["a1_scale"] = state["i0_scale"] = 1.0
    free = np.array([1.0, 0.2, 0.0], np.complex128)

    def hops_searched(*harmonics: complex) -> int:
        z = np.array(harmonics, np.complex128)
        force.update_force(state[0], units[0], row[0], z, free, 2.0, 1.0, 1.0)
        return int(state[0]["hops_searched"])

    assert [hops_searched(0.3, 2.0, -2.0j) for _ in range(9)] == [1, 2, 3, 4, 1, 2, 3, 4, 1]
    assert [hops_searched(0.3, 6.0, -6.0j) for _ in range(2)] == [1, 2]
    state["turned"] = 2.0 * force.ANOTHER_SPEED  # a window of two speeds: no answer to follow
    hops_searched(0.3, 6.0, -6.0j)
    state["turned"] = 0.0
    assert [hops_searched(0.3, 6.0, -6.0j) for _ in range(2)] == [1, 2]
