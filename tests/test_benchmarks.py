"""`make bench`: its page is of the parts that there are, and says of aims what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from itertools import takewhile

import numpy as np
import pytest

from benchmarks import flow, page, profile, rig
from benchmarks.__main__ import PARTS
from benchmarks.table import Aim, Table, digits, figure


def section(part: str) -> Iterator[str]:
    """The lines that the committed page has of a part."""
    _, mark, after = page.PAGE.read_text(encoding="utf-8").partition(page.again(part))
    assert mark, f"docs/performance.md has no {part}: run `make bench`"
    return takewhile(lambda line: not line.startswith("## "), after.splitlines())


@pytest.mark.parametrize("part", PARTS)
def test_the_page_has_the_table_of_every_part(part: str) -> None:
    rows = [line for line in section(part) if line.startswith("| ")]
    assert len(rows) > 2


def test_the_page_has_no_part_that_is_gone() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert text.count("make bench ARGS=") == len(PARTS)


@pytest.mark.parametrize("part", PARTS)
def test_every_part_is_a_module_with_a_table(part: str) -> None:
    assert callable(import_module(f"benchmarks.{part}").table)


def test_an_aim_is_met_or_says_why_not() -> None:
    aims = (Aim("fast", "1 µs", True, "never said"), Aim("small", "9 MB", False, "large parts"))
    text = page.written({"flow": Table("Title", ("a",), [("1",)], aims=aims)}, 61.0, "quiet")
    assert "| fast | 1 µs | met |" in text
    assert "| small | 9 MB | not met: large parts |" in text
    assert "never said" not in text


def test_a_figure_is_the_median_with_its_quartiles() -> None:
    assert figure([4.0, 1.0, 2.0, 3.0, 5.0], "s") == "3.00 s (2.00 to 4.00)"
    assert [digits(x) for x in (0.0123, 12_345.6, 0.0)] == ["0.0123", "12,346", "0"]


def test_a_sample_is_on_the_account_of_the_innermost_that_has_one() -> None:
    way = "run (/x/pipeline/app/flow.py)"
    feed = "feed (/x/pipeline/monitor/fleet.py)"
    shares = profile.shares_of(
        [
            f"{way};{feed};decode (/x/pipeline/wire/frame.py);crc 1",
            f"{way};{feed} 1",
            f"{way};put (/lib/asyncio/queues.py) 1",
            "epoll (/lib/selectors.py) 1",
            # these wait
            "run (/lib/threading.py);_worker (/lib/concurrent/futures/thread.py) 7",
            f"{way};Condition.wait (/lib/threading.py) 5",
            "serve_forever (/lib/socketserver.py);_PollLikeSelector.select (/lib/selectors.py) 3",
        ]
    )
    names = ("decode", "monitor", "loop, checkpoints, metrics")
    assert [shares[name] for name in names] == [0.25, 0.25, 0.25]
    assert sum(shares.values()) == pytest.approx(1.0)


def run(kind: str, guns: int, us: float, **more: float) -> rig.Run:
    measured = {"lag_s_max": 0.1, "lost": 0, "memory_bytes": 1e8 + 20_000 * guns} | more
    return rig.Run(
        kind, guns, 4.0 * guns, 4.0 * guns, us, 10.0, 2.0,
        latencies_ms=tuple(np.linspace(10.0, 40.0, 100)), **measured,  # type: ignore[arg-type]
    )  # fmt: skip


def test_the_aims_of_the_whole_way_follow_from_its_runs() -> None:
    late = run("nats", 4_000, 150.0, lag_s_max=9.0)
    runs = [run(kind, guns, 150.0) for kind, guns, _ in flow.RUNS if guns != late.guns]
    aims = {aim.what: aim for aim in flow.aims([*runs, late])}
    assert [aim.what for aim in aims.values() if not aim.met] == ["4,000 guns over nats"]
    assert "lag 9.00 s" in aims["4,000 guns over nats"].why_not
