"""What tells muscle from tendon: the cues of a window, and what the windows say together."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_waveform import F_HZ, GUN, INERTIA_N, inverted, stroke_of

from pipeline import contact, force, kernels, waveform


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
    half=st.floats(0.0, 20.0),
    first=st.floats(0.0, 10.0),
    kurtosis=st.floats(0.0, 50.0),
    cost=st.floats(0.0, 1e9),
    depth=st.floats(-5.0, 5.0),
    gain=st.floats(force.LEAST_GAIN, force.MOST_GAIN),
)
def test_the_cues_are_those_of_the_docs_and_the_older_ones_move_up(
    half: float, first: float, kurtosis: float, cost: float, depth: float, gain: float
) -> None:
    state, row = np.zeros(1, contact.CONTACT), np.zeros(1, kernels.HOP)
    state["cues"][0, -1] = before = np.arange(float(force.N_CUES))
    state["p"][0, 0] = depth
    row["z_order"][0, :2], row["z_kurtosis"] = (half, first), kurtosis
    force.fill_cues(state[0], row[0], cost, gain)
    bounce = np.log(half / max(first, 1e-6) + 0.01)
    peaked = np.clip(kurtosis, 1.0, 8.0)
    assert state["cues"][0, -1] == pytest.approx(
        [
            gain,
            np.clip(depth, -1.0, 2.0),
            bounce,
            peaked,
            np.clip(bounce + 2.5, 0.0, 3.0) * (peaked - 3.5),
            min(np.log1p(cost), 6.0),
        ]
    )
    assert list(state["cues"][0, -2]) == list(before)


def test_a_tendon_is_what_all_of_the_last_windows_say() -> None:
    """One window that a bounce has marked is no tendon yet, and not one any more."""
    cues = np.zeros((force.FORCE_HOPS, force.N_CUES))
    model = np.zeros((2, force.N_CUES + 1))
    model[0, 0], model[1, 1] = 10.0, 10.0
    cues[:, 0] = 1.0, -1.0
    assert contact.stiffness_of(cues, model) < 0.01
    cues[:, 0] = 1.0
    cues[:, 1] = -1.0, 1.0
    assert contact.stiffness_of(cues, model) == pytest.approx(1.0, abs=0.01)
    cues[:, 1] = 1.0
    assert contact.stiffness_of(cues, model) == pytest.approx(2.0, abs=0.01)
