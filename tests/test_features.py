"""The extractor as its callers see it: any cut, batch, disorder or restart gives the same hops."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import signals
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import baseline, contact, kernels, wire
from pipeline.features import (
    GENERIC,
    Advance,
    Calibration,
    FeatureExtractor,
    warm_up,
    warm_up_meaning,
    warm_up_samples,
)
from pipeline.model import (
    DeviceId,
    Features,
    Frame,
    FrameFlag,
    MotorState,
    StreamEvent,
    StreamEventKind,
)

RATE_HZ = 1573.34375  # no round number of samples a hop; exact in the header's f32
USUAL = 393  # samples: 0.25 s
TOUCH_S = (2.0, 8.0)  # of the session below


def session(seconds: float = 9.0, seed: int = 0) -> signals.Samples:
    """Air, six seconds on tissue with a bounce now and then, air; some knocks that clip."""
    n = round(seconds * RATE_HZ)
    t = np.arange(n) / RATE_HZ
    touching = (t >= TOUCH_S[0]) & (t < TOUCH_S[1])
    f_hz = np.where(touching, 38.5, 40.2)
    current_a = np.where(touching, 1.9, 0.6)
    parts = [
        signals.percussion(f_hz, RATE_HZ, orders, noise_g=0.05, current_a=current_a, seed=seed)
        for orders in (signals.AIR, signals.CONTACT)
    ]
    lsb = np.where(touching[:, None], parts[1], parts[0])
    lsb[np.random.default_rng(seed).integers(0, n, 5), 2] = 32767
    return lsb


def frames_of(
    lsb: signals.Samples, lengths: Sequence[int] = (USUAL,), device: DeviceId = signals.GUN
) -> list[Frame]:
    return signals.cut(lsb, lengths, RATE_HZ, 40.0, device)


SESSION = session()


def fed(extractor: FeatureExtractor, frames: Sequence[Frame], batch: int = 1) -> Advance:
    hops: list[Features] = []
    events: list[StreamEvent] = []
    for at in range(0, len(frames), batch):
        advanced = extractor.advance([(k, f) for k, f in enumerate(frames[at : at + batch], at)])
        hops += advanced.hops
        events += advanced.events
    return Advance(hops, events)


def flushed(extractor: FeatureExtractor, before: Advance) -> Advance:
    rest = extractor.flush()
    return Advance(before.hops + rest.hops, before.events + rest.events)


def exact(hops: Sequence[Features]) -> list[str]:
    """To the last bit: repr tells floats apart that == does not."""
    return [repr(hop) for hop in hops]


def changed(frame: Frame, **changes: object) -> Frame:
    return dataclasses.replace(frame, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def undisturbed() -> Advance:
    return fed(FeatureExtractor(), frames_of(SESSION))


def test_the_session_holds_what_the_tests_below_need(undisturbed: Advance) -> None:
    hops = undisturbed.hops
    assert len(hops) == len(SESSION) // USUAL
    touched = [hop for hop in hops if hop.contact]
    assert 20 <= len(touched) <= 28
    assert max(hop.dwell_s for hop in hops) > 4.0
    assert all(hop.contact_force_n > 3.0 for hop in touched[4:])
    assert any(hop.clipped for hop in hops)
    assert {hop.motor for hop in hops} == {MotorState.STARTING, MotorState.RUNNING}
    assert [event.kind for event in undisturbed.events] == [StreamEventKind.FIRST_FRAME]


# The same samples, the same hops


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 900), min_size=1, max_size=20),
    batch=st.integers(1, 40),
)
def test_hops_do_not_depend_on_cut_or_batch(
    undisturbed: Advance, lengths: list[int], batch: int
) -> None:
    advanced = fed(FeatureExtractor(), frames_of(SESSION, lengths), batch)
    assert exact(advanced.hops) == exact(undisturbed.hops)


@settings(max_examples=25, deadline=None)
@given(
    gaps=st.lists(st.tuples(st.floats(0.5, 8.5), st.floats(0.02, 2.6)), min_size=1, max_size=3),
    length=st.integers(20, 900),
    batch=st.integers(1, 40),
)
def test_hops_around_gaps_do_not_depend_on_cut_or_batch(
    gaps: list[tuple[float, float]], length: int, batch: int
) -> None:
    """Also where a gap makes the gun forget: only after the frames before it have had their say."""
    there = np.ones(len(SESSION), bool)
    for start_s, length_s in gaps:
        there[round(start_s * RATE_HZ) : round((start_s + length_s) * RATE_HZ)] = False
    edges = np.flatnonzero(np.diff(np.concatenate(([False], there, [False])).astype(int)))
    pieces = [slice(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True)]

    def run(length: int, batch: int) -> list[Features]:
        frames: list[Frame] = []
        end = 0
        for piece in pieces:
            lost = max((piece.start - end) // length, 1)
            seq = frames[-1].seq + 1 + lost if frames else 0
            shift_ns = round(piece.start * 1e9 / RATE_HZ)
            end = piece.stop
            frames += [
                changed(f, seq=seq + f.seq, t0_ns=f.t0_ns + shift_ns)
                for f in frames_of(SESSION[piece], [length])
            ]
        extractor = FeatureExtractor()
        return flushed(extractor, fed(extractor, frames, batch)).hops

    assert exact(run(length, batch)) == exact(run(USUAL, 1))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    length=st.integers(60, USUAL),
    batch=st.integers(1, 30),
)
def test_repeats_and_neighbours_swapped_change_nothing(
    undisturbed: Advance, seed: int, length: int, batch: int
) -> None:
    rng = np.random.default_rng(seed)
    frames = frames_of(SESSION, [length])
    due = np.arange(len(frames)) + 1.2 * (rng.random(len(frames)) < 0.3)
    due[0] = 0.0
    arrivals = [(due[k], k) for k in range(len(frames))]
    arrivals += [(due[k] + rng.uniform(0, 9), k) for k in range(len(frames)) if rng.random() < 0.2]
    order = [k for _, k in sorted(arrivals)]
    extractor = FeatureExtractor()
    advanced = flushed(extractor, fed(extractor, [frames[k] for k in order], batch))
    assert exact(advanced.hops) == exact(undisturbed.hops)
    kinds = Counter(event.kind for event in advanced.events)
    assert kinds == Counter(
        {StreamEventKind.FIRST_FRAME: 1, StreamEventKind.DUPLICATE: len(order) - len(frames)}
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_five_percent_lost_is_counted_and_time_goes_on(undisturbed: Advance, seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = frames_of(SESSION, [150])
    kept = [f for f in frames if f.seq in (0, len(frames) - 1) or rng.random() > 0.05]
    extractor = FeatureExtractor()
    advanced = flushed(extractor, fed(extractor, kept, 7))
    missing = sum(
        event.count for event in advanced.events if event.kind is StreamEventKind.SEQUENCE_GAP
    )
    assert missing + len(kept) == len(frames)
    assert [hop.t_ns for hop in advanced.hops] == [hop.t_ns for hop in undisturbed.hops]


def test_guns_in_one_batch_are_as_guns_alone() -> None:
    guns = [DeviceId("clinic", f"gun-{k}") for k in range(40)]
    streams = [frames_of(session(3.0, seed=k), device=gun) for k, gun in enumerate(guns)]
    together = FeatureExtractor()
    hops: dict[DeviceId, list[Features]] = {gun: [] for gun in guns}
    for row in zip(*streams, strict=True):
        for hop in together.advance([(0, frame) for frame in row]).hops:
            hops[hop.id].append(hop)
    for gun, frames in zip(guns, streams, strict=True):
        assert exact(hops[gun]) == exact(fed(FeatureExtractor(), frames).hops)


# What a gap and a boot leave behind


@pytest.mark.parametrize(("lost", "dwells_on"), [(1, True), (4, True), (7, True), (9, False)])
@pytest.mark.parametrize("batch", [1, 50])
def test_dwell_survives_what_is_shorter_than_a_lift(lost: int, dwells_on: bool, batch: int) -> None:
    frames = frames_of(SESSION)
    at = 20  # three seconds on the spot
    extractor = FeatureExtractor()
    hops = flushed(extractor, fed(extractor, frames[:at] + frames[at + lost :], batch)).hops
    before = [hop.dwell_s for hop in hops if hop.t_ns <= frames[at].t0_ns][-1]
    after = next(hop.dwell_s for hop in hops if hop.t_ns > frames[at + lost].t0_ns)
    assert before > 2.0
    assert (after >= before) is dwells_on
    assert dwells_on or after < 0.5


def test_another_boot_forgets_the_touch() -> None:
    extractor = FeatureExtractor()
    frames = frames_of(SESSION)
    assert fed(extractor, frames[:20]).hops[-1].dwell_s > 2.0
    reboot = [changed(f, boot_id=8, seq=f.seq - 20) for f in frames[20:]]
    hops = fed(extractor, reboot).hops
    assert hops[0].dwell_s == 0.0
    assert not hops[0].contact


def test_another_boot_keeps_what_was_learnt_in_air() -> None:
    """0.76 A is contact for a bench of 0.6 A, but not for a gun that has come to take 0.68 A."""
    bench = dataclasses.replace(
        GENERIC, calibrated=True, a1_per_hz2=(2.6 / 1600.0,), second=(0.5 / 2.6 + 0j,)
    )

    def air(current_a: float, seconds: float, boot_id: int) -> list[Frame]:
        f_hz = signals.steady(40.0, RATE_HZ, seconds)
        frames = frames_of(signals.percussion(f_hz, RATE_HZ, current_a=current_a))
        return [changed(f, boot_id=boot_id) for f in frames]

    taught = FeatureExtractor({signals.GUN: bench})
    fed(taught, air(0.68, 15.0, boot_id=1))
    assert not any(hop.contact for hop in fed(taught, air(0.76, 3.0, boot_id=2)).hops)
    fresh = FeatureExtractor({signals.GUN: bench})
    assert any(hop.contact for hop in fed(fresh, air(0.76, 3.0, boot_id=2)).hops)


# What is known of a gun


def test_a_calibration_comes_before_a_profile_and_that_before_the_generic_gun() -> None:
    frames = frames_of(SESSION)
    heavy = dataclasses.replace(GENERIC, mass_kg=2.0 * GENERIC.mass_kg)
    bench = dataclasses.replace(heavy, calibrated=True, a1_per_hz2=(0.0016,))

    def hops_of(extractor: FeatureExtractor) -> list[Features]:
        return fed(extractor, frames).hops

    generic = hops_of(FeatureExtractor())
    by_model = FeatureExtractor(priors={"hx-16": heavy})
    by_model.set_model(signals.GUN, "hx-16", "ball")
    of_model = hops_of(by_model)
    calibrated = hops_of(FeatureExtractor({signals.GUN: bench}, {"hx-16": heavy}))
    late = FeatureExtractor()
    late.calibrate(signals.GUN, bench)
    assert exact(hops_of(late)) == exact(calibrated)
    assert len({tuple(exact(hops)) for hops in (generic, of_model, calibrated)}) == 3
    assert late.is_calibrated(signals.GUN)
    assert all(hop.calibrated for hop in calibrated)
    assert not any(hop.calibrated for hop in generic + of_model)


def test_what_is_learnt_of_a_gun_later_counts_from_the_next_hop_on(undisturbed: Advance) -> None:
    frames = frames_of(SESSION)
    heavy = dataclasses.replace(GENERIC, mass_kg=2.0 * GENERIC.mass_kg)
    extractor = FeatureExtractor(priors={"hx-16": heavy})
    before = fed(extractor, frames[:20]).hops
    extractor.set_model(signals.GUN, "hx-16", None)
    extractor.set_model(signals.GUN, None, None)  # a birth without a model says nothing
    after = fed(extractor, frames[20:]).hops
    assert exact(before) == exact(undisturbed.hops[:20])
    assert after[4].contact_force_n > 1.3 * undisturbed.hops[24].contact_force_n


@pytest.mark.parametrize(
    "wrong",
    [
        {"speed_hz": (), "a1_per_hz2": (), "second": (), "third": (), "i0_a": ()},
        {"a1_per_hz2": (0.002, 0.002)},
        {
            "speed_hz": (40.0, 30.0),
            "a1_per_hz2": (0.002,) * 2,
            "second": (0j,) * 2,
            "third": (0j,) * 2,
            "i0_a": (0.6,) * 2,
        },
        {
            name: (value,) * (baseline.MAX_SPEEDS + 1)
            for name, value in {
                "speed_hz": 40.0,
                "a1_per_hz2": 0.002,
                "second": 0j,
                "third": 0j,
                "i0_a": 0.6,
            }.items()
        },
    ],
)
def test_a_calibration_that_no_slot_can_hold_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="speed"):
        dataclasses.replace(GENERIC, **wrong)  # type: ignore[arg-type]


# What a hop says of its frames


def test_a_clipping_mark_of_any_frame_of_a_hop_is_seen() -> None:
    lsb = signals.percussion(signals.steady(40.0, RATE_HZ, 2.0), RATE_HZ)
    frames = frames_of(lsb, [79])  # five frames a hop
    frames[11] = changed(frames[11], flags=FrameFlag.CURRENT_CLIPPED)
    hops = fed(FeatureExtractor(), frames).hops
    assert [hop.clipped for hop in hops] == [False, False, True] + [False] * 5


def test_housekeeping_is_that_of_the_frame_a_hop_ends_with() -> None:
    frames = [
        changed(f, battery_mv=7000 + f.seq, temperature_c=30.0 + f.seq)
        for f in frames_of(session(2.0), [200])
    ]
    for hop in fed(FeatureExtractor(), frames, 5).hops:
        ends_with = next(f for f in frames if f.t0_ns + round(200e9 / RATE_HZ) >= hop.t_ns)
        assert hop.battery_mv == ends_with.battery_mv
        assert hop.temperature_c == ends_with.temperature_c


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_samples_give_anything_but_finite_features(data: st.DataObject) -> None:
    extractor = FeatureExtractor()
    t0_ns = seq = 0
    scale = st.sampled_from((1.2e-38, 1e-6, signals.G_PER_LSB, 1.0, 3.4e38))
    for _ in range(data.draw(st.integers(1, 6))):
        rate_hz = data.draw(st.sampled_from((100.0, 1600.0, 6400.0)))
        n = data.draw(st.integers(1, 4096))
        rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
        levels = data.draw(st.lists(st.integers(-32768, 32767), min_size=1, max_size=4))
        frame = Frame(
            id=signals.GUN,
            boot_id=1,
            seq=seq,
            t0_ns=t0_ns,
            rate_hz=rate_hz,
            set_percussion_hz=data.draw(st.sampled_from((0.0, 0.01, 29.0, 40.0, 655.35))),
            accel_g_per_lsb=data.draw(scale),
            current_a_per_lsb=data.draw(scale),
            samples_lsb=rng.choice(levels, (n, 4)).astype(np.int16),
        )
        seq += data.draw(st.sampled_from((1, 1, 2, 4)))
        t0_ns += round(n * 1e9 / rate_hz) + data.draw(st.sampled_from((0, 0, 4 * 10**8, -(10**9))))
        t0_ns = max(t0_ns, 0)
        for hop in extractor.advance([(0, frame)]).hops + extractor.flush().hops:
            for field in dataclasses.fields(hop):
                value = getattr(hop, field.name)
                assert not isinstance(value, float) or math.isfinite(value), field.name


# Waiting


def test_a_wait_ends_by_the_time_of_arrival_too() -> None:
    frames = frames_of(SESSION)
    extractor = FeatureExtractor()
    second = 1_000_000_000
    extractor.advance([(0, frames[0]), (second, frames[2])])
    assert extractor.tick(second + 500_000_000) == Advance([], [])
    extractor.resume(60 * second)  # nobody listened for a minute
    assert extractor.tick(61 * second + 500_000_000) == Advance([], [])
    released = extractor.tick(61 * second + 500_000_001)
    assert [event.kind for event in released.events] == [StreamEventKind.SEQUENCE_GAP]
    assert len(released.hops) == 2
    assert extractor.flush() == Advance([], [])


# Across a restart


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), length=st.integers(60, 600))
def test_a_snapshot_at_any_point_goes_on_as_if_nothing_had_happened(seed: int, length: int) -> None:
    """With frames lost, repeated and waiting; into a fresh extractor and into a used one."""
    rng = np.random.default_rng(seed)
    guns = [DeviceId("clinic", "gun-1"), DeviceId("other", "gun-1")]
    frames = [
        frame
        for row in zip(*(frames_of(SESSION, [length], gun) for gun in guns), strict=True)
        for frame in row
    ]
    keys = np.arange(len(frames)) + rng.uniform(0, 5, len(frames))
    order = [int(k) for k in np.argsort(keys) if rng.random() > 0.05]
    order += [int(k) for k in rng.choice(order, 5)]
    arrivals = [frames[k] for k in order]
    whole = FeatureExtractor()
    whole.set_model(guns[0], "hx-16", None)
    expected = flushed(whole, fed(whole, arrivals))
    current = FeatureExtractor()
    current.set_model(guns[0], "hx-16", None)
    used = FeatureExtractor()
    fed(used, frames_of(session(2.0, seed=9), device=DeviceId("x", "y")))
    hops, events = [], []
    for frame in arrivals:
        advanced = current.advance([(0, frame)])
        hops += advanced.hops
        events += advanced.events
        if rng.random() < 0.2:
            data = current.snapshot()
            current = FeatureExtractor() if rng.random() < 0.5 else used
            current.restore(data)
            assert current.snapshot() == data
            used = FeatureExtractor()
    got = flushed(current, Advance(hops, events))
    assert exact(got.hops) == exact(expected.hops)
    assert got.events == expected.events


def test_a_gun_that_appears_after_a_restore_starts_clean() -> None:
    used = FeatureExtractor()
    for k in range(3):
        fed(used, frames_of(session(3.0), device=DeviceId("old", f"gun-{k}")))
    used.restore(FeatureExtractor().snapshot())
    assert exact(fed(used, frames_of(SESSION)).hops) == exact(
        fed(FeatureExtractor(), frames_of(SESSION)).hops
    )


def test_a_snapshot_holds_a_gun_in_four_kilobytes() -> None:
    extractor = FeatureExtractor()
    n = 200
    for k in range(n):
        frame = frames_of(session(0.3), device=DeviceId("clinic", f"gun-{k}"))[0]
        extractor.advance([(0, frame)])
    assert len(extractor.snapshot()) / n <= 4096


def test_a_snapshot_of_another_layout_is_refused() -> None:
    data = FeatureExtractor().snapshot()
    header = json.loads(data[8:])
    header["layout"] += 1
    text = json.dumps(header).encode()
    with pytest.raises(ValueError, match="another state"):
        FeatureExtractor().restore(len(text).to_bytes(8, "little") + text)


@pytest.mark.parametrize("size", [0, 5, 40, -1])
def test_a_torn_snapshot_is_refused_and_changes_nothing(size: int) -> None:
    extractor = FeatureExtractor()
    frames = frames_of(SESSION)
    extractor.set_model(signals.GUN, "hx-16", None)
    fed(extractor, frames[:10])
    extractor.advance([(0, frames[12])])  # one waits
    data = extractor.snapshot()
    with pytest.raises(ValueError):  # noqa: PT011 - what is torn decides what is said
        extractor.restore(data[:size])
    assert extractor.snapshot() == data


# Compiled once


def test_what_comes_from_the_wire_runs_what_was_compiled_at_the_start() -> None:
    """Read-only samples must not have numba compile a second kernel on the first live frame."""
    warm_up()
    compiled = (kernels.advance, contact.interpret)
    before = [len(kernel.signatures) for kernel in compiled]
    extractor = FeatureExtractor()
    for frame in frames_of(session(1.0)):
        topic, payload = wire.encode(frame)
        decoded = wire.decode(topic, payload)
        assert isinstance(decoded, Frame)
        assert not decoded.samples_lsb.flags.writeable
        extractor.advance([(0, decoded)])
    assert [len(kernel.signatures) for kernel in compiled] == before
    assert all(samples.mutable for _, _, samples, _ in kernels.advance.signatures)


def test_halves_that_are_compiled_apart_are_what_the_whole_runs() -> None:
    """Else a first start would compile them twice (pipeline/cli/compiling.py)."""
    warm_up()
    before = [len(kernel.signatures) for kernel in (kernels.advance, contact.interpret)]
    warm_up_samples()
    warm_up_meaning()
    assert [len(kernel.signatures) for kernel in (kernels.advance, contact.interpret)] == before


def test_calibration_defaults_are_those_of_a_gun_nobody_measured() -> None:
    assert not GENERIC.calibrated
    assert Calibration(True, 0.012, 1.0, (40.0,), (0.002,), (0j,), (0j,), (0.6,)).correction == (
        (0.0,) * 6
    )
