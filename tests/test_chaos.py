"""`make chaos` in short: everything dies, nothing is lost; and a seed is all there is to a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.nursery import Nursery
from chaos.plan import Event, Plan, Size, make_plan
from chaos.run import run

SHORT = Size(guns=2, seconds=48.0, publish_s=7.0, kills=3)
SEED = 7


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as opened:
        yield opened


def test_nothing_is_lost_or_doubled_whatever_dies(nursery: Nursery, tmp_path: Path) -> None:
    """From nats-server's log: the one source of whose broker all may die."""
    print(f"seed {SEED}")
    plan = make_plan(SEED, SHORT, kill_broker=True)
    outcome = run(plan, "nats", "nats", nursery, tmp_path, lambda _words: None)
    assert outcome.balance.faults == ()
    assert (outcome.balance.lost, outcome.balance.doubled, outcome.balance.late) == (0, 0, 0)
    assert outcome.balance.spoilt > 0
    assert outcome.balance.records > 0
    assert outcome.balance.points > 0
    assert outcome.kills > 0
    assert (outcome.broker_kills, outcome.influx_kills) == (1, 2)


def test_a_seed_decides_a_run_and_another_one_another() -> None:
    def plan(seed: int) -> Plan:
        return make_plan(seed, SHORT, kill_broker=True)

    assert plan(1) == plan(1)
    assert plan(1).guns != plan(2).guns
    assert plan(1).steps != plan(2).steps
    assert {step.event for step in plan(1).steps} == set(Event)
