"""The demo from its first word to its books."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import httpx
import psutil
import pytest
import servers
from running_demo import READY_S_MAX, demo

from pipeline.cli.demo_screen import Books
from pipeline.cli.fleet_process import FleetBooks
from pipeline.model import Counters

EQUATION = re.compile(
    r"frames published (\d+)(?: \(and \d+ perhaps twice\))? = processed (\d+) \+ rejected (\d+) "
    r"\+ duplicate (\d+) \+ late (\d+); lost 0"
)


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
