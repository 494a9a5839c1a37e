"""The waveform inversion against a slow twin, a brute-force search and strokes made up for it."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import optimize

from pipeline import waveform

FREE = np.array(
    [0.0, 1.0, 0.0, 0.2, 0.01 + 0.005j]
)  # of a rod 5 crank radii long, hardly anything at 3 f
ROD = 0.2
F_HZ = 38.0
INERTIA_N = 35.0  # 3.2 g on 1.1 kg
RECOIL = 0.09  # 3.2 g at 38 Hz over a crank radius of 6 mm
STEADY = waveform.Orders(0j, 0j, 0j, 0j, 0j)  # a crank that turns evenly
GUN = np.array(waveform.GENERIC_GUN)
RIGID = (np.zeros(5, np.complex128), np.ones(5, np.complex128), np.ones(5, np.complex128))
# foam of 14 N/mm: half a crank radius gives way to half of INERTIA_N; its tip swings along a little
FOAM = (
    0.4 / (1.0 + 0.25j * naive.ORDERS),
    np.array([1.0, 1.1, 1.2 - 0.1j, 1.3 - 0.1j, 1.3 - 0.5j]),
    np.array([1.0, 1.1, 1.0, 1.3 - 0.1j, 1.0]),
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
    for _ in range(200):
        answer, torque = answered(z, p, head)
        # part steps: a whole one overshoots where the push is narrow
        z = np.where(naive.ORDERS % 1.0, 0.0, 0.7 * z + 0.3 * answer)
    torque = torque if current else -1.0
    return made(as_seen(z, p), torque=torque, inertia_n=inertia_n, head=head)


def answered(
    z: naive.Complexes, p: naive.Floats, head: tuple[naive.Complexes, ...] = RIGID
) -> tuple[naive.Complexes, float]:
    """How the housing shakes from what the tissue pushes where it shakes as z, and the torque."""
    k = naive.ORDERS
    crank = np.array([0.0, 1.0, 0.0, ROD, 0.0], np.complex128)
    depth, damping = np.exp(p[0]) - 1.0, np.exp(p[1])
    soft, passed, swell = head
    way = (crank * swell - RECOIL * z) / k**2 - soft * (FREE - z)
    push, speed = naive.hunt_crossley(np.array(depth), np.array(damping), way, crank / k**2, 32, k)
    force = np.exp(p[3]) * push / push.mean()
    arrives = passed * naive.amplitudes(force, k)
    torque = float(0.5 * (arrives * naive.amplitudes(speed, k).conj()).sum().real)
    return FREE - arrives, torque


def as_seen(z: naive.Complexes, p: naive.Floats) -> naive.Complexes:
    """With phases counted from the first order, as measured; the crank's angle goes into p[2]."""
    p[2] = np.angle(z[1])
    return np.asarray(z * np.exp(-1j * naive.ORDERS * p[2]))


def made(
    z: naive.Complexes,
    *,
    currents: tuple[waveform.Orders, waveform.Orders] = (STEADY, STEADY),
    torque: float = -1.0,
    f_hz: float = F_HZ,
    inertia_n: float = INERTIA_N,
    gun: naive.Floats = GUN,
    head: tuple[naive.Complexes, ...] = RIGID,
    strokes: int = 1,
    doubt: float = 0.0,
) -> waveform.Stroke:
    """A stroke of numpy's arrays by order."""
    soft, passed, swell = map(orders_of, head)
    return waveform.Stroke(
        orders_of(z), orders_of(FREE), *currents, RECOIL, ROD, f_hz, torque, inertia_n, gun,
        soft, passed, swell, strokes, doubt,
    )  # fmt: skip


def orders_of(a: naive.Complexes) -> waveform.Orders:
    return waveform.Orders(*map(complex, a))


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
SHAKEN = st.lists(st.floats(-1.0, 1.0), min_size=9, max_size=9).map(
    lambda v: np.array(
        [complex(*v[0:2]), abs(v[2]) + 0.05, complex(*v[3:5]), complex(*v[5:7]), complex(*v[7:9])]
    )
)
CURRENTS = st.lists(st.floats(-4.0, 4.0), min_size=12, max_size=12).map(
    lambda v: (
        waveform.Orders(*(complex(*v[k : k + 2]) for k in range(0, 8, 2)), 0j),
        waveform.Orders(0j, complex(*v[8:10]), 0j, complex(*v[10:12]), 0j),  # none bounces in air
    )
)
GUNS = st.builds(
    lambda firm, loss, rest: np.array([firm, loss, *rest]),
    st.floats(2.0, 60.0),
    st.floats(2e-3, 1e-2),
    st.lists(st.floats(-5.0, 5.0), min_size=9, max_size=9),
)
HEADS = st.lists(st.floats(-2.0, 2.0), min_size=30, max_size=30).map(
    lambda v: tuple(np.array(v).view(np.complex128).reshape(3, 5))
)


@settings(max_examples=150, deadline=None)
@given(
    p=PARAMETERS,
    z=SHAKEN,
    currents=CURRENTS,
    torque=st.sampled_from((-1.0, 0.01, 0.3)),
    f_hz=st.floats(20.0, 60.0),
    inertia_n=st.floats(5.0, 80.0),
    gun=GUNS,
    head=HEADS,
    strokes=st.sampled_from((1, 2)),
    doubt=st.floats(0.0, 0.3),
)
def test_the_residuals_are_those_of_the_equations(
    p: naive.Floats,
    z: naive.Complexes,
    currents: tuple[waveform.Orders, waveform.Orders],
    torque: float,
    f_hz: float,
    inertia_n: float,
    gun: naive.Floats,
    head: tuple[naive.Complexes, ...],
    strokes: int,
    doubt: float,
) -> None:
    halves = naive.ORDERS % 1.0 > 0.0
    stroke = made(
        np.where(halves, z * (strokes - 1), z),
        currents=currents,
        torque=torque,
        f_hz=f_hz,
        inertia_n=inertia_n,
        gun=gun,
        head=head,
        strokes=strokes,
        doubt=doubt,
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


@pytest.mark.parametrize(
    ("force_n", "spring_n"), [(40.0, 30.0), (60.0, 30.0), (20.0, 45.0), (40.0, 45.0)]
)
def test_a_head_that_bounces_gives_back_its_spring_from_two_strokes_together(
    force_n: float, spring_n: float
) -> None:
    """It comes down on every second stroke, which one stroke alone takes for a softer spring."""
    log_loss = np.log(waveform.GENERIC_GUN[waveform.LOSS_S] * 2.0 * np.pi * F_HZ)
    truth = np.array([np.log(force_n / spring_n) / 1.5, log_loss, 0.0, np.log(force_n / INERTIA_N)])

    def missing(parts: naive.Floats) -> naive.Floats:
        z = parts[:5] + 1j * parts[5:]
        left = z - answered(z, truth)[0]
        return np.concatenate((left.real, left.imag))

    for seed in range(40):  # most starts end where every stroke is as the other
        start = np.random.default_rng(seed).normal(0.0, 1.0, 10)
        found = optimize.root(missing, start)
        z = found.x[:5] + 1j * found.x[5:]
        if found.success and abs(z[0]) > 0.3 * abs(z[1]):
            break
    torque = answered(z, truth)[1]
    stroke = made(as_seen(z, truth), torque=torque, strokes=2)
    together, alone = inverted(stroke)[0], inverted(stroke._replace(strokes=1))[0]
    assert together[3] == pytest.approx(truth[3], abs=0.05)
    assert together[0] == pytest.approx(truth[0], abs=0.12)
    assert alone[0] > truth[0] + 0.2


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
    noise = 0.02 * (rng.standard_normal(5) + 1j * rng.standard_normal(5))
    noise[1] = noise[1].real
    stroke = stroke._replace(z=orders_of(np.array(stroke.z) + noise))
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
    z=st.lists(st.floats(-1e6, 1e6), min_size=10, max_size=10),
    currents=CURRENTS,
    torque=st.sampled_from((-1.0, 1e-12, 0.2, 1e9)),
    f_hz=st.floats(0.01, 700.0),
    inertia_n=st.floats(1e-6, 1e9),
    strokes=st.sampled_from((1, 2)),
)
def test_nonsense_gives_finite_numbers(
    z: list[float],
    currents: tuple[waveform.Orders, waveform.Orders],
    torque: float,
    f_hz: float,
    inertia_n: float,
    strokes: int,
) -> None:
    stroke = made(
        np.array(z).view(np.complex128),
        currents=currents,
        torque=torque,
        f_hz=f_hz,
        inertia_n=inertia_n,
        gun=GUN + np.array([0.0, 0.0, 3.0, 1.0, *np.zeros(7)]),
        head=FOAM,
        strokes=strokes,
    )
    p, cost = inverted(stroke)
    assert np.isfinite(p).all()
    assert np.isfinite(cost)
