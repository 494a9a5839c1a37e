"""`myoguard demo` as a newcomer runs it: a process with its own broker, guns and page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import servers

READY_S_MAX = 240.0  # a cold start compiles for half a minute; a busy machine takes its time


class Demo:
    """A running demo and what it has printed so far."""

    def __init__(self, *words: object, **environment: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", "demo", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **{name: str(value) for name, value in environment.items()}},
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self._lines.extend(iter(self.process.stdout.readline, ""))

    @property
    def said(self) -> str:
        return "".join(self._lines)

    def until(self, pattern: str) -> re.Match[str]:
        """Wait until it has said so."""
        servers.until(
            lambda: re.search(pattern, self.said) or self.process.poll() is not None,
            f"the demo says {pattern!r}",
            READY_S_MAX,
        )
        found = re.search(pattern, self.said)
        assert found is not None, self.said
        return found

    def end(self, deadline_s: float = servers.DEADLINE_S) -> int:
        """Its exit code, with everything it said in `said`."""
        code = self.process.wait(deadline_s)
        self._reader.join()
        return code


@contextmanager
def demo(*words: object, **environment: object) -> Iterator[Demo]:
    running = Demo(*words, **environment)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()
