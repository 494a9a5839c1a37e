"""The waveform inversion against a slow twin, a brute-force search and strokes made up for it."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import optimize

from pipeline import waveform

FREE = np.array([1.0, 0.2, 0.01 + 0.005j])  # of a rod 5 crank radii long, hardly anything at 3 f
ROD = 0.2
F_HZ = 38.0
INERTIA_N = 35.0  # 3.2 g on 1.1 kg
RECOIL = 0.09  # 3.2 g at 38 Hz over a crank radius of 6 mm
STEADY = np.zeros(2, np.complex128)  # a crank that turns evenly
GUN = np.array(waveform.GENERIC_GUN)
RIGID = (np.zeros(3, np.complex128), np.ones(3, np.complex128), np.ones(3, np.complex128))
# foam of 14 N/mm: half a crank radius gives way to half of INERTIA_N; its tip swings along a little
FOAM = (
    0.4 / (1.0 + 0.25j * np.arange(1, 4)),
    np.array([1.1, 1.3 - 0.1j, 1.3 - 0.5j]),
    np.array([1.1, 1.3 - 0.1j, 1.0]),
)


def stroke_of(
    p: naive.Floats,
    inertia_n: float = INERTIA_N,
    *,
    current: bool = True,
    head: tuple[naive.Complexes, ...] = RIGID,
) -> waveform.Stroke:
    """The stroke that has p as its exact solution, and its crank angle put into p[2].

    z feeds back through the housing's recoil, hence the iteration.
    """
    z = FREE.copy()
    k = np.arange(1, 4)
    crank = np.array([1.0, ROD, 0.0], np.complex128)
    depth, damping = np.exp(p[0]) - 1.0, np.exp(p[1])
    soft, passed, swell = head
    for _ in range(200):
        way = (crank * swell - RECOIL * z) / k**2 - soft * (FREE - z)
        push, speed = naive.hunt_crossley(np.array(depth), np.array(damping), way, crank / k**2, 32)
        force = np.exp(p[3]) * push / push.mean()
        arrives = passed * 2.0 * np.fft.fft(force)[1:4] / 32
        # part steps: a whole one overshoots where the push is narrow
        z = 0.7 * z + 0.3 * (FREE - arrives)
    torque = float(0.5 * (arrives * np.fft.fft(speed)[1:4].conj() * 2.0 / 32).sum().real)
    angle = np.angle(z[0])
    p[2] = angle
    seen = z * np.exp(-1j * k * angle)  # phases are counted from the first
    return waveform.Stroke(
        seen,
        FREE,
        STEADY,
        STEADY,
        RECOIL,
        ROD,
        F_HZ,
        torque if current else -1.0,
        inertia_n,
        GUN,
        *head,
    )


def residuals(p: naive.Floats, stroke: waveform.Stroke) -> naive.Floats:
    out = np.zeros(waveform.N_RESIDUALS)
    waveform.residuals(p, stroke, out)
    return out


def inverted(stroke: waveform.Stroke) -> tuple[naive.Floats, float]:
    p = np.zeros(waveform.N_PARAMETERS)
    normal = np.zeros((waveform.N_PARAMETERS, waveform.N_PARAMETERS))
    cost = waveform.invert(stroke, p, 0.0, waveform.N_PARAMETERS, normal)
    return p, cost


PARAMETERS = st.builds(
    lambda depth, damping, angle, force: np.array(
        [np.log(depth), np.log(damping), angle, np.log(force)]
    ),
    st.floats(0.3, 6.0),
    st.floats(0.3, 2.5),
    st.floats(-np.pi, np.pi),
    st.floats(0.05, 3.0),
)
HARMONICS = st.builds(
    lambda z: np.array([z[0], complex(z[1], z[2]), complex(z[3], z[4])]),
    st.lists(st.floats(-1.0, 1.0), min_size=5, max_size=5).map(
        lambda v: [abs(v[0]) + 0.05, *v[1:]]
    ),
)


RIPPLES = st.lists(st.floats(-4.0, 4.0), min_size=4, max_size=4).map(
    lambda v: np.array([complex(v[0], v[1]), complex(v[2], v[3])])
)
GUNS = st.builds(
    lambda firm, loss, rest: np.array([firm, loss, *rest]),
    st.floats(2.0, 60.0),
    st.floats(2e-3, 1e-2),
    st.lists(st.floats(-5.0, 5.0), min_size=9, max_size=9),
)
HEADS = st.lists(st.floats(-2.0, 2.0), min_size=18, max_size=18).map(
    lambda v: tuple(np.array(v).view(np.complex128).reshape(3, 3))
)


@settings(max_examples=150, deadline=None)
@given(
    p=PARAMETERS,
    z=HARMONICS,
    ripple=RIPPLES,
    free_ripple=RIPPLES,
    torque=st.sampled_from((-1.0, 0.01, 0.3)),
    f_hz=st.floats(20.0, 60.0),
    inertia_n=st.floats(5.0, 80.0),
    gun=GUNS,
    head=HEADS,
)
def test_the_residuals_are_those_of_the_equations(
    p: naive.Floats,
    z: naive.Complexes,
    ripple: naive.Complexes,
    free_ripple: naive.Complexes,
    torque: float,
    f_hz: float,
    inertia_n: float,
    gun: naive.Floats,
    head: tuple[naive.Complexes, ...],
) -> None:
    stroke = waveform.Stroke(
        z, FREE, ripple, free_ripple, RECOIL, ROD, f_hz, torque, inertia_n, gun, *head
    )
    assert residuals(p, stroke) == pytest.approx(
        naive.waveform_residuals(p, stroke, waveform.POINTS), rel=1e-9, abs=1e-9
    )


def test_where_the_force_is_known_only_the_rest_is_looked_for() -> None:
    truth = np.array([np.log(2.5), 0.1, 0.0, np.log(0.6)])
    stroke = stroke_of(truth)
    p = np.array([0.0, 0.0, 0.0, truth[3]])
    normal = np.zeros((waveform.N_PARAMETERS, waveform.N_PARAMETERS))
    assert waveform.invert(stroke, p, 0.0, 3, normal) < 1.0
    assert p[3] == truth[3]
    assert p[2] == pytest.approx(truth[2], abs=0.05)


@settings(max_examples=100, deadline=None)
@given(p=PARAMETERS)
def test_the_points_of_a_stroke_are_enough(p: naive.Floats) -> None:
    """Against 4096 of them, to a tenth of a standard deviation."""
    assume(np.exp(p[0]) > 0.5)  # a head that hardly touches pushes for under a tenth of the stroke
    stroke = stroke_of(p)
    fine = naive.waveform_residuals(p, stroke, 4096)
    assert residuals(p, stroke) == pytest.approx(fine, abs=0.1 + 0.1 * np.exp(p[3]))


@pytest.mark.parametrize("head", [RIGID, FOAM], ids=["rigid", "foam"])
@pytest.mark.parametrize("current", [True, False])
@pytest.mark.parametrize("force_n", [10.0, 25.0, 60.0])
@pytest.mark.parametrize("stiffness_n", [5.0, 8.0, 14.0])
@pytest.mark.parametrize("damping_s", [3.5e-3, 4.5e-3, 6.0e-3])
def test_a_made_up_stroke_gives_back_its_force_depth_and_damping(
    force_n: float,
    stiffness_n: float,
    damping_s: float,
    current: bool,
    head: tuple[naive.Complexes, ...],
) -> None:
    """Muscle as the priors know it. The priors pull; the tolerances say how far.

    Under foam the wave says less, and they pull more.
    """
    slack = 1.0 if head is RIGID else 1.3
    truth = np.array(
        [
            np.log(force_n / stiffness_n) / 1.5,
            np.log(damping_s * 2.0 * np.pi * F_HZ),
            0.0,
            np.log(force_n / INERTIA_N),
        ]
    )
    p, cost = inverted(stroke_of(truth, current=current, head=head))
    assert cost < 5.0
    assert p[3] == pytest.approx(truth[3], abs=0.1 * slack)  # 10 % of force
    assert p[0] == pytest.approx(truth[0], abs=0.25 * slack)
    assert p[1] == pytest.approx(truth[1], abs=0.3 * slack)
    assert np.angle(np.exp(1j * (p[2] - truth[2]))) == pytest.approx(0.0, abs=0.1 * slack)


def brute_force(stroke: waveform.Stroke) -> tuple[naive.Floats, float]:
    """The best of a dense grid over all that is possible, polished by scipy."""
    axes = (
        np.log(np.geomspace(1.05, 9.0, 13)),
        np.log(np.geomspace(0.3, 3.5, 9)),
        np.linspace(-np.pi, np.pi, 25)[:-1],
        np.log(np.geomspace(0.05, 4.0, 15)),
    )
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 4)
    costs = np.concatenate(
        [
            np.sum(naive.waveform_residuals(part, stroke) ** 2, axis=-1)
            for part in np.array_split(grid, 20)
        ]
    )
    best = min(
        (
            optimize.least_squares(naive.waveform_residuals, grid[k], args=(stroke,))
            for k in np.argsort(costs)[:5]
        ),
        key=lambda fit: float(fit.cost),
    )
    return best.x, 2.0 * float(best.cost)


@pytest.mark.parametrize("seed", range(6))
def test_no_brute_force_finds_a_better_stroke(seed: int) -> None:
    """Noisy strokes of soft, usual and hard tissue: the few starts of the inversion do not miss."""
    rng = np.random.default_rng(seed)
    force_n = rng.uniform(8.0, 70.0)
    stiffness_n = 8.0 * np.exp(rng.uniform(-1.0, 1.5))
    truth = np.array(
        [
            np.log(max(force_n / stiffness_n, 1.2)) / 1.5,
            rng.normal(0.1, 0.3),
            0.0,
            np.log(force_n / 35),
        ]
    )
    stroke = stroke_of(truth)
    noise = 0.02 * (rng.standard_normal(3) + 1j * rng.standard_normal(3))
    noise[0] = noise[0].real
    stroke = stroke._replace(z=stroke.z + noise)
    p, cost = inverted(stroke)
    best, least = brute_force(stroke)
    print(f"seed {seed}: force {force_n:.1f} N, costs {cost:.2f} and {least:.2f}")
    assert cost <= 1.05 * least + 0.1
    assert p[3] == pytest.approx(best[3], abs=0.05)


def test_a_warm_start_follows_a_force_that_grows() -> None:
    p = np.zeros(waveform.N_PARAMETERS)
    normal = np.zeros((waveform.N_PARAMETERS, waveform.N_PARAMETERS))
    enough = 0.0
    for force_n in np.geomspace(8.0, 70.0, 25):
        truth = np.array([np.log(force_n / 8.0) / 1.5, 0.07, 0.0, np.log(force_n / INERTIA_N)])
        cost = waveform.invert(stroke_of(truth), p, enough, waveform.N_PARAMETERS, normal)
        assert cost < 5.0
        assert p[3] == pytest.approx(truth[3], abs=0.1)
        assert np.linalg.eigvalsh(normal).min() > 0.0  # an uncertainty can be read from it
        enough = waveform.GOOD_ENOUGH


@settings(max_examples=100, deadline=None)
@given(
    z=st.lists(st.floats(-1e6, 1e6), min_size=6, max_size=6),
    ripple=RIPPLES,
    torque=st.sampled_from((-1.0, 1e-12, 0.2, 1e9)),
    f_hz=st.floats(0.01, 700.0),
    inertia_n=st.floats(1e-6, 1e9),
)
def test_nonsense_gives_finite_numbers(
    z: list[float], ripple: naive.Complexes, torque: float, f_hz: float, inertia_n: float
) -> None:
    stroke = waveform.Stroke(
        np.array([complex(z[k], z[k + 1]) for k in (0, 2, 4)]),
        FREE,
        ripple,
        STEADY,
        RECOIL,
        ROD,
        f_hz,
        torque,
        inertia_n,
        GUN + np.array([0.0, 0.0, 3.0, 1.0, *np.zeros(7)]),
        *FOAM,
    )
    p, cost = inverted(stroke)
    assert np.isfinite(p).all()
    assert np.isfinite(cost)
