"""Attitude, and how long the head has been on one spot.

Numba kernels on the CONTACT state of a gun (pipeline.contact) and one HOP row; numpy and numba
only. In plain words: gliding along a limb turns the gun, because limbs are round. So a spot is an
attitude, and the dwell is how far back the attitudes of this contact, second by second, all fit
into one small cloud. How small depends on the hand: its tremor is read from the fastest changes of
attitude, which gliding hardly makes. Nor may it go to and fro as a glide does. A single second
outside is a slip. Off the spot, lifted or moved, the dwell drains: slowly at first, so that neither
a short lift nor a slip starts it anew.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline.kernels import HOP_S, Record

RECENT = 4  # hops kept for the one-second means
BLOCK_HOPS = 4  # a second of contact is one point of the cloud
BLOCKS = 40  # seconds remembered; who stays in one cloud for longer is on the spot without limit
# Gliding 3 cm along a limb turns the gun by about 4-5° (limb radius 4-8 cm, and the wrist follows
# part of it); a posture drifts by a degree or two in half a minute, some by four. Engineering
# choice: from 3.5 to 4.5 the sessions for fitting had nearly the same dwells found; as swaying
# tells glides as well, the widest.
SPOT_DEG = 4.5
# How wide the cloud of one-second means is for each degree of shake. Of a tremor with a correlation
# time of 0.35 s the second difference has about its own SD, a one-second mean two thirds of it, and
# thirty of those spread over 4.6 SD: 4.6 · 2/3 = 3.1. Tremor and posture are independent, and so
# their widths add as squares. 3.4 found the same.
SHAKE_SPREAD = 3.1
SPOT_DEG_MOST = 12.0  # the largest glide swings the gun by 30° (contract: 3-15° to each side)
# A glide no wider than the tremor goes to and fro for as long as it lasts: a line in the spectrum
# of the newest one-second means, of 3° to 15° (contract). Of the held seconds of five suites 995 of
# 1,000 had none of 2.5°, nor had 10 of 100 of the glides that the cloud takes for a stay. A posture
# drifts: the slower a line, the more of it is that, as much as of tremor at about DRIFT_HZ, and the
# less it counts.
SWAY_BLOCKS, SWAY_DEG, DRIFT_HZ = 18, 2.5, 0.04
# Who was seen to glide is believed to go on until the line is much weaker, and meanwhile the clock
# says a moment less than SWAY_ASKED_S. But an overdwell hurts: from DOUBTED_S on it says what it
# has. A spot that has had its advisory is not asked any more. Engineering choices: of 2,296 stays
# in eight suites this delays 8 advisories, and of 23 false ones it saves 10.
CALM_DEG, SWAY_ASKED_S, DOUBTED_S = 1.4, 20.0, 27.0
STEADY, DOUBTFUL, SWAYING = range(3)
SHAKE_S = 5.0  # over so long the shake is averaged
SHAKE_DEG_FIRST = 0.5
SHAKE_STEP, SHAKE_STEP_DEG = 3.0, 1.0  # one jump counts as so many times the shake, or so much
SLIPS = 1  # seconds outside the cloud that are passed over
LIFT_S = 1.0  # contract: a lift of under 1 s does not restart the dwell clock
DRAIN_SLOW = 1.0  # seconds of dwell lost per second off the spot, up to LIFT_S
DRAIN_FAST = 80.0  # and after it: 30 s are gone two hops later

# Of gravity, what z must have to be told from x and y: with less, a mean that vibration shifts by
# 30 mg (contract: tens of mg) would turn it by over 5°.
LEAST_Z = 0.3

STATE: Final = [
    ("gravity", "f8", (RECENT, 3)),
    ("n_gravity", "i4"),
    ("tilt", "f8", 3),  # last second's mean direction of gravity
    ("motion_deg_s", "f8"),
    ("bend_deg", "f8"),  # second difference of the attitude over the last three hops
    ("shake_deg", "f8"),  # RMS second difference of the attitude over three hops
    ("blocks", "f4", (BLOCKS, 3)),  # directions, a second each, oldest first
    ("n_blocks", "i4"),
    ("block_sum", "f8", 3),  # of the running block
    ("n_sum", "i4"),
    ("sways", "i4"),
    ("dwell_s", "f8"),
    ("off_spot_s", "f8"),
]  # the part of CONTACT that is read and written here

# Directions along which the cloud's width is measured: an edge, face and corner of a cube each; a
# width between two of them is read 4 % too small at most.
_AXES = np.array(
    [
        (x / size, y / size, z / size)
        for x, y, z in (
            (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, -1, 0), (1, 0, 1), (1, 0, -1),
            (0, 1, 1), (0, 1, -1), (1, 1, 1), (1, 1, -1), (1, -1, 1), (-1, 1, 1),
        )
        for size in [math.sqrt(x * x + y * y + z * z)]
    ]
)  # fmt: skip
_N_AXES = len(_AXES)

# The lines, of periods from 18 to 2.8 s and half as far apart as they are wide: 2/n · exp(iωt), its
# mean taken out, weighed.
_LINES_HZ = np.arange(2, 14) / (2.0 * SWAY_BLOCKS)
_TURNS = 2.0 * math.pi * np.outer(_LINES_HZ, np.arange(SWAY_BLOCKS))
_WEIGHTS = (2.0 / SWAY_BLOCKS / np.hypot(1.0, DRIFT_HZ / _LINES_HZ))[:, None]
_LINES_COS, _LINES_SIN = (
    _WEIGHTS * (wave - wave.mean(axis=1, keepdims=True))
    for wave in (np.cos(_TURNS), np.sin(_TURNS))
)
_N_LINES = len(_LINES_HZ)


@njit(cache=True, nogil=True)
def angle_deg(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Angle between two unit vectors, by the chord: exact where it is small."""
    chord = math.sqrt((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2)
    return math.degrees(2.0 * math.asin(min(0.5 * chord, 1.0)))


@njit(cache=True, nogil=True)
def update_tilt(c: Record, row: Record) -> None:
    """Direction of gravity over the last second, how fast it turns, how much it shakes.

    Strokes clip along z, and a clipped wave has a false mean: z then has what x and y leave of 1 g.
    """
    x, y, z = row.mean[0], row.mean[1], row.mean[2]
    if row.clipped > 0.0:
        left = 1.0 - x * x - y * y
        if c.n_gravity == 0 or left < LEAST_Z * LEAST_Z:
            return
        z = math.copysign(math.sqrt(left), c.gravity[RECENT - 1, 2])
    size = max(math.sqrt(x * x + y * y + z * z), 1e-3)
    for k in range(3):
        for j in range(RECENT - 1):
            c.gravity[j, k] = c.gravity[j + 1, k]
    last = c.gravity[RECENT - 1]
    last[0], last[1], last[2] = x / size, y / size, z / size
    c.n_gravity = min(c.n_gravity + 1, RECENT)
    before = np.empty(3)
    norm = 0.0
    for k in range(3):
        before[k] = c.tilt[k]
        total = 0.0
        for j in range(RECENT - c.n_gravity, RECENT):
            total += c.gravity[j, k]
        c.tilt[k] = total
        norm += total * total
    norm = max(math.sqrt(norm), 1e-6)
    for k in range(3):
        c.tilt[k] /= norm
    c.motion_deg_s = angle_deg(before, c.tilt) / HOP_S if c.n_gravity > 1 else 0.0
    _update_shake(c)


@njit(cache=True, nogil=True)
def _update_shake(c: Record) -> None:
    """Follow the fastest changes of attitude, whatever single jumps there are."""
    if c.n_gravity < 3:
        c.bend_deg, c.shake_deg = 0.0, SHAKE_DEG_FIRST
        return
    squared = 0.0
    for k in range(3):
        bend = c.gravity[RECENT - 1, k] - 2.0 * c.gravity[RECENT - 2, k] + c.gravity[RECENT - 3, k]
        squared += bend * bend
    c.bend_deg = math.degrees(math.sqrt(squared))
    step = min(c.bend_deg, max(SHAKE_STEP * c.shake_deg, SHAKE_STEP_DEG))
    was = c.shake_deg * c.shake_deg
    c.shake_deg = math.sqrt(was + (step * step - was) * HOP_S / SHAKE_S)


@njit(cache=True, nogil=True)
def update_dwell(c: Record, in_contact: bool) -> None:
    """The dwell clock: fills on the spot, drains off the skin and on another spot."""
    if not in_contact:
        _begin_block(c)
        _drain(c, 0.0)
        if c.dwell_s == 0.0:
            c.n_blocks = 0
        return
    if c.n_gravity == 0:  # every sample so far was clipped: nothing says that it moved
        c.dwell_s += HOP_S
        return
    for k in range(3):
        c.block_sum[k] += c.gravity[RECENT - 1, k]
    c.n_sum += 1
    on_spot_s = _on_spot_s(c)
    if c.n_sum == BLOCK_HOPS:
        _keep_block(c)
    if c.dwell_s + HOP_S <= on_spot_s + 1e-6:
        c.dwell_s += HOP_S
        c.off_spot_s = 0.0
    else:
        _drain(c, on_spot_s)
        if c.dwell_s <= on_spot_s:  # drained to what this spot has had: the clock runs again
            c.off_spot_s = 0.0


@njit(cache=True, nogil=True)
def _drain(c: Record, floor_s: float) -> None:
    c.off_spot_s += HOP_S
    rate = DRAIN_SLOW if c.off_spot_s <= LIFT_S else DRAIN_FAST
    c.dwell_s = max(c.dwell_s - rate * HOP_S, floor_s)


@njit(cache=True, nogil=True)
def _keep_block(c: Record) -> None:
    """The running second becomes the newest block."""
    if c.n_blocks == BLOCKS:
        for j in range(BLOCKS - 1):
            for k in range(3):
                c.blocks[j, k] = c.blocks[j + 1, k]
        c.n_blocks = BLOCKS - 1
    for k in range(3):
        c.blocks[c.n_blocks, k] = c.block_sum[k] / BLOCK_HOPS
    c.n_blocks += 1
    _update_sways(c)
    _begin_block(c)


@njit(cache=True, nogil=True)
def _begin_block(c: Record) -> None:
    c.n_sum = 0
    for k in range(3):
        c.block_sum[k] = 0.0


@njit(cache=True, nogil=True)
def _update_sways(c: Record) -> None:
    """Whether the newest blocks go to and fro, as a glide does and a tremor does not."""
    if c.n_blocks < SWAY_BLOCKS or (c.sways == STEADY and c.dwell_s >= SWAY_ASKED_S):
        c.sways = STEADY
        return
    amplitude = sway_rad(c)
    if amplitude > math.radians(SWAY_DEG):
        c.sways = SWAYING
    elif amplitude > math.radians(CALM_DEG) and c.sways != STEADY:
        c.sways = DOUBTFUL
    else:
        c.sways = STEADY


@njit(cache=True, nogil=True)
def sway_rad(c: Record) -> float:
    """Amplitude of the strongest line in the newest SWAY_BLOCKS blocks, of all axes together."""
    newest = c.blocks[c.n_blocks - SWAY_BLOCKS : c.n_blocks]
    strongest = 0.0
    for q in range(_N_LINES):
        power = 0.0
        for k in range(3):
            re = im = 0.0
            for j in range(SWAY_BLOCKS):
                re += newest[j, k] * _LINES_COS[q, j]
                im += newest[j, k] * _LINES_SIN[q, j]
            power += re * re + im * im
        strongest = max(strongest, power)
    return math.sqrt(strongest)


@njit(cache=True, nogil=True)
def said_dwell_s(c: Record) -> float:
    """What the clock may say: while it may still be a glide, less than an advisory asks."""
    if c.sways != STEADY and c.dwell_s < DOUBTED_S:
        return float(min(c.dwell_s, SWAY_ASKED_S - HOP_S))
    return float(c.dwell_s)


@njit(cache=True, nogil=True)
def _on_spot_s(c: Record) -> float:
    """How long, looking back from now, all blocks fit into one cloud; without limit if all do."""
    spread_deg = math.hypot(SPOT_DEG, SHAKE_SPREAD * c.shake_deg)
    widest = math.radians(min(spread_deg, SPOT_DEG_MOST))
    low, high, at = np.empty(_N_AXES), np.empty(_N_AXES), np.empty(_N_AXES)
    for q in range(_N_AXES):
        low[q] = high[q] = _along(c.block_sum[0], c.block_sum[1], c.block_sum[2], q) / c.n_sum
    on_spot_s = c.n_sum * HOP_S
    slips = 0
    for j in range(c.n_blocks - 1, -1, -1):
        bx, by, bz = float(c.blocks[j, 0]), float(c.blocks[j, 1]), float(c.blocks[j, 2])
        width = 0.0
        for q in range(_N_AXES):
            at[q] = _along(bx, by, bz, q)
            width = max(width, max(high[q], at[q]) - min(low[q], at[q]))
        if width > widest:
            slips += 1
            if slips > SLIPS:
                return on_spot_s
            continue
        for q in range(_N_AXES):
            low[q], high[q] = min(low[q], at[q]), max(high[q], at[q])
        if c.sways == SWAYING and c.n_blocks - j >= SWAY_BLOCKS and c.dwell_s < SWAY_ASKED_S:
            return on_spot_s
        on_spot_s = (c.n_blocks - j) * BLOCK_HOPS * HOP_S + c.n_sum * HOP_S
    return math.inf


@njit(cache=True, nogil=True)
def _along(x: float, y: float, z: float, axis: int) -> float:
    return float(x * _AXES[axis, 0] + y * _AXES[axis, 1] + z * _AXES[axis, 2])
