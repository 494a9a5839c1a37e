"""The black box: what lies around an alarm is on the disk, whole, however the messages came."""

from __future__ import annotations

import random
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_records import alarm, hop

from pipeline import wire
from pipeline.capture import (
    BlackBox,
    CaptureFolder,
    CaptureWriter,
    SessionLog,
    blackbox,
    capture_name,
    name_captures,
    pieces_within,
    read_recording,
    session_files,
    writing,
)
from pipeline.capture import ring as rings
from pipeline.model import (
    Alarm,
    AlarmState,
    DeviceId,
    DeviceState,
    Frame,
    Priority,
    Received,
    Record,
    SessionEvent,
    SessionEventKind,
)

S = 1_000_000_000
T0 = 1_790_000_000 * S
FRAME_NS = S // 4
GUN, OTHER = DeviceId("north", "gun-1"), DeviceId("north", "gun-2")
PLENTY = 512 * 2**20


def frame_at(seq: int, gun: DeviceId = GUN, arrival_ns: int | None = None) -> Received:
    """A quarter of a second of one gun; it arrives when it is over."""
    rng = np.random.default_rng(seq)
    samples = rng.integers(-900, 900, (400, 4), dtype=np.int16)
    made = Frame(gun, 7, seq, T0 + seq * FRAME_NS, 1600.0, 40.0, 0.001, 0.001, samples)
    arrived_ns = made.t0_ns + FRAME_NS if arrival_ns is None else arrival_ns
    return Received(arrived_ns, *wire.encode(made))


def spoken(gun: DeviceId = GUN, at_ns: int = T0) -> list[Received]:
    """What a gun and its console say before the first frame."""
    birth = DeviceState(gun, True, 7, "fx-16", "A12", "1.0.0", "ball", 1600.0, at_ns)
    start = SessionEvent(gun, "s-01", SessionEventKind.START, at_ns, "op-7", "c-1", "calf_left")
    return [Received(at_ns, *wire.encode(each)) for each in (birth, start)]


def raised_at(second: float, gun: DeviceId = GUN, **changes: object) -> Alarm:
    at_ns = T0 + round(second * S)
    plain = alarm("EXCESS_PRESSURE", AlarmState.ACTIVE_UNACK, at_ns, gun, raised_at_ns=at_ns)
    return replace(replace(plain, alarm_id="0123456789abcdef"), **changes)  # type: ignore[arg-type]


@contextmanager
def black_box(
    directory: Path, *, ring_bytes: int = PLENTY, disk_bytes: int = PLENTY
) -> Iterator[BlackBox]:
    writer = CaptureWriter()
    box = BlackBox(CaptureFolder(directory, disk_bytes), ring_bytes, writer)
    try:
        yield box
    finally:
        box.close()
        writer.close()


def play(
    box: BlackBox, messages: Sequence[Received], records: Iterable[Record], batch: int = 1
) -> None:
    """In batches; a record comes with the batch in which its time passes, as the monitor's do."""
    waiting = sorted(records, key=lambda each: each.changed_at_ns)  # type: ignore[union-attr]
    for at in range(0, len(messages), batch):
        piece = messages[at : at + batch]
        now_ns = piece[-1].received_at_ns
        due = [each for each in waiting if each.changed_at_ns <= now_ns]  # type: ignore[union-attr]
        waiting = [each for each in waiting if each not in due]
        box.took(piece, due, now_ns)


def seqs_in(path: Path | None) -> list[int]:
    assert path is not None
    found = [wire.decode(row.topic, row.payload) for row in read_recording(path)]
    return [each.seq for each in found if isinstance(each, Frame)]


def capture_of(directory: Path, raised: Alarm) -> Path | None:
    name = capture_name(raised)
    assert name is not None
    return CaptureFolder(directory, PLENTY).find(name)


@pytest.mark.parametrize("batch", [1, 7, 512])
def test_twenty_seconds_before_and_ten_after(tmp_path: Path, batch: int) -> None:
    log = [*spoken(), *(frame_at(seq) for seq in range(240))]
    raised = raised_at(30)
    with black_box(tmp_path) as box:
        play(box, log, [raised], batch)
    path = capture_of(tmp_path, raised)
    assert seqs_in(path) == list(range(40, 160))
    assert path is not None
    first, second, *_ = read_recording(path)
    assert [first.payload, second.payload] == [row.payload for row in log[:2]]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_capture_has_its_own_gun_alone(tmp_path: Path) -> None:
    log = [frame_at(seq, gun) for seq in range(240) for gun in (GUN, OTHER)]
    with black_box(tmp_path) as box:
        play(box, log, [raised_at(30)])
    path = capture_of(tmp_path, raised_at(30))
    assert path is not None
    assert {row.topic for row in read_recording(path)} == {frame_at(0).topic}


def test_a_backlog_is_cut_by_sample_time(tmp_path: Path) -> None:
    """Two minutes of one gun at once, as after an outage: arrival says nothing of them."""
    log = [frame_at(seq, arrival_ns=T0 + 3600 * S + seq) for seq in range(480)]
    raised = [raised_at(30, alarm_id="a" * 16), raised_at(90, alarm_id="b" * 16)]
    with black_box(tmp_path) as box:
        box.took(log[:400], raised, log[399].received_at_ns)
        box.took(log[400:], [], log[-1].received_at_ns)
    assert seqs_in(capture_of(tmp_path, raised[0])) == list(range(40, 160))
    assert seqs_in(capture_of(tmp_path, raised[1])) == list(range(280, 400))


def test_after_a_kill_the_first_half_is_there_and_redelivery_adds_the_rest(tmp_path: Path) -> None:
    log = [*spoken(), *(frame_at(seq) for seq in range(240))]
    raised = raised_at(30)
    writer = CaptureWriter()
    box = BlackBox(CaptureFolder(tmp_path, PLENTY), PLENTY, writer)
    play(box, log[:130], [raised])  # up to 2 s after the alarm
    writer.close()  # the disk has what it was given; the box is gone as with kill -9
    assert seqs_in(capture_of(tmp_path, raised)) == list(range(40, 120))
    (tmp_path / f"{'c' * 16}-1-medium.parquet.part").write_bytes(b"PAR1")
    with black_box(tmp_path) as after:
        play(after, log[119:], [raised])  # what was not acknowledged comes again, with the alarm
    assert seqs_in(capture_of(tmp_path, raised)) == list(range(40, 160))
    assert len(list(tmp_path.iterdir())) == 1, "what was cut short is gone"


def test_too_little_memory_shortens_the_past_says_so_and_keeps_what_comes(tmp_path: Path) -> None:
    """A share of 5 s: the past is 5 s, and the 10 s after it are whole all the same."""
    size = len(frame_at(0).payload) + len(frame_at(0).topic) + rings.MESSAGE_BYTES
    log = [frame_at(seq) for seq in range(240)]
    with black_box(tmp_path, ring_bytes=20 * size) as box:
        play(box, log, [raised_at(30)])
        assert box.status.shortened == 240 - 20
        assert box.status.ring_bytes <= 20 * size
    kept = seqs_in(capture_of(tmp_path, raised_at(30)))
    assert kept == list(range(kept[0], 160))
    assert 99 <= kept[0] <= 101


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(10_000, 2_000_000))
def test_the_ring_never_exceeds_its_bytes(seed: int, guns: int, bytes_max: int) -> None:
    rng = random.Random(seed)
    ring = rings.Ring(bytes_max)
    put = 0
    for at in range(400):
        id_ = DeviceId("north", f"gun-{rng.randrange(guns)}")
        payload = rng.randbytes(rng.randrange(1, 8_000))
        ring.put(id_, None, Received(at * S // 40, "t", payload))
        put += 1
        list(ring.trim(at * S // 40))
        assert ring.bytes <= bytes_max
    assert 0 <= ring.shortened <= put


def test_a_gun_that_floods_shortens_nobody_else() -> None:
    ring = rings.Ring(64 * 2**20)
    ring.put(OTHER, 1, Received(1, "t", b"quiet"))
    for at in range(100):
        ring.put(GUN, at, Received(at, "t", bytes(2**16)))
        list(ring.trim(at))
    assert ring.bytes < rings.GUN_BYTES_MAX + 2**12
    assert [row.payload for row in ring.window(OTHER, 0, 2)] == [b"quiet"]


def test_the_oldest_captures_give_way_to_the_limit(tmp_path: Path) -> None:
    folder = CaptureFolder(tmp_path, 60_000)
    for number in range(8):
        folder.merge(tmp_path / f"{number}.parquet", [frame_at(seq) for seq in range(4)])
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 60_000
    assert kept == [f"{number}.parquet" for number in range(8 - len(kept), 8)]
    assert folder.deleted == 8 - len(kept) > 0
    again = CaptureFolder(tmp_path, 60_000)  # after a restart it counts what is there
    again.merge(tmp_path / "8.parquet", [frame_at(seq) for seq in range(4)])
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 60_000


def test_a_gun_that_falls_silent_ends_its_capture(tmp_path: Path) -> None:
    log = [frame_at(seq) for seq in range(124)]
    with black_box(tmp_path) as box:
        play(box, log, [raised_at(30)])
        assert box.status.open == 1
        box.took([], [], log[-1].received_at_ns + 16 * S)
        assert box.status.open == 0
    assert seqs_in(capture_of(tmp_path, raised_at(30))) == list(range(40, 124))


def test_low_alarms_have_none_and_one_that_rises_has_a_second(tmp_path: Path) -> None:
    low = raised_at(10, priority=Priority.LOW, alarm_id="d" * 16)
    medium = raised_at(20)
    high = replace(medium, priority=Priority.HIGH, changed_at_ns=T0 + 35 * S)
    over = replace(high, state=AlarmState.LATCHED, changed_at_ns=T0 + 40 * S)
    log = [frame_at(seq) for seq in range(300)]
    with black_box(tmp_path) as box:
        play(box, log, [low, medium, high, over])
        assert box.status.captures == 2
    assert seqs_in(capture_of(tmp_path, medium)) == list(range(120))
    assert seqs_in(capture_of(tmp_path, high)) == list(range(60, 180))
    named = name_captures([low, medium, over, hop(T0, GUN)])
    names = [each.capture if isinstance(each, Alarm) else each for each in named]
    assert names[:3] == [None, "0123456789abcdef-1-medium", "0123456789abcdef-1-high"]


def test_an_old_alarm_judged_again_after_a_restart_has_its_file_already(tmp_path: Path) -> None:
    again = replace(raised_at(30), changed_at_ns=T0 + 50 * S)  # it was unknown in between
    log = [frame_at(seq) for seq in range(240)]
    with black_box(tmp_path) as box:
        play(box, log, [raised_at(30)])
    with black_box(tmp_path) as after:
        after.resume([raised_at(30)], {GUN: T0 + 160 * S}, T0 + 160 * S)
        play(after, log[160:], [again])
        assert after.status.captures == 0
    assert seqs_in(capture_of(tmp_path, again)) == list(range(40, 160))


@pytest.mark.parametrize("away_s", [0, 3600])
def test_a_capture_that_a_kill_left_open_goes_on_after_it(tmp_path: Path, away_s: int) -> None:
    """All was committed that came before the kill, and none of it comes again."""
    log = [frame_at(seq) for seq in range(240)]
    writer = CaptureWriter()
    box = BlackBox(CaptureFolder(tmp_path, PLENTY), PLENTY, writer)
    play(box, log[:130], [raised_at(30)])
    writer.close()
    away_ns = away_s * S  # a broker without a log stamps what comes when it is read
    late = [each._replace(received_at_ns=each.received_at_ns + away_ns) for each in log[130:]]
    with black_box(tmp_path) as after:
        after.resume([raised_at(30)], {GUN: T0 + 32 * S}, log[129].received_at_ns)
        after.took([], [], late[0].received_at_ns)
        assert after.status.open == 1
        play(after, late, [])
        assert after.status.open == 0
    assert seqs_in(capture_of(tmp_path, raised_at(30))) == [*range(40, 120), *range(130, 160)]


def test_a_capture_of_long_before_a_restart_is_not_opened_again(tmp_path: Path) -> None:
    with black_box(tmp_path) as after:
        after.resume([raised_at(30)], {GUN: T0 + 30 * S + blackbox.UNFINISHED_NS + 1}, T0)
        assert after.status.open == 0


def test_a_disk_that_refuses_or_is_slow_is_told_of_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    log = [frame_at(seq) for seq in range(240)]
    with black_box(tmp_path / "file") as box:
        play(box, log, [raised_at(30)])
    assert box.status.failed == 2
    assert "file" in str(box.status.last_error)
    monkeypatch.setattr(writing, "WAITING_BYTES_MAX", 1_000)
    with black_box(tmp_path / "other") as box:
        play(box, log, [raised_at(30)])
        assert box.status.dropped == 2


def test_what_is_no_frame_is_kept_beside_the_frames(tmp_path: Path) -> None:
    broken = frame_at(100)._replace(payload=b"no frame")
    log = [*(frame_at(seq) for seq in range(100)), broken, Received(broken[0], "elsewhere", b"")]
    with black_box(tmp_path) as box:
        play(box, log, [raised_at(24)])
    path = capture_of(tmp_path, raised_at(24))
    assert path is not None
    assert broken.payload in {row.payload for row in read_recording(path)}


def test_a_capture_of_a_long_session_can_be_judged_again(tmp_path: Path) -> None:
    """What began an hour before the frames is dated just before them."""
    log = [*spoken(at_ns=T0 - 3600 * S), *(frame_at(seq) for seq in range(200))]
    with black_box(tmp_path) as box:
        play(box, log, [raised_at(30)])
    path = capture_of(tmp_path, raised_at(30))
    assert path is not None
    rows = list(read_recording(path))
    first = next(row for row in rows if row.topic.endswith("telemetry"))
    assert [row.received_at_ns for row in rows[:2]] == [first.received_at_ns - 3 * S] * 2


# Whole sessions.


@contextmanager
def logging_sessions(directory: Path) -> Iterator[BlackBox]:
    writer = CaptureWriter()
    folder = CaptureFolder(directory, PLENTY)
    box = BlackBox(folder, PLENTY, writer, SessionLog(folder, writer))
    try:
        yield box
    finally:
        box.close()
        writer.close()


def play_sessions(box: BlackBox, messages: Sequence[Received], session_id: str | None) -> None:
    """Every frame gives its hop a frame later, as with a reorder window."""
    for message in messages:
        made = hop(message.received_at_ns, GUN, session_id=session_id)
        box.took([message], [made], message.received_at_ns)


def test_a_session_is_kept_whole_in_pieces_of_a_minute(tmp_path: Path) -> None:
    frames = [frame_at(seq) for seq in range(700)]
    with logging_sessions(tmp_path) as box:
        box.took(spoken(), [], T0)
        play_sessions(box, frames[:20], None)
        play_sessions(box, frames[20:600], "s-01")
        play_sessions(box, frames[600:], None)
    files = session_files(tmp_path, GUN, "s-01")
    assert len(files) == 3
    seqs = [seq for file in files for seq in seqs_in(file)]
    assert set(range(20, 600)) <= set(seqs)
    assert seqs == sorted(seqs)
    assert min(seqs) >= 12
    assert max(seqs) <= 600
    first = next(iter(read_recording(files[0])))
    assert first.payload == spoken()[0].payload
    assert session_files(tmp_path, GUN, "../../etc") == []


def test_of_a_session_the_pieces_of_a_part_are_found_also_before_there_is_one(
    tmp_path: Path,
) -> None:
    """In its first minute it has none: whoever looks at it then sees what the alarms kept."""
    with logging_sessions(tmp_path) as box:
        play_sessions(box, [frame_at(seq) for seq in range(700)], "s-01")
    files = session_files(tmp_path, GUN, "s-01")
    begin, end = frame_at(0).received_at_ns, frame_at(700).received_at_ns
    assert pieces_within(files, begin, end) == files
    assert pieces_within(files, end - 1_000_000_000, end) == files[-1:]
    assert pieces_within([], begin, end) == []


def test_a_session_goes_on_in_further_pieces_after_a_kill(tmp_path: Path) -> None:
    frames = [frame_at(seq) for seq in range(600)]
    writer = CaptureWriter()
    folder = CaptureFolder(tmp_path, PLENTY)
    box = BlackBox(folder, PLENTY, writer, SessionLog(folder, writer))
    play_sessions(box, frames[:300], "s-01")
    writer.close()  # as with kill -9: what was not handed over is gone
    with logging_sessions(tmp_path) as after:
        play_sessions(after, frames[300:], "s-01")
    seqs = [seq for file in session_files(tmp_path, GUN, "s-01") for seq in seqs_in(file)]
    lost = set(range(600)) - set(seqs)
    assert lost == set(range(min(lost), 300))
    assert len(lost) <= 240, "a minute at most"


def test_captures_after_a_restart_begin_with_what_was_said_before_it(tmp_path: Path) -> None:
    """Of a birth and a session that were committed long ago, no broker says anything again."""
    captures, said = tmp_path / "alarms", tmp_path / "said.parquet"
    for begin in (0, 100):
        writer = CaptureWriter()
        box = BlackBox(CaptureFolder(captures, PLENTY), PLENTY, writer, said=said)
        frames = [frame_at(seq) for seq in range(begin, begin + 100)]
        alarms = [raised_at(50 / 4 + 25)] if begin else []
        play(box, frames if begin else [*spoken(), *frames], alarms)
        writer.close()  # as with kill -9: nobody closes the box
    rows = [*read_recording(capture_of(captures, raised_at(37.5)) or tmp_path)]
    assert [row.payload for row in rows[:2]] == [row.payload for row in spoken()]
    assert stat.S_IMODE(said.stat().st_mode) == 0o600
