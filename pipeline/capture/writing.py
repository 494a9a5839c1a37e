"""Writing captures on a thread of its own, in order, so that the event loop never waits for a disk.

What waits is bounded by its bytes; a piece that does not fit is dropped, and counted. A disk that
refuses costs that piece and is told of, and nothing else stops.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from pipeline.capture.folder import CaptureFolder, write
from pipeline.capture.recording import RecordingError
from pipeline.model import Received

# The captures of 160 guns at once, or 2 s of 2,000 whole sessions. Engineering choice.
WAITING_BYTES_MAX: Final = 64 * 2**20


class CaptureWriter:
    """One thread. `put` never waits; `close` does, for all that was put."""

    def __init__(self) -> None:
        self.dropped = 0  # pieces the disk was too slow for
        self.failed = 0  # pieces the disk refused
        self.last_error: str | None = None
        self._waiting_bytes = 0
        self._counting = threading.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="captures")

    def clean(self, folder: CaptureFolder) -> None:
        self._thread.submit(folder.clean)

    def put(self, folder: CaptureFolder, path: Path, messages: Sequence[Received]) -> None:
        """Have messages merged into a file of the folder."""
        size = sum(len(message.payload) for message in messages)
        if not messages:
            return
        self._submit(size, lambda: folder.merge(path, messages))

    def replace(self, path: Path, messages: Sequence[Received]) -> None:
        """Have a file replaced by one of these messages."""
        size = sum(len(message.payload) for message in messages)
        self._submit(size, lambda: write(path, messages))

    def close(self) -> None:
        self._thread.shutdown()

    def _submit(self, size: int, work: Callable[[], None]) -> None:
        if self._waiting_bytes + size > WAITING_BYTES_MAX:
            self.dropped += 1
            return
        self._count(size)
        self._thread.submit(self._do, size, work)

    def _do(self, size: int, work: Callable[[], None]) -> None:
        try:
            work()
        except (RecordingError, OSError) as error:
            self.failed += 1
            self.last_error = str(error)
        finally:
            self._count(-size)

    def _count(self, size: int) -> None:
        with self._counting:
            self._waiting_bytes += size
