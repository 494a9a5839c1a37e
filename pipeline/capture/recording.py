"""Recordings: messages as the broker delivered them, one Parquet row each, in order of arrival.

Columns `received_at_ns` (int64), `topic` (string), `payload` (binary), zstd. May import `model`
only. A recording appears under its name when it is complete and on the disk; until then it has the
ending `.part`. Both ways hold one row group in memory, never the whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.model import Received

PART_SUFFIX = ".part"
_SCHEMA = pa.schema(
    [("received_at_ns", pa.int64()), ("topic", pa.string()), ("payload", pa.binary())]
)
_TYPES = {
    "received_at_ns": (pa.int64(),),
    "topic": (pa.string(), pa.large_string()),
    "payload": (pa.binary(), pa.large_binary()),
}

# What both sides hold in memory at once: 17 minutes of one gun at 4 frames a second, or half a
# second of 2,000 guns. Engineering choices.
ROW_GROUP_MESSAGES_MAX = 4_096
ROW_GROUP_BYTES_MAX = 16 * 2**20
_READ_MESSAGES = 1_024  # at once, out of a row group


class RecordingError(Exception):
    """A recording that cannot be written or read; one sentence with the file and the remedy."""


class RecordingExistsError(RecordingError):
    """There is one of that name, or one is being written."""


class RecordingWriteError(RecordingError):
    """The disk refused it."""


class RecordingMissingError(RecordingError):
    """There is no such file."""


class RecordingFormatError(RecordingError):
    """The file is not a recording, or is damaged."""


class RecordingWriter:
    """Writes a recording. `close`, or the end of a `with` whatever ended it, completes it.

    With `replace`, one of that name is replaced at once when the new one is complete.
    """

    def __init__(self, path: Path, *, replace: bool = False) -> None:
        if not replace and path.exists():
            raise RecordingExistsError(
                f"the recording {path} exists already: choose another name, or delete it"
            )
        self.path = path
        self._part = path.with_name(path.name + PART_SUFFIX)
        self._file: IO[bytes] = _create(self._part)
        self._writer = pq.ParquetWriter(
            self._file,
            _SCHEMA,
            compression="zstd",
            use_dictionary=["topic"],
            # The smallest and greatest payload say nothing and would fill the footer.
            write_statistics=["received_at_ns"],
            write_page_checksum=True,
        )
        self._pending: list[Received] = []
        self._pending_bytes = 0

    def append(self, message: Received) -> None:
        """Add one message. RecordingWriteError: the recording is given up and its part deleted."""
        self._pending.append(message)
        self._pending_bytes += len(message.payload) + len(message.topic)
        if (
            len(self._pending) >= ROW_GROUP_MESSAGES_MAX
            or self._pending_bytes >= ROW_GROUP_BYTES_MAX
        ):
            with self._given_up_on_error():
                self._write_row_group()

    def close(self) -> None:
        """Complete the recording and give it its name. Closing twice does nothing."""
        if self._file.closed:
            return
        with self._given_up_on_error():
            self._write_row_group()
            self._writer.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._part.replace(self.path)
            _sync_directory(self.path.parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _write_row_group(self) -> None:
        if self._pending:
            columns = zip(*self._pending, strict=True)
            arrays = [pa.array(c, f.type) for c, f in zip(columns, _SCHEMA, strict=True)]
            self._writer.write_table(pa.table(arrays, schema=_SCHEMA))
            self._file.flush()
            self._pending, self._pending_bytes = [], 0

    @contextmanager
    def _given_up_on_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            with suppress(OSError):  # what it still buffers does not fit either
                self._file.close()
            self._part.unlink(missing_ok=True)
            raise RecordingWriteError(
                f"the recording {self.path} could not be written ({error.strerror or error}): "
                "free space on its disk, or choose another place"
            ) from error


def read_recording(path: Path) -> Iterator[Received]:
    """The messages of a recording, in order.

    Raises RecordingMissingError or RecordingFormatError at once where the file is not a recording,
    and RecordingFormatError on the way where a part of it is damaged.
    """
    return _messages(path, _open(path))


def count_messages(path: Path) -> int:
    """How many messages a recording holds, read from its footer."""
    with _open(path) as recording:
        return int(recording.metadata.num_rows)


def _create(part: Path) -> IO[bytes]:
    """A new file only its owner can read: a recording says who was treated when, and by whom."""
    try:
        return os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except FileExistsError as error:
        raise RecordingExistsError(
            f"{part} is being written, or was cut short by a crash and cannot be read: "
            "wait for it, delete it, or choose another name"
        ) from error
    except OSError as error:
        raise RecordingWriteError(
            f"{part} cannot be created ({error.strerror}): choose a directory that is there "
            "and can be written"
        ) from error


def _sync_directory(directory: Path) -> None:
    """Make the new name last through a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open(path: Path) -> pq.ParquetFile:
    try:
        recording = pq.ParquetFile(path, page_checksum_verification=True)
    except FileNotFoundError as error:
        raise RecordingMissingError(
            f"there is no recording {path}: check the name, or make one with `myoguard record`"
        ) from error
    except (pa.ArrowException, OSError) as error:
        raise RecordingFormatError(
            f"{path} cannot be read as Parquet: give a file that `myoguard record` has completed"
        ) from error
    if not _has_columns(recording.schema_arrow):
        found = ", ".join(f"{f.name} {f.type}" for f in recording.schema_arrow)
        recording.close()
        raise RecordingFormatError(
            f"{path} is not a recording, its columns are ({found}): "
            "it must have received_at_ns int64, topic string and payload binary"
        )
    return recording


def _has_columns(schema: pa.Schema) -> bool:
    return all(
        schema.get_field_index(name) >= 0 and schema.field(name).type in types
        for name, types in _TYPES.items()
    )


def _messages(path: Path, recording: pq.ParquetFile) -> Iterator[Received]:
    done = 0
    with recording:
        try:
            for batch in recording.iter_batches(_READ_MESSAGES, columns=list(_TYPES)):
                columns = [batch.column(name) for name in _TYPES]
                if any(column.null_count for column in columns):
                    raise RecordingFormatError(_damaged(path, done, "a value is missing"))
                yield from map(Received, *(column.to_pylist() for column in columns))
                done += batch.num_rows
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise RecordingFormatError(_damaged(path, done, str(error))) from error


def _damaged(path: Path, messages: int, reason: str) -> str:
    words = " ".join(reason.split())
    return (
        f"{path} is damaged after its first {messages} messages ({words}): "
        "use another copy of it, or record again"
    )
