"""The kernels against their slow twins, cut in all ways, and fed with anything in int16."""

from __future__ import annotations

from collections.abc import Sequence

import naive
import numpy as np
import pytest
import signals
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from pipeline import contact, kernels
from pipeline.model import Frame, FrameFlag

STATE_BYTES_MAX = 4096  # design.md, "State": a record of at most 4 KB a device
RATES_HZ = (100.0, 417.3, 1573.34, 1600.0, 3200.0, 6400.0)


def same(a: NDArray[np.void], b: NDArray[np.void]) -> bool:
    """Equal to the last bit, but for the frame a hop happened to end with."""
    names = [name for name in kernels.HOP.names or () if name != "frame"]
    return all(a[name].tobytes() == b[name].tobytes() for name in names)


class Watched:
    """A signal run hop by hop, with the frequency the oscillator had in each hop."""

    def __init__(self, lsb: signals.Samples, rate_hz: float, set_hz: float) -> None:
        self.hop = round(kernels.HOP_S * rate_hz)
        state = signals.fresh()
        rows, frequencies = [], []
        for frame in signals.cut(lsb, [self.hop], rate_hz, set_hz):
            rows.append(signals.run_kernel(state, [frame]))
            # after the first frame the state already holds the next hop's frequency
            frequencies.append(state["last_f_hz"][0])
        self.rows = np.concatenate(rows)
        self.theta = naive.phase(np.array(frequencies), self.hop, rate_hz)
        g = lsb * (signals.G_PER_LSB, signals.G_PER_LSB, signals.G_PER_LSB, signals.A_PER_LSB)
        self.values: naive.Floats = np.asarray(g, np.float64)

    def window(self, k: int) -> slice:
        """The samples of hops k − 1 and k."""
        return slice((k - 1) * self.hop, (k + 1) * self.hop)


@pytest.fixture(scope="module", params=RATES_HZ)
def watched(request: pytest.FixtureRequest) -> Watched:
    """Seven hops of a bouncing gun that starts 4 % off its commanded speed and drifts."""
    rate_hz: float = request.param
    f_hz = np.linspace(20.8, 20.0, round(7 * kernels.HOP_S * rate_hz))
    lsb = signals.percussion(f_hz, rate_hz, signals.BOUNCING, seed=3)
    return Watched(lsb, rate_hz, 20.0)


def test_moments_are_those_of_a_hann_window(watched: Watched) -> None:
    weights = naive.hann(2 * watched.hop)
    for k in range(1, 7):
        row = watched.rows[k]
        for channel in range(4):
            twin = naive.moments(watched.values[watched.window(k), channel], weights)
            assert row["mean"][channel] == pytest.approx(twin.mean, abs=1e-12)
            assert row["sd"][channel] == pytest.approx(twin.sd, rel=1e-9)
        twin = naive.moments(watched.values[watched.window(k), 2], weights)
        assert row["z_kurtosis"] == pytest.approx(twin.kurtosis, rel=1e-9)
        assert row["present"] == pytest.approx(1.0, abs=1e-12)


def test_orders_are_those_of_a_direct_transform(watched: Watched) -> None:
    weights = naive.hann(2 * watched.hop)
    for k in range(1, 7):
        row, theta = watched.rows[k], watched.theta[watched.window(k)]
        v = watched.values[watched.window(k)]
        for j, order in enumerate(kernels.ORDERS):
            assert row["z_order"][j] == pytest.approx(
                naive.lock_in(v[:, 2], theta, order, weights), abs=1e-10
            )
        for j, order in enumerate(kernels.CURRENT_ORDERS):
            assert row["i_order"][j] == pytest.approx(
                naive.lock_in(v[:, 3], theta, order, weights), abs=1e-10
            )


def test_the_first_hop_is_seen_alone(watched: Watched) -> None:
    v = watched.values[: watched.hop]
    row = watched.rows[0]
    assert row["mean"] == pytest.approx(v.mean(axis=0), abs=1e-12)
    assert row["sd"] == pytest.approx(v.std(axis=0), rel=1e-9)
    assert row["present"] == pytest.approx(0.5)


def test_amplitudes_are_read_to_a_percent_at_a_constant_frequency() -> None:
    lsb = signals.percussion(signals.steady(41.3, 1600.0, 4.0), 1600.0, signals.BOUNCING)
    row = Watched(lsb, 1600.0, 40.0).rows[-1]
    for j, order in enumerate(kernels.ORDERS):
        expected = abs(signals.BOUNCING.get(order, 0.0))
        assert abs(row["z_order"][j]) == pytest.approx(expected, rel=0.01, abs=0.01)
    # relative phases do not depend on where the oscillator began
    first, second = row["z_order"][1], row["z_order"][3]
    assert np.angle(second / first**2) == pytest.approx(0.0, abs=0.02)


def test_peaks_cover_the_window(watched: Watched) -> None:
    for k in range(1, 7):
        z = watched.values[watched.window(k), 2]
        row = watched.rows[k]
        assert row["z_peak_up"] == pytest.approx(z.max() - row["mean"][2], abs=1e-12)
        assert row["z_peak_down"] == pytest.approx(row["mean"][2] - z.min(), abs=1e-12)


def test_weighted_acceleration_matches_the_spectrum() -> None:
    """Per hop, with harmonics up to 0.4 of the rate, once the filter has settled."""
    rate_hz, orders = 1600.0, {float(k): 2.0 / k * np.exp(1j * k) for k in range(1, 16)}
    lsb = signals.percussion(signals.steady(40.0, rate_hz, 6.0), rate_hz, orders, noise_g=0.3)
    watched = Watched(lsb, rate_hz, 40.0)
    for axis in range(3):
        twin = naive.weighted(watched.values[:, axis], rate_hz)
        for k in range(4, 20):
            rms = np.sqrt(np.mean(twin[k * watched.hop : (k + 1) * watched.hop] ** 2))
            assert watched.rows[k]["a_hw"][axis] == pytest.approx(rms, rel=0.025)


def test_clipping_is_the_share_of_samples_at_the_rail() -> None:
    lsb = signals.percussion(signals.steady(40.0, 1600.0, 2.0), 1600.0, noise_g=8.0, seed=5)
    lsb[::7, 3] = 32767  # the current's rail is the device's business: a flag
    rows = Watched(lsb, 1600.0, 40.0).rows
    for k, row in enumerate(rows):
        assert row["clipped"] == pytest.approx(naive.clipped_share(lsb[k * 400 : (k + 1) * 400]))
    assert rows["clipped"].max() > 0.0


def test_stuck_channels_are_those_that_never_change_within_a_hop() -> None:
    lsb = signals.percussion(signals.steady(40.0, 1600.0, 3.0), 1600.0)
    lsb[400:1200, 1] = 17
    lsb[1000:2800, 3] = -4
    lsb[2000:2399, 2] = 9  # one sample short of the hop
    rows = Watched(lsb, 1600.0, 40.0).rows
    assert rows["stuck"].tolist() == [
        naive.stuck_channels(lsb[k * 400 : (k + 1) * 400]) for k in range(len(rows))
    ]
    assert rows["stuck"].tolist() == [0, 2, 2, 8, 8, 8, 8, 0, 0, 0, 0, 0]


def test_a_flag_counts_for_every_hop_its_frame_has_samples_in() -> None:
    lsb = signals.percussion(signals.steady(40.0, 1600.0, 1.5), 1600.0)
    frames = signals.cut(lsb, [160], 1600.0, 40.0)  # hops end within frames 2, 4, 7, 9, 12 and 14
    frames[2] = replaced(frames[2], flags=FrameFlag.ACCEL_CLIPPED)
    frames[8] = replaced(frames[8], flags=FrameFlag.CURRENT_CLIPPED)
    rows = signals.run_kernel(signals.fresh(), frames)
    sync = FrameFlag.CLOCK_SYNCHRONISED
    clipped = [int(flags & ~sync) for flags in rows["flags"]]
    assert clipped == [2, 2, 0, 4, 0, 0]


def replaced(frame: Frame, **changes: object) -> Frame:
    fields = {name: getattr(frame, name) for name in frame.__slots__}
    return Frame(**{**fields, **changes})


# Chunk invariance


@settings(max_examples=60, deadline=None)
@given(
    rate_hz=st.sampled_from(RATES_HZ),
    lengths=st.lists(st.integers(1, 4096), min_size=1, max_size=12),
    batch=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
)
def test_rows_do_not_depend_on_the_cut(
    rate_hz: float, lengths: list[int], batch: int, seed: int
) -> None:
    n = round(3.1 * rate_hz)
    rng = np.random.default_rng(seed)
    f_hz = 40.0 + 4.0 * np.sin(np.arange(n) * 2.0 / rate_hz)
    lsb = signals.percussion(f_hz, rate_hz, signals.BOUNCING, noise_g=2.0, seed=seed)
    lsb[rng.random(n) < 0.01] = rng.integers(-32768, 32768, 4)
    whole = signals.run_kernel(signals.fresh(), signals.cut(lsb, [n], rate_hz, 40.0))
    frames = signals.cut(lsb, lengths, rate_hz, 40.0)
    state = signals.fresh()
    parts = [
        signals.run_kernel(state, frames[at : at + batch]) for at in range(0, len(frames), batch)
    ]
    assert len(whole) == n // round(kernels.HOP_S * rate_hz)
    assert same(np.concatenate(parts), whole)


def test_rows_do_not_depend_on_the_cut_down_to_single_samples() -> None:
    lsb = signals.percussion(signals.steady(44.0, 1600.0, 1.6), 1600.0, signals.BOUNCING)
    whole = signals.run_kernel(signals.fresh(), signals.cut(lsb, [len(lsb)], 1600.0, 40.0))
    state = signals.fresh()
    rows = [signals.run_kernel(state, [f]) for f in signals.cut(lsb, [1], 1600.0, 40.0)]
    assert same(np.concatenate(rows), whole)


def test_guns_do_not_see_each_other() -> None:
    streams = [
        signals.cut(
            signals.percussion(signals.steady(f, 1600.0, 2.0), 1600.0, seed=k), [400], 1600.0, 40.0
        )
        for k, f in enumerate((38.0, 40.0, 43.0))
    ]
    alone = [signals.run_kernel(signals.fresh(), frames) for frames in streams]
    mixed = [(slot, frame) for row in zip(*streams, strict=True) for slot, frame in enumerate(row)]
    headers = np.array(
        [signals.header(f, -1 if f.seq == 0 else 0, slot) for slot, f in mixed], kernels.FRAME
    )
    out = np.zeros(kernels.hops_bound(headers), kernels.HOP)
    samples = np.concatenate([frame.samples_lsb for _, frame in mixed])
    rows = out[: kernels.advance(np.zeros(3, kernels.SIGNAL), headers, samples, out)]
    for slot in range(3):
        mine = rows[rows["slot"] == slot].copy()
        mine["slot"] = 0
        assert same(mine, alone[slot])


# Gaps, rates, clocks


def gapped(
    lsb: signals.Samples, rate_hz: float, lost: slice
) -> tuple[list[Frame], list[int], NDArray[np.void]]:
    """Frames without the samples in `lost`, how many are missing before each, and the rows."""
    before, after = (
        signals.cut(part, [160], rate_hz, 40.0) for part in (lsb[: lost.start], lsb[lost.stop :])
    )
    shift_ns = round(lost.stop * 1e9 / rate_hz)
    after = [replaced(f, t0_ns=f.t0_ns + shift_ns) for f in after]
    missing = [-1] + [0] * (len(before) - 1) + [lost.stop - lost.start] + [0] * (len(after) - 1)
    rows = signals.run_kernel(signals.fresh(), [*before, *after], missing)
    return [*before, *after], missing, rows


@pytest.mark.parametrize("lost", [slice(1130, 1131), slice(1130, 1260), slice(1130, 1930)])
def test_a_gap_leaves_time_and_phase_where_they_were(lost: slice) -> None:
    rate_hz = 1600.0
    lsb = signals.percussion(signals.steady(40.0, rate_hz, 4.0), rate_hz)
    whole = signals.run_kernel(signals.fresh(), signals.cut(lsb, [160], rate_hz, 40.0))
    _, _, rows = gapped(lsb, rate_hz, lost)
    assert rows["t_ns"].tolist() == whole["t_ns"].tolist()
    untouched = 1130 // 400
    assert same(rows[:untouched], whole[:untouched])
    # the window's share is the Hann weight of what is there
    weights = naive.hann(800)
    for k in range(1, len(rows)):
        if rows["present"][k - 1] < kernels.MIN_PRESENT:
            break  # the window begins anew after this
        there = np.ones(len(lsb))
        there[lost] = 0.0
        share = np.average(there[(k - 1) * 400 : (k + 1) * 400], weights=weights)
        assert rows["present"][k] == pytest.approx(share, abs=1e-9)
    assert np.abs(rows["f_hz"] - 40.0).max() < 0.1
    assert rows["z_order"][-1] == pytest.approx(whole["z_order"][-1], abs=0.06)


def test_moments_across_a_gap_are_those_of_what_is_there() -> None:
    lsb = signals.percussion(signals.steady(40.0, 1600.0, 2.0), 1600.0, signals.CONTACT)
    lost = slice(1290, 1430)
    _, _, rows = gapped(lsb, 1600.0, lost)
    weights = naive.hann(800)
    weights[lost.start - 800 : lost.stop - 800] = 0.0
    twin = naive.moments(np.multiply(lsb[800:1600, 2], signals.G_PER_LSB), weights)
    assert rows["mean"][3][2] == pytest.approx(twin.mean, abs=1e-12)
    assert rows["z_kurtosis"][3] == pytest.approx(twin.kurtosis, rel=1e-9)


def test_weighted_acceleration_across_a_gap_is_that_of_what_is_there() -> None:
    lsb = signals.percussion(signals.steady(40.0, 1600.0, 2.0), 1600.0)
    _, _, rows = gapped(lsb, 1600.0, slice(1240, 1440))  # five strokes, half a hop
    assert rows["a_hw"][3][2] == pytest.approx(rows["a_hw"][7][2], rel=0.1)


def test_to_begin_anew_is_to_know_nothing_but_the_ratio_of_speeds() -> None:
    frames = signals.cut(
        signals.percussion(signals.steady(40.0, 1600.0, 2.0), 1600.0), [300], 1600.0, 40.0
    )
    used = signals.fresh()
    noise = np.random.default_rng(2).integers(-9000, 9000, (3700, 4)).astype(np.int16)
    signals.run_kernel(used, signals.cut(noise, [370], 1600.0, 0.0))
    again = signals.run_kernel(used, frames, [-1] + [0] * (len(frames) - 1))
    assert same(again, signals.run_kernel(signals.fresh(), frames))


def test_a_rate_that_wanders_is_followed_and_one_that_steps_begins_anew() -> None:
    lsb = signals.percussion(signals.steady(40.0, 1600.0, 2.0), 1600.0)
    frames = signals.cut(lsb, [400], 1600.0, 40.0)
    frames = [replaced(f, rate_hz=1600.0 + k % 3) for k, f in enumerate(frames)]
    assert signals.run_kernel(signals.fresh(), frames)["settled"][-1] == len(frames) - 1
    frames[4:] = [replaced(f, rate_hz=3200.0) for f in frames[4:]]
    rows = signals.run_kernel(signals.fresh(), frames)
    # four hops of 400, then 1600 samples are two hops of 800
    assert rows["rate_hz"].tolist() == [1600.0, 1601.0, 1602.0, 1600.0, 3200.0, 3200.0]
    assert rows["settled"].tolist() == [0, 1, 2, 3, 0, 1]


def test_time_follows_a_drifting_clock_and_keeps_its_own_count_otherwise() -> None:
    lsb = signals.percussion(signals.steady(40.0, 1600.0, 4.0), 1600.0)
    frames = [
        replaced(f, t0_ns=f.t0_ns + f.seq * 300_000) for f in signals.cut(lsb, [400], 1600.0, 40.0)
    ]
    ends = signals.run_kernel(signals.fresh(), frames)["t_ns"] - signals.T0_NS
    drift = ends - np.arange(1, 17) * 250_000_000
    assert np.all(drift >= 0)
    assert np.all(np.abs(drift - np.arange(16) * 300_000) <= kernels.DRIFT_NS)
    assert drift[-1] > 0


@settings(max_examples=100, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from((100.0, 104.9, 110.0, 1600.0, 1680.0, 6400.0)),
            st.integers(1, 4096),
            st.integers(-1, 4000),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_rows_never_outgrow_their_bound(steps: Sequence[tuple[float, int, int]]) -> None:
    """Whatever rates, lengths and gaps come: a row past the bound would be written into nowhere."""
    headers = np.zeros(len(steps), kernels.FRAME)
    for field, column in zip(
        ("rate_hz", "samples", "missing"), zip(*steps, strict=True), strict=True
    ):
        headers[field] = column
    headers["g_per_lsb"] = headers["a_per_lsb"] = 1e-3
    headers["missing"][0] = -1
    samples = np.zeros((int(headers["samples"].sum()), 4), np.int16)
    bound = kernels.hops_bound(headers)
    out = np.zeros(bound + 1000, kernels.HOP)
    assert kernels.advance(signals.fresh(), headers, samples, out) <= bound


# Whatever the sensor says


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_input_gives_anything_but_finite_numbers(data: st.DataObject) -> None:
    """Any int16 at any scale, speed and rate of the contract, with gaps: f32 goes to 3.4e38."""
    scale = st.sampled_from((1.2e-38, 1e-10, signals.G_PER_LSB, 1.0, 3.4e38))
    extremes = st.sampled_from((-32768, -32767, -1, 0, 1, 32767)) | st.integers(-32768, 32767)
    state = signals.fresh()
    for turn in range(data.draw(st.integers(1, 4))):
        n = data.draw(st.integers(1, 900))
        fill = data.draw(extremes)
        lsb = data.draw(hnp.arrays(np.int16, (n, 4), elements=extremes, fill=st.just(fill)))
        frame = Frame(
            id=signals.GUN,
            boot_id=1,
            seq=turn,
            t0_ns=turn,
            rate_hz=data.draw(st.sampled_from((100.0, 1600.0, 6400.0))),
            set_percussion_hz=data.draw(st.sampled_from((0.0, 0.01, 29.0, 40.0, 655.35))),
            accel_g_per_lsb=data.draw(scale),
            current_a_per_lsb=data.draw(scale),
            samples_lsb=lsb,
        )
        missing = -1 if turn == 0 else data.draw(st.sampled_from((-1, 0, 0, 0, 50, 700)))
        rows = signals.run_kernel(state, [frame], [missing])
        for held in (rows, state):
            for name in held.dtype.names or ():
                if held[name].dtype.kind in "fc":
                    assert np.isfinite(held[name]).all(), name


def test_the_state_of_a_gun_is_small() -> None:
    assert kernels.SIGNAL.itemsize + contact.CONTACT.itemsize <= STATE_BYTES_MAX
