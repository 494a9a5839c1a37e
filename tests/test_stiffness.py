"""What tells muscle from tendon: the cues of a window, and what the windows say together."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.special import expit
from test_waveform import F_HZ, GUN, INERTIA_N, inverted, stroke_of

from pipeline import contact, force, kernels, waveform
from pipeline.stiffness import terms


def gain_of(spring_n: float, force_n: float) -> float:
    """Of a made-up stroke on a spring that takes so much at a depth of one crank radius."""
    damping = GUN[waveform.LOSS_S] * 2.0 * math.pi * F_HZ
    depth, push = math.log(force_n / spring_n) / 1.5, math.log(force_n / INERTIA_N)
    truth = np.array([depth, math.log(damping), 0.0, push])
    stroke = stroke_of(truth)._replace(gun=GUN.copy())
    p, cost = inverted(stroke)
    normal = np.zeros((waveform.N_PARAMETERS, waveform.N_PARAMETERS))
    return force.hard_gain(stroke, p, cost, normal)


@pytest.mark.parametrize("force_n", [12.0, 20.0, 35.0])
def test_a_firm_spring_is_explained_by_a_tendon_and_a_soft_one_is_not(force_n: float) -> None:
    firmness = GUN[waveform.FIRMNESS_N]
    soft = [gain_of(share * firmness, force_n) for share in (0.5, 1.0, 2.0)]
    firm = [gain_of(share * firmness, force_n) for share in (6.0, 10.0, 16.0)]
    assert max(soft) < -0.5
    assert min(firm) > 0.0


@settings(max_examples=200, deadline=None)
@given(
    half=st.floats(0.0, 200.0),
    first=st.floats(0.0, 10.0),
    fourth=st.floats(0.0, 20.0),
    peak=st.floats(0.0, 50.0),
    f_hz=st.floats(15.0, 60.0),
    work=st.floats(-1.0, 50.0),
    kurtosis=st.floats(0.0, 50.0),
    cost=st.floats(0.0, 1e9),
    depth=st.floats(-5.0, 5.0),
    gain=st.floats(force.LEAST_GAIN, force.MOST_GAIN),
)
def test_the_cues_are_those_of_the_docs(
    half: float,
    first: float,
    fourth: float,
    peak: float,
    f_hz: float,
    work: float,
    kurtosis: float,
    cost: float,
    depth: float,
    gain: float,
) -> None:
    state, row = np.zeros(1, contact.CONTACT), np.zeros(1, kernels.HOP)
    state["p"][0, 0] = depth
    row["z_order"][0, [0, 1, 5]], row["z_kurtosis"] = (half, first, fourth), kurtosis
    row["f_hz"], row["sd"][0, 2], row["z_peak_down"] = f_hz, 2.0, peak
    force.fill_cues(state[0], row[0], cost, gain, work)
    of_first = max(first, 1e-6)
    assert state["cues"][0] == pytest.approx(
        [
            gain,
            np.clip(depth, -1.0, 2.0),
            min(np.log(half / of_first + 0.01), 2.0),
            np.clip(kurtosis, 1.0, 8.0),
            np.log(np.clip(work, 0.05, 20.0)),
            min(np.log1p(cost), 6.0),
            np.log(f_hz / 36.0),
            min(np.log(fourth / of_first + 0.01), 2.0),
            np.log(np.clip(peak / 2.0, 1.0, 20.0)),
        ]
    )


def stiffness(model: NDArray[np.float64], *windows: NDArray[np.float64]) -> float:
    """What these windows' cues, one after the other, say together."""
    state = np.zeros(1, contact.CONTACT)
    for cues in windows:
        state["cues"] = cues
        contact.update_stiffness(state[0], model)
    return float(state["stiffness"][0])


@settings(deadline=None)
@given(
    arrays(np.float64, force.N_CUES, elements=st.floats(-5.0, 8.0)),
    arrays(np.float64, (2, force.N_TERMS), elements=st.floats(-1.0, 1.0)),
)
def test_the_evidence_is_the_weighted_sum_of_cues_and_their_products(
    cues: NDArray[np.float64], model: NDArray[np.float64]
) -> None:
    logits = model[:, :-1] @ terms(cues[None])[0] + model[:, -1]
    tendon, bone = expit(np.clip(logits, -30, 30))
    said = stiffness(model, *[cues] * force.FORCE_HOPS)
    assert said == pytest.approx(tendon * (1.0 + bone), abs=1e-9)


def test_a_tendon_is_what_all_of_the_last_windows_say() -> None:
    """One window that a bounce has marked is no tendon yet, and not one any more."""
    model = np.zeros((2, force.N_TERMS))
    model[0, 0], model[1, 1] = 10.0, 10.0
    muscle, tendon, bone = np.zeros((3, force.N_CUES))
    muscle[0], tendon[0], bone[0] = -1.0, 1.0, 1.0
    tendon[1], bone[1] = -1.0, 1.0
    assert stiffness(model, muscle, bone) == stiffness(model, bone, muscle) < 0.01
    assert stiffness(model, tendon, bone) == pytest.approx(1.0, abs=0.01)
    assert stiffness(model, bone, bone) == pytest.approx(2.0, abs=0.01)
