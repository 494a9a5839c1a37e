"""Recordings: what is written is read back, whole or not at all, and faults are named."""

from __future__ import annotations

import os
import random
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from resource import RLIMIT_FSIZE, getrlimit, setrlimit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import capture
from pipeline.capture import (
    RecordingError,
    RecordingExistsError,
    RecordingFormatError,
    RecordingMissingError,
    RecordingWriteError,
    RecordingWriter,
    count_messages,
    read_recording,
)
from pipeline.model import Received

ROOT = Path(__file__).parent.parent
MESSAGES = st.builds(
    Received,
    st.integers(-(2**63), 2**63 - 1),
    st.text(st.characters(codec="utf-8"), max_size=30),
    st.binary(max_size=200),
)


def messages(count: int, payload_bytes: int = 100) -> list[Received]:
    rng = random.Random(count)
    return [
        Received(i, f"massage/v1/a/{i % 3}", rng.randbytes(payload_bytes)) for i in range(count)
    ]


def record(path: Path, content: Iterable[Received]) -> Path:
    with RecordingWriter(path) as writer:
        for message in content:
            writer.append(message)
    return path


@settings(max_examples=50, deadline=None)
@given(st.lists(MESSAGES, max_size=20))
def test_every_message_is_read_back_as_it_was(content: list[Received]) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = record(Path(place) / "a.parquet", content)
        assert list(read_recording(path)) == content
        assert count_messages(path) == len(content)


@pytest.mark.parametrize(
    ("count", "payload_bytes", "groups"),
    [
        (capture.ROW_GROUP_MESSAGES_MAX, 10, 1),
        (capture.ROW_GROUP_MESSAGES_MAX + 1, 10, 2),
        (5, capture.ROW_GROUP_BYTES_MAX // 2, 3),
    ],
)
def test_row_groups_are_bounded_by_count_and_by_size(
    tmp_path: Path, count: int, payload_bytes: int, groups: int
) -> None:
    content = messages(count, payload_bytes)
    path = record(tmp_path / "a.parquet", content)
    assert pq.ParquetFile(path).num_row_groups == groups
    assert list(read_recording(path)) == content


def test_a_recording_has_the_columns_others_expect_and_is_private(tmp_path: Path) -> None:
    path = record(tmp_path / "a.parquet", messages(3))
    described = pq.ParquetFile(path)
    expected = {"received_at_ns": pa.int64(), "topic": pa.string(), "payload": pa.binary()}
    assert {f.name: f.type for f in described.schema_arrow} == expected
    assert described.metadata.row_group(0).column(2).compression == "ZSTD"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_recording_made_elsewhere_is_read(tmp_path: Path) -> None:
    """As other tools write it: large types, columns in another order, one more of them."""
    table = pa.table(
        {
            "payload": pa.array([b"MGF1", b"{}"], pa.large_binary()),
            "qos": pa.array([1, 1], pa.int8()),
            "topic": pa.array(["a", "b"], pa.large_string()),
            "received_at_ns": pa.array([5, 6], pa.int64()),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", compression="snappy")
    found = list(read_recording(tmp_path / "a.parquet"))
    assert found == [Received(5, "a", b"MGF1"), Received(6, "b", b"{}")]


def test_what_interrupts_a_recording_ends_it_whole(tmp_path: Path) -> None:
    path, content = tmp_path / "a.parquet", messages(10)
    with pytest.raises(KeyboardInterrupt):
        record(path, _interrupted_after(content))
    assert list(read_recording(path)) == content
    assert [p.name for p in tmp_path.iterdir()] == ["a.parquet"]


def _interrupted_after(content: list[Received]) -> Iterator[Received]:
    yield from content
    raise KeyboardInterrupt


def test_a_killed_recorder_leaves_no_recording_under_the_name(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    script = (
        "import sys; from pathlib import Path; from pipeline.model import Received;"
        "from pipeline.capture import RecordingWriter; w = RecordingWriter(Path(sys.argv[1]));"
        "[w.append(Received(i, 't', bytes(1000))) for i in range(10_000)];"
        "print('written', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as recorder:
        assert recorder.stdout is not None
        assert recorder.stdout.readline() == b"written\n"
        recorder.send_signal(signal.SIGKILL)
    assert not path.exists()
    with pytest.raises(RecordingExistsError, match="cut short by a crash"):
        RecordingWriter(path)
    (tmp_path / "a.parquet.part").unlink()
    record(path, messages(1))


def test_a_recording_is_never_written_over(tmp_path: Path) -> None:
    path = record(tmp_path / "a.parquet", messages(3))
    with pytest.raises(RecordingExistsError, match="exists already"):
        RecordingWriter(path)
    with RecordingWriter(tmp_path / "b.parquet"), pytest.raises(RecordingExistsError):
        RecordingWriter(tmp_path / "b.parquet")
    assert list(read_recording(path)) == messages(3)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingWriteError, match="choose a directory"):
        RecordingWriter(tmp_path / "nowhere" / "a.parquet")


def test_a_full_disk_gives_the_recording_up_with_a_word(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    with _files_no_larger_than(2**20), pytest.raises(RecordingWriteError) as error:
        record(path, messages(100, payload_bytes=2**16))
    assert str(path) in str(error.value)
    assert list(tmp_path.iterdir()) == []


@contextmanager
def _files_no_larger_than(size: int) -> Iterator[None]:
    soft, hard = getrlimit(RLIMIT_FSIZE)
    setrlimit(RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        setrlimit(RLIMIT_FSIZE, (soft, hard))


def _nothing(path: Path) -> None:
    assert not path.exists()


def _a_directory(path: Path) -> None:
    path.mkdir()


def _text(path: Path) -> None:
    path.write_text("received_at_ns,topic,payload\n")


def _cut_short(path: Path) -> None:
    record(path, messages(100))
    os.truncate(path, path.stat().st_size // 2)


def _other_columns(path: Path) -> None:
    pq.write_table(pa.table({"t_ns": [1], "force_n": [2.0]}), path)


def _other_types(path: Path) -> None:
    pq.write_table(pa.table({"received_at_ns": [1.5], "topic": ["a"], "payload": [b""]}), path)


@pytest.mark.parametrize(
    ("prepare", "expected", "words"),
    [
        (_nothing, RecordingMissingError, "myoguard record"),
        (_a_directory, RecordingFormatError, "cannot be read as Parquet"),
        (_text, RecordingFormatError, "cannot be read as Parquet"),
        (_cut_short, RecordingFormatError, "cannot be read as Parquet"),
        (_other_columns, RecordingFormatError, "t_ns int64, force_n double"),
        (_other_types, RecordingFormatError, "received_at_ns double"),
    ],
)
def test_what_is_not_a_recording_is_said_at_once_in_one_sentence(
    tmp_path: Path, prepare: Callable[[Path], None], expected: type[RecordingError], words: str
) -> None:
    path = tmp_path / "a.parquet"
    prepare(path)
    for read in (read_recording, count_messages):
        with pytest.raises(expected, match=words) as error:
            read(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


def test_a_missing_value_is_not_read_as_a_message(tmp_path: Path) -> None:
    table = pa.table({"received_at_ns": [1, 2], "topic": ["a", None], "payload": [b"", b""]})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(RecordingFormatError, match="a value is missing"):
        list(read_recording(tmp_path / "a.parquet"))


@pytest.mark.parametrize("seed", range(8))
def test_a_flipped_bit_is_found_and_what_precedes_it_is_read(tmp_path: Path, seed: int) -> None:
    print(f"{seed=}")
    content = messages(3 * capture.ROW_GROUP_MESSAGES_MAX)
    path = record(tmp_path / "a.parquet", content)
    last = pq.ParquetFile(path).metadata.row_group(2).column(2)
    damaged = bytearray(path.read_bytes())
    at = last.data_page_offset + random.Random(seed).randrange(64, last.total_compressed_size)
    damaged[at] ^= 1 << random.Random(seed).randrange(8)
    path.write_bytes(damaged)
    found: list[Received] = []
    with pytest.raises(RecordingFormatError, match="damaged after its first"):
        found.extend(read_recording(path))
    assert found == content[: len(found)]
    assert len(found) >= 2 * capture.ROW_GROUP_MESSAGES_MAX
