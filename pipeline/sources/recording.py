"""Recordings (one Parquet row a message) as a source, which needs no commit."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Final, Self

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.model import Received
from pipeline.sources.source import BATCH_MESSAGES, Batch, Position, SourceError

_COLUMNS: Final = {"received_at_ns": pa.int64(), "topic": pa.string(), "payload": pa.binary()}


class RecordingSource:
    """Recordings (one Parquet row a message) as one log, merged by `received_at_ns`.

    Reads a batch of rows of each file at a time. Committing does nothing: a recording stays.
    """

    keeps_arrival_times = True
    caught_up = False  # until its end there is always more

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._files: list[pq.ParquetFile] = []
        self._opened = ExitStack()

    async def __aenter__(self) -> Self:
        with ExitStack() as opened:
            for path in self._paths:
                self._files.append(opened.enter_context(_open_recording(path)))
            self._opened = opened.pop_all()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._opened.close()

    async def batches(self) -> AsyncIterator[Batch]:
        """At most 512 messages each, as fast as they are taken."""
        rows = heapq.merge(
            *(_rows(path, file) for path, file in zip(self._paths, self._files, strict=True)),
            key=lambda row: row.received_at_ns,
        )
        yielded_count = 0
        while messages := list(islice(rows, BATCH_MESSAGES)):
            yielded_count += len(messages)
            yield Batch(messages, Position(yielded_count))
            await asyncio.sleep(0)  # replaying is all work and no waiting: others get their turn

    async def commit(self, position: Position) -> None:
        """Nothing to let go of."""


def _open_recording(path: Path) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"Cannot read the recording {path} ({error})") from None
    schema = file.schema_arrow
    for name, kind in _COLUMNS.items():
        if name not in schema.names or schema.field(name).type != kind:
            file.close()
            raise SourceError(
                f"{path} is no recording: it needs a column {name} of type {kind}; "
                "`myoguard record` writes such files"
            )
    return file


def _rows(path: Path, file: pq.ParquetFile) -> Iterator[Received]:
    try:
        for rows in file.iter_batches(BATCH_MESSAGES, columns=list(_COLUMNS)):
            columns = [rows.column(name) for name in _COLUMNS]
            if any(column.null_count for column in columns):
                raise SourceError(f"The recording {path} has an empty cell; no column may be null")
            yield from map(Received, *(column.to_pylist() for column in columns))
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"The recording {path} is damaged ({error})") from None
