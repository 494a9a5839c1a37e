"""The demo as a newcomer runs it: in a process of its own, with its own broker, guns and page."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
import servers

from pipeline.cli.demo_screen import Books
from pipeline.cli.fleet import FleetBooks
from pipeline.model import Counters

READY_S_MAX = 120.0  # a cold start compiles for half a minute, and again as long on a busy machine
EQUATION = re.compile(
    r"frames published (\d+)(?: \(and \d+ perhaps twice\))? = processed (\d+) \+ rejected (\d+) "
    r"\+ duplicate (\d+) \+ late (\d+); lost 0"
)


class Demo:
    """A running demo and what it has printed so far."""

    def __init__(self, *words: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", "demo", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
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
def demo(*words: object) -> Iterator[Demo]:
    running = Demo(*words)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()


def test_ninety_seconds_show_every_main_alarm_and_lose_nothing(tmp_path: Path) -> None:
    with demo("--seconds", "90", "--port", "0", "--data", tmp_path) as shown:
        address = shown.until(r"Page: (http://\S+)")[1]
        shown.until("First live value")
        assert "MyoGuard" in httpx.get(address, timeout=servers.DEADLINE_S).text
        assert shown.end(READY_S_MAX) == 0, shown.said
    for rule in ("OVERDWELL", "EXCESS_PRESSURE", "TENDON_PROXIMITY"):
        row = re.search(rf"^ {rule} +(\d+) +(\d+) *$", shown.said, re.MULTILINE)
        assert row is not None, shown.said
        raised, cleared = map(int, row.groups())
        assert raised >= cleared >= 1, (rule, shown.said)
        transition = rf"^\d\d:\d\d:\d\d  gun-\d\d   {rule} +active_unack +[\d.]+ / [\d.]+"
        assert re.search(transition, shown.said, re.MULTILINE), shown.said
    equation = EQUATION.search(shown.said)
    assert equation is not None, shown.said
    published, *parts = map(int, equation.groups())
    assert published == sum(parts) > 90 * 8 * 4
    assert "Traceback" not in shown.said


def test_one_directory_is_one_demo_at_a_time_even_after_a_kill(tmp_path: Path) -> None:
    words = ("--guns", "1", "--no-page", "--data", tmp_path)
    with demo(*words) as first:
        first.until("First live value")
        with demo(*words) as second:
            assert second.end() == 1
        assert re.fullmatch(r"myoguard: A demo is running in .+--data\n", second.said)
        helpers = psutil.Process(first.process.pid).children(recursive=True)
        fleet = [helper for helper in helpers if "simulate" in helper.cmdline()]
        assert fleet
        first.process.send_signal(signal.SIGKILL)
        first.end()
    servers.until(lambda: not any(map(_is_running, fleet)), "the guns hear of it and stop")
    with demo(*words) as third:
        third.until("First live value")
        assert not any(map(_is_running, helpers)), "the killed demo's broker runs on"
        third.process.send_signal(signal.SIGINT)
        assert third.end() == 0, third.said
    assert EQUATION.search(third.said), third.said
    assert not any(_is_running(helper) for helper in helpers)


def _is_running(process: psutil.Process) -> bool:
    """Not a zombie either, whom a container's first process may never bury."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


# The books.


def test_books_balance_when_every_frame_is_somewhere() -> None:
    counters = Counters(
        frames_processed=90, frames_rejected=4, frames_duplicate=5, frames_late=1, frames_missing=9
    )
    books = Books(FleetBooks(100, 0, 0.0), counters)
    assert books.balance
    assert EQUATION.fullmatch(str(books))


@pytest.mark.parametrize(("published", "repeated"), [(101, 0), (99, 0), (97, 2)])
def test_books_do_not_balance_when_one_is_missing_or_too_many(
    published: int, repeated: int
) -> None:
    books = Books(FleetBooks(published, repeated, 0.0), Counters(frames_processed=100))
    assert not books.balance
    assert "≠" in str(books)
    assert books.lost == max(0, published - 100)


def test_a_repeated_frame_may_have_come_twice() -> None:
    assert Books(FleetBooks(98, 3, 0.0), Counters(frames_processed=100)).balance
