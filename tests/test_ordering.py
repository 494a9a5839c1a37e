"""Frames in order whatever order they came in, and every one of them accounted for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model import HOP_NS, DeviceId, Frame, StreamEvent, StreamEventKind
from pipeline.ordering import (
    ANEW,
    BOOTS_REMEMBERED,
    BRIDGED_NS,
    MISSING_REMEMBERED,
    REORDER_WINDOW_S,
    SEQ_MODULUS,
    UNSEEN_NS,
    WAITING_MAX,
    Ordered,
    Stream,
    Turn,
)

GUN = DeviceId("clinic", "gun-1")
WINDOW_NS = round(REORDER_WINDOW_S * 1e9)
FRAME_NS = 100_000_000
RATE_HZ = 1600.0
SAMPLES = 160
T0_NS = 1_790_000_000_000_000_000
WRAPS = SEQ_MODULUS - 5  # a first sequence number after which the count wraps


def frame(k: int, first_seq: int = 0, boot_id: int = 7, late_ns: int = 0) -> Frame:
    """The k-th frame of 0.1 s."""
    return Frame(
        id=GUN,
        boot_id=boot_id,
        seq=(first_seq + k) % SEQ_MODULUS,
        t0_ns=T0_NS + k * FRAME_NS + late_ns,
        rate_hz=RATE_HZ,
        set_percussion_hz=40.0,
        accel_g_per_lsb=5e-4,
        current_a_per_lsb=1e-3,
        samples_lsb=np.zeros((SAMPLES, 4), np.int16),
    )


def admitted(stream: Stream, frames: Iterable[Frame]) -> Ordered:
    out = Ordered()
    for k, each in enumerate(frames):
        stream.admit(k * FRAME_NS, each, WINDOW_NS, out)
    return out


def kinds(events: Sequence[StreamEvent]) -> list[tuple[StreamEventKind, int]]:
    return [(event.kind, event.count) for event in events]


def counted(events: Sequence[StreamEvent]) -> Counter[StreamEventKind]:
    total: Counter[StreamEventKind] = Counter()
    for event in events:
        total[event.kind] += event.count
    return total


FIRST = (StreamEventKind.FIRST_FRAME, 1)


# The orderly case


@pytest.mark.parametrize("first_seq", [0, 17, WRAPS])
def test_frames_in_order_go_straight_through(first_seq: int) -> None:
    frames = [frame(k, first_seq) for k in range(12)]
    out = admitted(Stream(GUN), frames)
    assert out.turns == [Turn(frames[0], ANEW, unseen=True)] + [
        Turn(each, 0, unseen=False) for each in frames[1:]
    ]
    assert kinds(out.events) == [FIRST]


# Disorder


class Sent(NamedTuple):
    """What a network made of `frames` frames: which arrive, in which order, some twice."""

    frames: int
    first_seq: int
    arrivals: list[int]


@st.composite
def disorder(draw: st.DrawFn, lossy: bool) -> Sent:
    """Up to 5 % lost, repeats at any time, each frame displaced by less than the window."""
    count = draw(st.integers(20, 120))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    within = WINDOW_NS / FRAME_NS
    due = np.arange(count) + rng.uniform(0.0, within - 0.01, count) * (rng.random(count) < 0.5)
    due[0] = 0.0  # a stream begins with the frame that comes first
    kept = rng.random(count) >= (0.05 if lossy else 0.0)
    kept[0] = True
    arrivals = [(due[k], k) for k in range(count) if kept[k]]
    arrivals += [
        (due[k] + rng.uniform(0.0, 40.0), k) for k in range(count) if kept[k] and rng.random() < 0.2
    ]
    order = [k for _, k in sorted(arrivals)]
    return Sent(count, draw(st.sampled_from((0, 1000, SEQ_MODULUS - 10, SEQ_MODULUS - 60))), order)


@settings(max_examples=200, deadline=None)
@given(disorder(lossy=False))
def test_repeats_and_displacement_within_the_window_change_nothing(sent: Sent) -> None:
    frames = [frame(k, sent.first_seq) for k in range(sent.frames)]
    out = admitted(Stream(GUN), [frames[k] for k in sent.arrivals])
    assert [turn.frame for turn in out.turns] == frames
    assert {turn.missing_samples for turn in out.turns[1:]} == {0}
    repeats = len(sent.arrivals) - sent.frames
    assert counted(out.events) == Counter(
        {StreamEventKind.FIRST_FRAME: 1, StreamEventKind.DUPLICATE: repeats}
    )


@settings(max_examples=200, deadline=None)
@given(disorder(lossy=True))
def test_every_frame_is_accounted_for(sent: Sent) -> None:
    """Taken and missing make up what was sent; taken, repeated and late what arrived."""
    frames = [frame(k, sent.first_seq) for k in range(sent.frames)]
    stream = Stream(GUN)
    out = admitted(stream, [frames[k] for k in sent.arrivals])
    stream.release_all(out)
    taken = [int(turn.frame.t0_ns - T0_NS) // FRAME_NS for turn in out.turns]
    assert taken == sorted(set(taken))
    total = counted(out.events)
    last = max(sent.arrivals)
    assert len(taken) + total[StreamEventKind.SEQUENCE_GAP] == last + 1
    repeated, late = total[StreamEventKind.DUPLICATE], total[StreamEventKind.LATE]
    assert len(taken) + repeated + late == len(sent.arrivals)
    for before, turn in zip(taken, out.turns[1:], strict=False):
        k = int(turn.frame.t0_ns - T0_NS) // FRAME_NS
        lost_samples = (k - before - 1) * SAMPLES
        bridged = lost_samples * 1e9 / RATE_HZ <= BRIDGED_NS
        assert turn.missing_samples == (lost_samples if bridged else ANEW)


@settings(max_examples=60, deadline=None)
@given(sent=disorder(lossy=True), at=st.integers(0, 150))
def test_a_stream_goes_on_from_its_dump(sent: Sent, at: int) -> None:
    frames = [frame(k, sent.first_seq) for k in range(sent.frames)]
    arrivals = [frames[k] for k in sent.arrivals]
    whole = Stream(GUN)
    expected = admitted(whole, arrivals)
    first = Stream(GUN)
    before = admitted(first, arrivals[:at])
    dump = json.loads(json.dumps(first.dump()))
    second = Stream.load(dump, [early.frame for early in first.early.values()])
    after = admitted(second, arrivals[at:])
    assert before.turns + after.turns == expected.turns
    assert before.events + after.events == expected.events
    for stream, out in ((whole, expected), (second, after)):
        out.turns.clear()
        stream.release_all(out)
    assert after.turns == expected.turns


@pytest.mark.parametrize("duration_s", [0.25, 0.2542])
def test_two_swapped_frames_of_the_longest_usual_length_are_put_right(duration_s: float) -> None:
    """A gun whose clock makes its frames a little longer than 0.25 s must not lose by it."""
    n = round(duration_s * RATE_HZ)
    frames = []
    for k in range(6):
        each = frame(k)
        fields = {name: getattr(each, name) for name in each.__slots__}
        fields["t0_ns"] = T0_NS + round(k * n * 1e9 / RATE_HZ)
        fields["samples_lsb"] = np.zeros((n, 4), np.int16)
        frames.append(Frame(**fields))
    out = admitted(Stream(GUN), [frames[k] for k in (0, 1, 3, 2, 4, 5)])
    assert [turn.frame for turn in out.turns] == frames
    assert kinds(out.events) == [FIRST]


# What is given up


def test_what_comes_after_it_was_given_up_is_late_once_and_then_repeated() -> None:
    order = [0, *range(2, 10), 1, 1, 5]
    out = admitted(Stream(GUN), [frame(k) for k in order])
    assert kinds(out.events) == [
        FIRST,
        (StreamEventKind.SEQUENCE_GAP, 1),
        (StreamEventKind.LATE, 1),
        (StreamEventKind.DUPLICATE, 1),
        (StreamEventKind.DUPLICATE, 1),
    ]


def test_a_frame_from_before_the_first_is_late_not_repeated() -> None:
    out = admitted(Stream(GUN), [frame(k, WRAPS) for k in (6, 7, 5, 4)])
    assert kinds(out.events) == [FIRST, (StreamEventKind.LATE, 1), (StreamEventKind.LATE, 1)]


def test_a_gap_waits_for_the_window_and_no_longer() -> None:
    stream = Stream(GUN)
    window = WINDOW_NS // FRAME_NS
    # frame 1 may still come while no frame begins later than the window after frame 0
    early = [frame(k) for k in range(2, 2 + window)]
    assert len(admitted(stream, [frame(0), *early]).turns) == 1
    out = admitted(stream, [frame(2 + window)])
    assert [turn.frame.seq for turn in out.turns] == list(range(2, 3 + window))


def test_the_time_of_arrival_ends_a_wait_when_nothing_comes() -> None:
    stream, out = Stream(GUN), Ordered()
    for received_at_ns, k in ((0, 0), (200, 2), (600, 5)):
        stream.admit(received_at_ns, frame(k), WINDOW_NS, out)
    stream.release_overdue(200 + WINDOW_NS, WINDOW_NS, out)
    assert len(out.turns) == 1
    stream.release_overdue(201 + WINDOW_NS, WINDOW_NS, out)
    assert [turn.frame.seq for turn in out.turns] == [0, 2]  # 5 came later, and waits on
    stream.postpone(1000)
    stream.release_overdue(1600 + WINDOW_NS, WINDOW_NS, out)
    assert len(out.turns) == 2
    stream.release_overdue(1601 + WINDOW_NS, WINDOW_NS, out)
    assert [turn.frame.seq for turn in out.turns] == [0, 2, 5]


def test_what_waits_and_what_is_remembered_is_bounded() -> None:
    stream, out = Stream(GUN), Ordered()
    stream.admit(0, frame(0), WINDOW_NS, out)
    for k in range(2, 5000):  # a clock that stands still: sample time never ends the wait
        stream.admit(0, frame(2 * k, late_ns=-2 * k * FRAME_NS), WINDOW_NS, out)
        assert len(stream.early) <= WAITING_MAX
        assert len(stream.missing) <= MISSING_REMEMBERED
    for boot in range(100):
        stream.admit(0, frame(0, boot_id=1000 + boot), WINDOW_NS, out)
    assert len(stream.past_boots) == BOOTS_REMEMBERED
    assert len(json.dumps(stream.dump())) < 10_000


def test_a_leap_in_the_count_costs_its_number_and_nothing_else() -> None:
    """Firmware may go mad; 2^31 - 1 lost frames must not be listed one by one."""
    stream = Stream(GUN)
    leap = SEQ_MODULUS // 2 - 1
    out = admitted(stream, [frame(0)])
    mad = frame(1, first_seq=leap)
    stream.admit(0, mad, WINDOW_NS, out)
    stream.release_all(out)
    assert kinds(out.events)[-1] == (StreamEventKind.SEQUENCE_GAP, leap)
    assert len(stream.missing) == MISSING_REMEMBERED
    stream.admit(0, frame(0, first_seq=leap), WINDOW_NS, out)  # the newest of the lost is late
    assert kinds(out.events)[-1] == (StreamEventKind.LATE, 1)


# Gaps in time


@pytest.mark.parametrize(
    ("lost", "missing_samples", "unseen"),
    [
        (1, SAMPLES, False),
        (BRIDGED_NS // FRAME_NS, BRIDGED_NS // FRAME_NS * SAMPLES, False),
        (BRIDGED_NS // FRAME_NS + 1, ANEW, False),
        (UNSEEN_NS // FRAME_NS, ANEW, False),
        (UNSEEN_NS // FRAME_NS + 1, ANEW, True),
    ],
)
def test_how_long_a_gap_decides_what_is_kept(lost: int, missing_samples: int, unseen: bool) -> None:
    stream = Stream(GUN)
    out = admitted(stream, [frame(0), frame(1 + lost)])
    stream.release_all(out)
    assert out.turns[-1][1:] == (missing_samples, unseen)
    assert kinds(out.events)[1:] == [(StreamEventKind.SEQUENCE_GAP, lost)]


@pytest.mark.parametrize("jitter_ns", [-HOP_NS, -3_000_000, 5, 3_000_000, HOP_NS])
def test_jitter_of_the_clock_is_no_step(jitter_ns: int) -> None:
    out = admitted(Stream(GUN), [frame(0), frame(1, late_ns=jitter_ns)])
    assert out.turns[-1][1:] == (0, False)
    assert kinds(out.events) == [FIRST]


@pytest.mark.parametrize(
    ("step_ns", "unseen"),
    [
        (-3600 * 10**9, False),  # set back: the gun did not pause
        (-HOP_NS - 1, False),
        (HOP_NS + 1, False),
        (UNSEEN_NS + 1, True),  # set forward, or a pause: who knows
    ],
)
def test_a_step_of_the_clock_begins_anew(step_ns: int, unseen: bool) -> None:
    frames = [frame(0), frame(1, late_ns=step_ns), frame(2, late_ns=step_ns)]
    out = admitted(Stream(GUN), frames)
    assert [turn[1:] for turn in out.turns[1:]] == [(ANEW, unseen), (0, False)]
    assert kinds(out.events) == [FIRST, (StreamEventKind.CLOCK_STEP, 1)]


def test_a_step_back_among_lost_frames_is_told_at_once() -> None:
    stream = Stream(GUN)
    out = admitted(stream, [frame(0), frame(3, late_ns=-10 * 10**9)])
    assert kinds(out.events)[1:] == [
        (StreamEventKind.SEQUENCE_GAP, 2),
        (StreamEventKind.CLOCK_STEP, 1),
    ]
    assert out.turns[-1][1:] == (ANEW, False)


@pytest.mark.parametrize("late_ns", [-150_000_000, 9 * 10**9])
def test_among_lost_frames_only_a_step_back_is_certain(late_ns: int) -> None:
    """A gun may pause while frames are lost; and samples that overlap cannot be bridged."""
    stream = Stream(GUN)
    out = admitted(stream, [frame(0), frame(2, late_ns=late_ns)])
    stream.release_all(out)
    assert kinds(out.events)[1:] == [(StreamEventKind.SEQUENCE_GAP, 1)]
    assert out.turns[-1][1:] == (ANEW, late_ns > UNSEEN_NS)


def test_drift_that_adds_up_is_neither_a_step_nor_a_gap() -> None:
    """A clock that is wrong by 1 in 1,000, as no quartz is: every frame brings its own time."""
    stream, out, frames = Stream(GUN), Ordered(), 2 * 1000 * HOP_NS // FRAME_NS
    for k in range(frames):  # two hops of drift in all
        stream.admit(k * FRAME_NS, frame(k, late_ns=k * FRAME_NS // 1000), WINDOW_NS, out)
        out.turns.clear()
    assert kinds(out.events) == [FIRST]


# Boots


def test_another_boot_begins_anew_and_what_waited_goes_first() -> None:
    stream = Stream(GUN)
    order = [frame(0), frame(2), frame(0, boot_id=8), frame(1, boot_id=8), frame(1)]
    out = admitted(stream, order)
    assert [(turn.frame.boot_id, turn.frame.seq) for turn in out.turns] == [
        (7, 0),
        (7, 2),
        (8, 0),
        (8, 1),
    ]
    assert out.turns[2][1:] == (ANEW, True)
    assert kinds(out.events) == [
        FIRST,
        (StreamEventKind.SEQUENCE_GAP, 1),
        FIRST,
        (StreamEventKind.LATE, 1),
    ]


def test_what_one_boot_missed_another_does_not() -> None:
    order = [frame(0), *(frame(k) for k in range(2, 9)), *(frame(k, boot_id=8) for k in (0, 1, 1))]
    out = admitted(Stream(GUN), order)
    assert kinds(out.events)[-2:] == [FIRST, (StreamEventKind.DUPLICATE, 1)]


def test_the_same_numbers_in_another_boot_are_other_frames() -> None:
    order = [frame(k, boot_id=boot) for boot in (1, 2, 3) for k in range(4)]
    out = admitted(Stream(GUN), order)
    assert len(out.turns) == 12
    assert counted(out.events) == Counter({StreamEventKind.FIRST_FRAME: 3})
