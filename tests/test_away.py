"""Guns that nobody hears of for a day: their place is another's, and they come back whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from clinic import ADA, BOB, END, EVE, OFF, START, Clinic, Touch, monitor_of, of, run, told
from clinic_log import SEED, clinic_log

from pipeline import wire
from pipeline.features import FeatureExtractor
from pipeline.model import ActionKind, DeadLetter, Frame, Received, Record
from pipeline.monitor import Monitor, MonitorSettings

HOUR_NS = 3_600_000_000_000
EVENING_S = 3.0


@pytest.fixture(scope="module")
def days() -> list[Sequence[Received]]:
    """An evening of three guns; two of them a day and a half later, one of those switched on anew.

    A fourth comes in between, when the others' slots are free.
    """
    print(f"seed {SEED}")
    log = clinic_log(4, 2 * EVENING_S)
    start_ns = log[0].received_at_ns
    guns = sorted({row.topic.split("/")[3] for row in log})
    evening = [row for row in log if row.received_at_ns < start_ns + EVENING_S * 1e9]
    morning = [row for row in log if row.received_at_ns >= start_ns + EVENING_S * 1e9]
    new_boot = [changed(row, 36, boot=True) for row in of_guns(morning, guns[1:2])]
    late = [changed(row, 36) for row in of_guns(morning, guns[:1])]
    return [
        of_guns(evening, guns[:3]),
        [changed(row, 30) for row in of_guns(evening, guns[3:])],
        sorted([*late, *new_boot], key=lambda row: row.received_at_ns),
    ]


def of_guns(log: Sequence[Received], guns: Sequence[str]) -> list[Received]:
    return [row for row in log if row.topic.split("/")[3] in guns]


def changed(row: Received, hours: int, *, boot: bool = False) -> Received:
    """The same so many hours later; `boot`: by another power-on."""
    received_at_ns = row.received_at_ns + hours * HOUR_NS
    message = wire.decode(row.topic, row.payload)
    if not isinstance(message, Frame):
        return row._replace(received_at_ns=received_at_ns)
    message = replace(message, t0_ns=message.t0_ns + hours * HOUR_NS)
    if boot:
        message = replace(message, boot_id=message.boot_id ^ 1)
    return Received(received_at_ns, *wire.encode(message))


def watched(days: Sequence[Sequence[Received]], *, restarts: bool = False) -> list[list[Record]]:
    """The records of each day; with `restarts`, from a snapshot between every two."""
    monitor, said = Monitor(MonitorSettings(), FeatureExtractor()), []
    for day in days:
        said.append([*monitor.tick(day[0].received_at_ns), *monitor.feed(day)])
        if restarts:
            data = monitor.snapshot()
            monitor = Monitor(MonitorSettings(), FeatureExtractor())
            monitor.restore(data)
            assert monitor.snapshot() == data
    return said


@pytest.mark.parametrize("restarts", [False, True], ids=["running", "restarted"])
def test_guns_that_were_away_go_on_as_if_they_had_not_been(
    days: list[Sequence[Received]], monkeypatch: pytest.MonkeyPatch, restarts: bool
) -> None:
    left = watched(days, restarts=restarts)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.monitor.gun.GONE_NS", 10**18)
        stayed = watched(days)
    assert all(left)
    assert left == stayed


def test_only_those_away_for_a_day_leave_and_their_slots_are_used_again(
    days: list[Sequence[Received]],
) -> None:
    monitor = Monitor(MonitorSettings(), FeatureExtractor())
    monitor.feed(days[0])
    last_ns = days[0][-1].received_at_ns
    monitor.tick(last_ns + 23 * HOUR_NS)
    assert (monitor.devices, monitor.devices_away) == (3, 0)
    full = len(monitor.snapshot())
    monitor.tick(last_ns + 26 * HOUR_NS)
    assert (monitor.devices, monitor.devices_away) == (0, 3)
    assert len(monitor.snapshot()) < 0.8 * full
    monitor.feed(days[1])
    monitor.feed(days[2])
    assert (monitor.devices, monitor.devices_away) == (3, 1)


def test_a_latched_alarm_of_a_gun_that_is_away_is_reset_by_a_person() -> None:
    clinic = Clinic().birth(ADA).session(ADA, START, site="calf_left", avoid=("calf_left",))
    clinic.hops(ADA, Touch(), 5).session(ADA, END).hops(ADA, OFF, 5)
    monitor = monitor_of()
    assert "latched" in {state for _, state, _ in told(run(clinic, monitor), "NO_GO_SITE")}
    clinic.log.clear()
    clinic.wait(2 * 86_400)
    monitor.tick(clinic.now_ns)
    assert (monitor.devices, monitor.devices_away) == (0, 1)
    clinic.act(ADA, "NO_GO_SITE", ActionKind.RESET)
    assert [state for _, state, _ in told(run(clinic, monitor), "NO_GO_SITE")] == ["cleared"]
    assert (monitor.devices, monitor.devices_away) == (1, 0)


def test_in_a_full_fleet_who_comes_back_has_a_place_and_new_names_do_not() -> None:
    clinic, monitor = Clinic().hops(ADA, OFF, 1), monitor_of(devices_max=1)
    run(clinic, monitor)
    clinic.log.clear()
    clinic.wait(26 * 3_600)
    monitor.tick(clinic.now_ns)
    clinic.hops(BOB, OFF, 1).hops(EVE, OFF, 1).hops(ADA, OFF, 1)
    records = run(clinic, monitor)
    assert {letter.topic.split("/")[3] for letter in of(records, DeadLetter)} == {EVE.device}
    assert (monitor.devices, monitor.devices_away) == (2, 0)
    monitor.tick(clinic.wait(26 * 3_600).now_ns)
    assert (monitor.devices, monitor.devices_away, monitor.devices_forgotten) == (0, 1, 1)
