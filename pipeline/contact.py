"""From hops to what they mean: motor, air or contact, force, stiffness, dwell.

Numba kernels on the CONTACT state of a gun, the UNIT numbers of its calibration and the HOP rows of
pipeline.kernels; numpy and numba only, no I/O, no clock. In plain words:

- The motor does work only when the head hits something, so current over its no-load baseline says
  "contact", together with how far the housing's vibration has left its free-running shape. A gun
  that buzzes on a table changes shape but does no work.
- Force is the waveform inversion (pipeline.waveform), corrected by what the bench said of this
  unit and weighed with what the current says, over the last windows.
- Stiffness is read from the same waveform: how hard the spring is, how peaked the pulses are, and
  how much the head bounces on every second stroke.
- How long the head has been on one spot is told from the gun's attitude (pipeline.dwell).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline import dwell
from pipeline.baseline import (
    LEAST_SECOND,
    MOST_GIVEN,
    at_speed,
    free_harmonics,
    interpolate,
    relative_harmonics,
    shape_distance,
)
from pipeline.force import FORCE_HOPS, N_CUES, N_TERMS, crest_factor, push_force, update_force
from pipeline.kernels import MIN_PRESENT, Record
from pipeline.waveform import N_PARAMETERS

OFF, STARTING, RUNNING, STALLED = range(4)
GOOD, DEGRADED, BAD = range(3)

# Work over the no-load baseline, as a share of it. 10 N doubles the current on every bench seen;
# noise and bearing drift stay under a tenth. Engineering choices with a deadband between them.
WORK_ON, WORK_OFF = 0.25, 0.15
# Distance of the first three harmonics from their free-running values, as a share of the first.
SHAPE_ON, SHAPE_OFF = 0.22, 0.14
# Until this hand has been seen in air, what it does to a known gun's shape (up to 0.35, with a
# tenth of work, in the suites) is no touch; 12 N on a tendon move the first harmonic alone by 0.5.
STRANGE_SHAPE = 2.0
WORK_NONE = 0.05  # under this nothing is pushed back: a table, not tissue
# Nor does a tendon that gives all back. After a second of work, a wave that is stiff and far from
# the free run stays contact for so many hops more: TENDON_PROXIMITY waits for a second, two windows
# for half of one. Nobody gets from skin to a table without a lift. Engineering choices.
SPRING_HOPS, SPRING_STIFFNESS, WORKED_HOPS = 8, 0.5, 4
# The free run up to its size, which another hand changes: each harmonic's share of the first. Touch
# moves them by 0.2 and more at 5 N; noise and tremor by 0.02.
SHAPE_AIR = 0.08
RELEARN = 0.05  # per hop: a time constant of 5 s; engineering choice, slow against a touch
# Another hand moves them, too. Where the motor does no work and the gun is in a hand, what is left
# of the difference is the hand's. Held in air, the attitude's second difference over three hops was
# over 0.4° in 98 % of the hops of 48 simulated operators; of a gun that lies still, the worst
# sensor's noise (24 mg a sample at 1600 Hz) makes as much in 6 %.
HELD_DEG = 0.4
# A hand comes down in a quarter second or more, and at first pushes nothing back: the last hops in
# air before a touch may be its beginning, and what they said is taken back. Engineering choice: a
# window and half of one.
BACK_HOPS, N_LEARNT = 2, 8
LEARNT_ELSEWHERE = 1  # hops that what was learnt at another speed is worth
SHIFT_MOST = 0.25  # of the first harmonic: no hand seen moved the second by more than 0.15
RELEARN_MOST = 0.3  # a unit whose baseline has left its bench by more needs a new bench
STALL_SHAKE = 0.15  # of the free-running RMS: the crank does not turn
STALL_WORK = 3.0  # times the no-load current
STARTING_HOPS = 3  # inrush lasts 0.1-0.5 s (contract); the window needs one hop more
CLIPPED_BAD = 0.2  # share of samples at the end of the scale beyond which the waveform is lost
FORCE_FLOOR_N = 0.5
HOLD_GROWTH = 2.0  # a held force doubles its variance each hop; engineering choice

CONTACT = np.dtype(
    [
        ("motor", "i4"),
        ("contact", "i4"),
        ("set_hz", "f8"),
        ("hops_at_speed", "i4"),
        ("f_hz", "f8"),  # percussion frequency a hop ago; 0 before
        ("changed", "f8"),  # by which share of itself it has changed since
        ("turned", "f8"),  # and in the two hops of this window, the larger
        ("hops_on", "i4"),
        ("hops_off", "i4"),
        ("warm", "i4"),
        ("learnt", "i4"),  # hops of air the baselines have seen
        ("learnt_hz", "f8"),  # and at which percussion frequency; 0 before
        ("missing", "i4"),  # hops without usable samples in a row
        ("hops_searched", "i4"),  # since the inversion's grid was searched, that one included
        ("searched_cost", "f8"),  # what its best fit cost; 0 when it may be searched again
        ("a1_scale", "f8"),  # present over calibrated free-running amplitude
        ("i0_scale", "f8"),
        ("second_shift", "f8", 2),  # what this hand adds to the free run's second harmonic, complex
        ("third_shift", "f8", 2),
        ("was_learnt", "f8", (BACK_HOPS, N_LEARNT)),  # the same of the last hops in air, in order
        ("p", "f8", N_PARAMETERS),
        ("force", "f8", FORCE_HOPS),
        ("force_var", "f8", FORCE_HOPS),
        ("cues", "f8", N_CUES),
        ("tissue", "f8", FORCE_HOPS),  # what each of the last windows alone is, 0 to 2
        ("raw_n", "f8"),
        ("stiffness", "f8"),
        *dwell.STATE,
    ],
    align=True,
)

MEANING = np.dtype(
    [
        ("slot", "i4"),
        ("frame", "i4"),
        ("t_ns", "i8"),
        ("motor", "i4"),
        ("contact", "i4"),
        ("quality", "i4"),
        ("clipped", "i4"),
        ("stuck", "i4"),
        ("percussion_hz", "f8"),
        ("contact_force_n", "f8"),
        ("contact_force_n_sd", "f8"),
        ("stiffness", "f8"),
        ("dwell_s", "f8"),
        ("motion_deg_s", "f8"),
        ("accel_rms_g", "f8"),
        ("crest", "f8"),
        ("kurtosis", "f8"),
        ("current_a", "f8"),
        ("current_ripple_a", "f8"),
        ("h1", "f8"),
        ("h2_4", "f8"),
        ("h_sub", "f8"),
        ("a_hw_x_m_s2", "f8"),
        ("a_hw_y_m_s2", "f8"),
        ("a_hw_z_m_s2", "f8"),
        ("a_hv_m_s2", "f8"),
        ("set_percussion_hz", "f8"),
        ("cues", "f8", N_CUES),
        ("raw_n", "f8"),  # this window's force before any correction
    ],
    align=True,
)


@njit(cache=True, nogil=True)
def _update_motor(c: Record, row: Record, free_rms: float, work: float) -> None:
    if row.set_hz == c.set_hz:
        c.hops_at_speed += 1
    else:
        c.hops_at_speed = 0
        c.learnt = min(c.learnt, LEARNT_ELSEWHERE)
        for j in range(BACK_HOPS):
            c.was_learnt[j, 0] = min(c.was_learnt[j, 0], LEARNT_ELSEWHERE)
    c.set_hz = row.set_hz
    if row.set_hz <= 0.0:
        c.motor = OFF
    elif c.hops_at_speed < STARTING_HOPS:
        c.motor = STARTING
    elif row.sd[2] < STALL_SHAKE * free_rms and work > STALL_WORK:
        c.motor = STALLED
    else:
        c.motor = RUNNING


@njit(cache=True, nogil=True)
def looks_free(row: Record) -> bool:
    """Air, told by the waveform's own shape: for units whose baselines are not known.

    A crank with a rod shakes at f0 and, by 10-35 %, in phase at 2·f0, hardly at 3·f0; the current
    ripples at 2·f0 only, because nothing pushes back once a stroke.
    """
    z1 = abs(row.z_order[1])
    if z1 < 1e-3:
        return False
    turn = (row.z_order[1] / z1).conjugate()
    second = row.z_order[3] * turn * turn / z1
    in_phase = 0.05 < second.real < 0.4 and abs(second.imag) < 0.1
    quiet = abs(row.z_order[4]) < 0.06 * z1 and abs(row.z_order[0]) < 0.03 * z1
    return bool(in_phase and quiet and abs(row.i_order[1]) < 0.4 * row.mean[3])


@njit(cache=True, nogil=True)
def same_shape(z: NDArray[np.complex128], free: NDArray[np.complex128]) -> bool:
    """Whether the waveform is the free run's, whatever its size."""
    return upper_harmonics_off(z, free) < SHAPE_AIR


@njit(cache=True, nogil=True)
def upper_harmonics_off(z: NDArray[np.complex128], free: NDArray[np.complex128]) -> float:
    """How far the second or third is from the free run's, the larger, in shares of the first."""
    size = max(z[0].real, 1e-6)
    return max(abs(z[1] / size - free[1]), abs(z[2] / size - free[2]))


@njit(cache=True, nogil=True)
def a_hand_may_do(z: NDArray[np.complex128], free: NDArray[np.complex128]) -> bool:
    """Whether another hand may shake like that in air."""
    return abs(z[0].real - 1.0) < RELEARN_MOST and upper_harmonics_off(z, free) < SHIFT_MOST


@njit(cache=True, nogil=True)
def _update_contact(c: Record, work: float, shape: float, like_air: bool) -> None:
    """On at once, off after two hops: a bounce or a slip is not a lift."""
    pushes = work > WORK_ON or (shape > SHAPE_ON and work > WORK_NONE and not like_air)
    free = work < WORK_OFF and (shape < SHAPE_OFF or work < WORK_NONE or like_air)
    if c.contact == 0 and pushes and c.motor == RUNNING:
        c.contact = 1
        c.hops_on = 0
    elif c.contact == 1 and free:
        c.hops_off += 1
        worked = c.hops_on - c.hops_off >= WORKED_HOPS
        springs = worked and c.stiffness > SPRING_STIFFNESS and shape > SHAPE_ON and not like_air
        if c.hops_off >= (SPRING_HOPS if springs else 2):
            c.contact = 0
    else:
        c.hops_off = 0
    if c.contact == 1:
        c.hops_on += 1
    else:
        c.hops_on = 0
        c.hops_off = 0
        c.warm = 0


@njit(cache=True, nogil=True)
def _note_learnt(c: Record) -> None:
    """Keep what is known of the hand now, for BACK_HOPS hops."""
    for j in range(BACK_HOPS - 1):
        for k in range(N_LEARNT):
            c.was_learnt[j, k] = c.was_learnt[j + 1, k]
    now = c.was_learnt[BACK_HOPS - 1]
    now[0], now[1], now[2], now[3] = c.learnt, c.learnt_hz, c.a1_scale, c.i0_scale
    now[4], now[5] = c.second_shift[0], c.second_shift[1]
    now[6], now[7] = c.third_shift[0], c.third_shift[1]


@njit(cache=True, nogil=True)
def _take_back_learnt(c: Record) -> None:
    """Know of the hand what was known BACK_HOPS hops in air ago, if it was in air for so long."""
    was = c.was_learnt[0]
    if was[2] <= 0.0:
        return
    c.learnt, c.learnt_hz, c.a1_scale, c.i0_scale = int(was[0]), was[1], was[2], was[3]
    c.second_shift[0], c.second_shift[1] = was[4], was[5]
    c.third_shift[0], c.third_shift[1] = was[6], was[7]


@njit(cache=True, nogil=True)
def hand_at(c: Record, unit: Record, f_hz: float) -> tuple[float, complex]:
    """What this hand does at f_hz: `a1_scale` and `second_shift`, carried there from `learnt_hz`.

    A hand changes how far the housing moves for a newton. By how much depends on the frequency of
    the newton, not on which harmonic of which speed that is. Where it was learnt it is known at f
    and at 2f: between them its logarithm is taken as a line over that of the frequency. Above, what
    the hand's mass still does fades with 1/f², as in force._give; below nothing is known of it.
    """
    scale, shift = c.a1_scale, complex(c.second_shift[0], c.second_shift[1])
    if unit.calibrated == 0 or c.learnt_hz <= 0.0 or c.learnt_hz == f_hz:
        return scale, shift
    there, here = at_speed(unit, c.learnt_hz, unit.second), at_speed(unit, f_hz, unit.second)
    if min(abs(there), abs(there + shift), abs(here)) < LEAST_SECOND:
        return scale, shift
    hand = (there + shift) / there
    size = min(max(abs(hand), 1.0 / MOST_GIVEN), MOST_GIVEN)
    at_f, at_2f = math.log(scale), math.log(scale * size)
    x = f_hz / c.learnt_hz
    first = _between(at_f, at_2f, x)
    second = math.exp(_between(at_f, at_2f, 2.0 * x) - first)
    return math.exp(first), here * (second / abs(hand) * hand - 1.0)


@njit(cache=True, nogil=True)
def _between(at_f: float, at_2f: float, x: float) -> float:
    """Log of what a hand does at x times the frequency f."""
    if x >= 2.0:
        return at_2f * 4.0 / (x * x)
    return at_f + (at_2f - at_f) * max(math.log(x), 0.0) / math.log(2.0)


@njit(cache=True, nogil=True)
def _relearn(
    c: Record,
    unit: Record,
    row: Record,
    a1: float,
    i0: float,
    z: NDArray[np.complex128],
    free: NDArray[np.complex128],
    a1_scale: float,
    second_shift: complex,
) -> None:
    """Follow temperature, battery and grip while the gun runs in air.

    The first hops weigh as in a mean: a session's hand is seldom the bench's. `free` as in air now.
    """
    known = unit.calibrated == 1 or c.learnt >= 4
    if not known and not looks_free(row):
        return
    rate = max(RELEARN, 1.0 / (1.0 + c.learnt)) if known else 0.5
    z1 = abs(row.z_order[1])
    most = RELEARN_MOST if unit.calibrated == 1 else 1.0
    c.second_shift[0], c.second_shift[1] = second_shift.real, second_shift.imag
    c.learnt_hz = row.f_hz
    for_a1 = a1_scale * (1.0 + rate * (z1 / a1 - 1.0))
    for_i0 = c.i0_scale * (1.0 + rate * (row.mean[3] / i0 - 1.0))
    c.a1_scale = min(max(for_a1, 1.0 - min(most, 0.7)), 1.0 + most)
    c.i0_scale = min(max(for_i0, 1.0 - min(most, 0.7)), 1.0 + most)
    size = max(z[0].real, 1e-6)
    for shift, harmonic in ((c.second_shift, 1), (c.third_shift, 2)):
        off = z[harmonic] / size - free[harmonic]
        shift[0] = min(max(shift[0] + rate * off.real, -SHIFT_MOST), SHIFT_MOST)
        shift[1] = min(max(shift[1] + rate * off.imag, -SHIFT_MOST), SHIFT_MOST)
    c.learnt = min(c.learnt + 1, 1000)


@njit(cache=True, nogil=True)
def _quality(row: Record) -> int:
    if row.present < MIN_PRESENT or row.stuck & 7 != 0 or row.clipped > CLIPPED_BAD:
        return BAD
    if row.set_hz > 0.0 and row.stuck != 0:
        return BAD
    if row.present < 0.95 or row.clipped > 0.0:
        return DEGRADED
    return GOOD


@njit(cache=True, nogil=True)
def update_stiffness(c: Record, model: NDArray[np.float64]) -> None:
    """0 soft muscle, 1 tendon, 2 bone: two logistic steps, the least of the last windows' answers.

    A window is 0.5 s, and a bounce anywhere in it marks it: a tendon crossed in 0.7 s is in the
    windows of 1.2 s. All of the last ones agree for as long as it lasted, less or more than a hop.
    """
    for j in range(FORCE_HOPS - 1):
        c.tissue[j] = c.tissue[j + 1]
    tendon, bone = _evidence(c.cues, model[0]), _evidence(c.cues, model[1])
    c.tissue[FORCE_HOPS - 1] = _logistic(tendon) * (1.0 + _logistic(bone))
    c.stiffness = 2.0
    for j in range(FORCE_HOPS):
        c.stiffness = min(c.stiffness, c.tissue[j])


@njit(cache=True, nogil=True)
def _evidence(cues: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Log odds: a quadratic in the cues, its weights in the order of `stiffness.terms`."""
    total, at = weights[N_TERMS - 1], N_CUES
    for i in range(N_CUES):
        total += weights[i] * cues[i]
        for k in range(i, N_CUES):
            total += weights[at] * cues[i] * cues[k]
            at += 1
    return total


@njit(cache=True, nogil=True)
def _logistic(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-min(max(x, -30.0), 30.0)))


@njit(cache=True, nogil=True)
def _lose(c: Record) -> None:
    """No force, no cues: nothing is being touched."""
    c.warm = 0
    c.stiffness = 0.0


@njit(cache=True, nogil=True)
def _step(c: Record, unit: Record, row: Record, model: NDArray[np.float64], quality: int) -> None:
    f = max(row.f_hz, 1.0)
    n = unit.n_speeds
    changed = abs(f - c.f_hz) / f if c.f_hz > 0.0 else 0.0
    c.turned, c.changed, c.f_hz = max(changed, c.changed), changed, f
    a1_scale, second_shift = hand_at(c, unit, f)
    a1 = interpolate(f, unit.speed_hz, unit.a1_per_hz2, n) * f * f * a1_scale
    i0 = interpolate(f, unit.speed_hz, unit.i0_a, n) * c.i0_scale
    work = row.mean[3] / i0 - 1.0
    z = np.zeros(3, dtype=np.complex128)
    relative_harmonics(row, a1, z)
    free = np.zeros(3, dtype=np.complex128)
    free_harmonics(unit, f, free)
    free[1] += second_shift
    free[2] += complex(c.third_shift[0], c.third_shift[1])
    shape = shape_distance(z, free)
    like_air = work < WORK_OFF and same_shape(z, free)
    _update_motor(c, row, a1 * 0.7, work)
    if c.motor == OFF:
        c.contact = 0
        _lose(c)
    elif c.motor != STARTING or c.contact == 1:
        strange = unit.calibrated == 1 and c.learnt_hz <= 0.0
        was = c.contact
        _update_contact(c, work, shape / STRANGE_SHAPE if strange else shape, like_air)
        if c.contact > was:
            _take_back_learnt(c)
    if c.contact == 0 and c.motor == RUNNING:
        _note_learnt(c)
        held = c.bend_deg > HELD_DEG and work < WORK_OFF and a_hand_may_do(z, free)
        settled = c.hops_at_speed > STARTING_HOPS + 2
        if (settled and (like_air or held)) or unit.calibrated == 0:
            _relearn(c, unit, row, a1, i0, z, free, a1_scale, second_shift)
    if c.contact == 1 and c.motor != RUNNING:  # between two speeds, or standing still: hold
        last = FORCE_HOPS - 1
        push_force(c, c.force[last], HOLD_GROWTH * c.force_var[last])
        c.warm = 0
    elif c.contact == 1 and quality != BAD:
        update_force(c, unit, row, z, free, a1, a1_scale, row.mean[3] - i0)
        update_stiffness(c, model)
    elif c.contact == 0:
        push_force(c, 0.0, FORCE_FLOOR_N**2)
        _lose(c)


@njit(cache=True, nogil=True)
def _fill(c: Record, row: Record, quality: int, out: Record) -> None:
    out.slot, out.frame, out.t_ns = row.slot, row.frame, row.t_ns
    out.motor, out.contact, out.quality = c.motor, c.contact, quality
    out.clipped, out.stuck = int(row.clipped > 0.0), int(row.stuck != 0)
    turning = c.motor == STARTING or c.motor == RUNNING
    out.percussion_hz = row.f_hz if turning else 0.0
    total = variance = 0.0
    for j in range(FORCE_HOPS):
        total += c.force[j]
        variance += c.force_var[j]
    out.contact_force_n = total / FORCE_HOPS
    # neighbours share half their samples and all of the calibration: no gain from averaging
    out.contact_force_n_sd = math.sqrt(variance / FORCE_HOPS)
    out.stiffness = c.stiffness
    out.dwell_s = dwell.said_dwell_s(c)
    out.motion_deg_s = c.motion_deg_s
    sd2 = row.sd[0] ** 2 + row.sd[1] ** 2 + row.sd[2] ** 2
    out.accel_rms_g = math.sqrt(sd2)
    out.crest = crest_factor(row)
    out.kurtosis = row.z_kurtosis
    out.current_a, out.current_ripple_a = row.mean[3], row.sd[3]
    variance_z = max(row.sd[2] ** 2, 1e-8)
    out.h1 = 0.5 * abs(row.z_order[1]) ** 2 / variance_z
    out.h2_4 = (
        0.5
        * (abs(row.z_order[3]) ** 2 + abs(row.z_order[4]) ** 2 + abs(row.z_order[5]) ** 2)
        / variance_z
    )
    out.h_sub = 0.5 * abs(row.z_order[0]) ** 2 / variance_z
    out.a_hw_x_m_s2, out.a_hw_y_m_s2, out.a_hw_z_m_s2 = row.a_hw[0], row.a_hw[1], row.a_hw[2]
    out.a_hv_m_s2 = math.sqrt(row.a_hw[0] ** 2 + row.a_hw[1] ** 2 + row.a_hw[2] ** 2)
    out.set_percussion_hz = row.set_hz
    for k in range(N_CUES):
        out.cues[k] = c.cues[k]
    out.raw_n = c.raw_n


@njit(cache=True, nogil=True)
def interpret(
    state: NDArray[Any],
    units: NDArray[Any],
    model: NDArray[np.float64],
    hops: NDArray[Any],
    out: NDArray[Any],
) -> None:
    """Advance CONTACT `state` by HOP rows in order; `units` is UNIT by slot, `out` MEANING by row.

    `model` is the stiffness model, float64 (2, N_TERMS): weights and offset of each step.
    """
    for j in range(hops.size):
        row = hops[j]
        c = state[row.slot]
        if c.a1_scale <= 0.0:
            c.a1_scale, c.i0_scale = 1.0, 1.0
        quality = _quality(row)
        if row.present >= MIN_PRESENT:
            dwell.update_tilt(c, row)
            _step(c, units[row.slot], row, model, quality)
            if c.motor == STALLED:
                quality = BAD  # a crank that stands still says nothing of the tissue
        dwell.update_dwell(c, c.contact == 1)
        _fill(c, row, quality, out[j])
