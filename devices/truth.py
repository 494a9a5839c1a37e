"""Ground truth of a performance: what really happened, measured on the simulated state.

Pure; sees contact force, tissue and position, never a sensor signal, and knows nothing of
detectors. The form and the meaning are those of the shared labelled recordings:

- `force_10hz`: mean contact force over the second centred on the instant.
- `tissue_10hz`: what the head is on, 0 while it touches nothing.
- `dwell_10hz`: seconds on one spot, the disc of 3 cm around where the head set down or last left a
  spot. The clock stops while the head is off the skin; it restarts after 1 s in the air or 3 cm.
- hazards: a condition is allowed from 90 % of its limit (85 % for dwell), begins at 110 % (100 %
  for dwell) and ends under 90 %, and must be found only if it stayed over 110 % for 1.1 × the
  rule's delay. What lies between is listed with `must` false: either answer is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from devices.gun import FloatArray
from devices.performance import Take
from devices.tissue import TissueKind

GRID_S = 0.01
FORCE_LIMIT_N = 50.0  # no site set (contract, EXCESS_PRESSURE)
EXTREME_LIMIT_N = 100.0  # twice that
TENDON_FORCE_N = 12.0
DWELL_ADVISORY_S, DWELL_LIMIT_S = 20.0, 30.0
SPOT_CM = 3.0
SURE_LOW, SURE_HIGH = 0.9, 1.1  # of a limit: in between is not scored (contract, "How good")
DWELL_ALLOWED = 0.85
EXCESS_DELAY_S, EXTREME_DELAY_S, TENDON_DELAY_S = 1.0, 0.5, 1.0
TOUCH_N = 1.0  # mean force that counts as contact
LIFT_S = 1.0  # a shorter lift does not restart the dwell clock (contract, "Use alarms")
TOUCH_S = 0.2  # the mean it is judged on: a bouncing head is off the skin for two strokes


class Hazard(TypedDict):
    """One true condition; times are the gun's clock."""

    rule: str
    start_ns: int
    onset_ns: int
    end_ns: int
    allowed_from_ns: int
    must: bool


class Span(NamedTuple):
    """One hazard in seconds since the start."""

    rule: str
    allowed_from_s: float
    start_s: float
    onset_s: float
    end_s: float
    must: bool


class Tracks(NamedTuple):
    """The true state on a grid of GRID_S."""

    force_n: FloatArray  # 1 s centred mean
    tissue: NDArray[np.int8]
    dwell_s: FloatArray


def tracks(takes: Sequence[Take]) -> Tracks:
    """The state a rule is about, from a whole performance."""
    edges = np.concatenate(
        [take.t_s + np.arange(len(take.force_n)) / take.true_rate_hz for take in takes]
    )
    last = takes[-1]
    end_s = last.t_s + len(last.force_n) / last.true_rate_hz
    force = np.concatenate([take.force_n for take in takes])
    kind = np.concatenate([take.tissue for take in takes])
    position = np.concatenate([take.position_cm for take in takes])
    edges = np.append(edges, end_s)
    impulse = np.concatenate([[0.0], np.cumsum(force * np.diff(edges))])
    t = np.arange(0.0, end_s, GRID_S)
    mean_n = _centred_mean(edges, impulse, t, 1.0)
    touch = _centred_mean(edges, impulse, t, TOUCH_S) > TOUCH_N
    row = np.clip(np.searchsorted(edges, t, side="right") - 1, 0, len(force) - 1)
    dwell_s = _dwell(position[row], touch)
    return Tracks(mean_n, np.where(touch, kind[row], 0).astype(np.int8), dwell_s)


def _centred_mean(
    edges: FloatArray, impulse: FloatArray, t: FloatArray, width: float
) -> FloatArray:
    """Exact mean force over `width` seconds around each `t`; zero outside the session."""
    upper = np.interp(t + width / 2.0, edges, impulse)
    mean: FloatArray = (upper - np.interp(t - width / 2.0, edges, impulse)) / width
    return mean


def _dwell(position_cm: FloatArray, touch: NDArray[np.bool_]) -> FloatArray:
    """Seconds on one spot at every grid point."""
    out = np.zeros(len(touch))
    anchor, clock, lifted = position_cm[0], 0.0, 0
    for i in range(len(out)):
        lifted = 0 if touch[i] else lifted + 1
        moved = position_cm[i] - anchor
        if lifted * GRID_S >= LIFT_S or moved[0] ** 2 + moved[1] ** 2 > SPOT_CM**2:
            anchor, clock = position_cm[i], 0.0
        elif touch[i]:
            clock += GRID_S
        out[i] = clock
    return out


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Half-open index ranges where `mask` holds."""
    steps = np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))
    return list(zip(np.flatnonzero(steps > 0), np.flatnonzero(steps < 0), strict=True))


def _held_over(sure: NDArray[np.bool_], run: tuple[int, int], delay_s: float) -> int | None:
    """Where in `run` the condition first holds surely for 1.1 × `delay_s`."""
    for begin, end in _runs(sure[run[0] : run[1]]):
        if (end - begin) * GRID_S >= SURE_HIGH * delay_s:
            return int(run[0] + begin)
    return None


def _judged(
    rule: str, maybe: NDArray[np.bool_], sure: NDArray[np.bool_], delay_s: float
) -> list[Span]:
    """Hazards of a rule with an on-delay, from where it may and where it surely does hold."""
    found = []
    for run in _runs(maybe):
        if (run[1] - run[0]) * GRID_S < SURE_LOW * delay_s:
            continue
        begin = _held_over(sure, run, delay_s)
        start_s = (run[0] if begin is None else begin) * GRID_S
        found.append(
            Span(
                rule,
                run[0] * GRID_S,
                start_s,
                start_s + delay_s,
                run[1] * GRID_S,
                begin is not None,
            )
        )
    return found


def _dwelt(rule: str, dwell_s: FloatArray, limit_s: float) -> list[Span]:
    """Hazards of a dwell rule; one clock run makes one."""
    found = []
    for first, end in _runs(dwell_s >= DWELL_ALLOWED * limit_s):
        clock = dwell_s[first:end]
        over = np.flatnonzero(clock >= limit_s)
        start_s = (first + (over[0] if len(over) else 0)) * GRID_S
        must = bool(clock.max() >= SURE_HIGH * limit_s)
        found.append(Span(rule, first * GRID_S, start_s, start_s, end * GRID_S, must))
    return found


def spans(state: Tracks) -> list[Span]:
    """Every hazard of the general limits, in order of time."""
    force, hard = state.force_n, state.tissue >= TissueKind.TENDON
    found = [
        *_dwelt("OVERDWELL_ADVISORY", state.dwell_s, DWELL_ADVISORY_S),
        *_dwelt("OVERDWELL", state.dwell_s, DWELL_LIMIT_S),
        *_tendon(force, hard),
    ]
    for rule, limit_n, delay_s in (
        ("EXCESS_PRESSURE", FORCE_LIMIT_N, EXCESS_DELAY_S),
        ("EXTREME_PRESSURE", EXTREME_LIMIT_N, EXTREME_DELAY_S),
    ):
        found += _judged(rule, force >= SURE_LOW * limit_n, force >= SURE_HIGH * limit_n, delay_s)
    return sorted(found, key=lambda span: (span.start_s, span.rule))


def _tendon(force: FloatArray, hard: NDArray[np.bool_]) -> list[Span]:
    """On tendon or bone with enough force; allowed from the first touch of it."""
    found = _judged(
        "TENDON_PROXIMITY",
        hard & (force >= SURE_LOW * TENDON_FORCE_N),
        hard & (force >= SURE_HIGH * TENDON_FORCE_N),
        TENDON_DELAY_S,
    )
    touches = _runs(hard)
    return [
        span._replace(
            allowed_from_s=max(
                begin * GRID_S for begin, _ in touches if begin * GRID_S <= span.allowed_from_s
            )
        )
        for span in found
    ]
