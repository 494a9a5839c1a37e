"""One that misbehaves: what the others are told is what they are told without it.

Each offence is put among the messages of a clinic of two guns. What is recorded and stored of these
must not change, what is remembered of the offender must be bounded, and the offence counted.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import pytest
import servers
from clinic_log import SEED, clinic_log
from test_app import BY_SAMPLES, running, settings_for

from pipeline import wire
from pipeline.app import make_monitor
from pipeline.cli.gun_models import known_guns
from pipeline.config import load
from pipeline.features import FeatureExtractor
from pipeline.model import (
    Alarm,
    Counters,
    DeadLetter,
    DeviceId,
    Features,
    Frame,
    FrameFlag,
    OperatorExposure,
    Received,
    Record,
)
from pipeline.monitor import Monitor, MonitorSettings
from pipeline.store import AlarmFilter, SessionFilter, Store, StoreReader

SECONDS = 3.0
STRANGER = "stranger"
GUNS_MAX = 500
SECOND_NS = 1_000_000_000
YEAR_2100_NS = 4_102_444_800 * SECOND_NS
MEGABYTE = 2**20

Log = Sequence[Received]
Payloads = Iterator[tuple[str, bytes]]  # and the topics


@pytest.fixture(scope="module")
def log() -> Log:
    print(f"seed {SEED}")
    return clinic_log(2, SECONDS)


@dataclass(frozen=True)
class Offence:
    """`says` makes the messages out of a good frame; `counted` sees them in the counters.

    `bytes_max`: what is remembered of it, in a snapshot. `spared`: how many pass for good.
    """

    says: Callable[[Frame], Payloads]
    count: int
    counted: Callable[[Counters], int]
    bytes_max: int
    spared: int = 0


def topic(kind: str = "telemetry", device: str = STRANGER) -> str:
    return f"massage/v1/clinic-x/{device}/{kind}"


def frame_of(good: Frame, **changes: object) -> tuple[str, bytes]:
    device = DeviceId("clinic-x", str(changes.pop("device", STRANGER)))
    return wire.encode(replace(good, id=device, **changes))  # type: ignore[arg-type]


def a_hundred_times_its_rate(good: Frame) -> Payloads:
    for seq in range(2**32):
        yield frame_of(good, seq=seq, t0_ns=good.t0_ns + seq * SECOND_NS // 4)


def the_same_frame_for_ever(good: Frame) -> Payloads:
    while True:
        yield frame_of(good)


def numbers_at_random(good: Frame) -> Payloads:
    """Each frame from far before or after the last, so that nothing is ever in order."""
    for at in range(2**32):
        yield frame_of(good, seq=at * 0x9E37_79B1 % 2**32, boot_id=at % 3)


def names_without_end(good: Frame) -> Payloads:
    short = replace(good, samples_lsb=good.samples_lsb[:20])
    for at in range(2**32):
        device = f"{STRANGER}-{at}"
        if at % 2:
            yield frame_of(short, device=device)
        else:
            yield topic("session", device), b'{"session_id":"s","event":"start","t_ns":1}'


def megabytes(good: Frame) -> Payloads:
    starts = (frame_of(good)[1][:48], b"{", b'{"boot_id": ', b"[", b'"', b"\xff")
    for at in range(2**32):
        start = starts[at % len(starts)]
        kind = ("telemetry", "state", "session", "alarm/OVERDWELL/action", "command/result")[at % 5]
        yield topic(kind), start + bytes([0x20 + at % 64]) * MEGABYTE


def json_bombs(_good: Frame) -> Payloads:
    bombs = (
        b"[" * 500_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"boot_id": ' + b"9" * 60_000 + b"}",
        b'{"boot_id": 1e' + b"9" * 60_000 + b"}",
        b'{"online": true, "boot_id": 7, "more": [' + b"{}," * 20_000 + b"0]}",
        b'{"accel_g": [' + b"[1e308,1e308,1e308]," * 20_000 + b"0]}",
        b'{"online": "' + b"\\u0000" * 10_000 + b'"}',
        b'{"' + b"a" * 60_000 + b'": 1}',
    )
    for at in range(2**32):
        kind = ("telemetry", "state", "session", "alarm/OVERDWELL/action")[at % 4]
        yield topic(kind), bombs[at // 4 % len(bombs)]


def clocks(good: Frame) -> Payloads:
    """One of 1970, one of 2100, and one that cannot decide."""
    for at in range(2**32):
        passed_ns = at * SECOND_NS // 4
        for name, t0_ns in (("old", passed_ns), ("new", YEAR_2100_NS + passed_ns)):
            yield frame_of(good, device=f"{STRANGER}-{name}", seq=at, t0_ns=t0_ns)
        t0_ns = (passed_ns, YEAR_2100_NS + passed_ns)[at % 2]
        yield frame_of(good, device=f"{STRANGER}-both", seq=at, t0_ns=t0_ns)


def rejected(counters: Counters) -> int:
    return sum(counters.rejected.values())


def refused_for_room(counters: Counters) -> int:
    return counters.rejected.get("too_many_devices", 0)


A_GUN, A_REFUSAL = 10_000, 22
OFFENCES = {
    "flood": Offence(a_hundred_times_its_rate, 1_200, lambda c: c.frames_processed, A_GUN),
    "repeats": Offence(the_same_frame_for_ever, 1_200, lambda c: c.frames_duplicate, A_GUN, 1),
    "disorder": Offence(numbers_at_random, 1_200, lambda c: c.frames, 70 * A_GUN),
    "unknown": Offence(
        names_without_end,
        10_000,
        refused_for_room,
        GUNS_MAX * A_GUN + 10_000 * A_REFUSAL,
        GUNS_MAX - 2,
    ),
    "megabytes": Offence(megabytes, 60, rejected, 60 * A_REFUSAL),
    "bombs": Offence(json_bombs, 32, rejected, A_GUN, 1),
    "clocks": Offence(clocks, 240, lambda c: c.frames_processed, 3 * A_GUN),
}


def messages_of(log: Log, offence: Offence) -> Log:
    """Spread over the time of the log."""
    good = next(
        frame for row in log if isinstance(frame := wire.decode(row.topic, row.payload), Frame)
    )
    start_ns = log[0].received_at_ns
    step_ns = round(SECONDS * SECOND_NS) // offence.count
    said = islice(offence.says(good), offence.count)
    return [Received(start_ns + at * step_ns, *each) for at, each in enumerate(said)]


def among(log: Log, offending: Log) -> Log:
    return list(heapq.merge(log, offending, key=lambda row: row.received_at_ns))


def watched(messages: Log) -> tuple[list[Record], Monitor]:
    monitor = Monitor(MonitorSettings(devices_max=GUNS_MAX), FeatureExtractor())
    return monitor.feed(messages), monitor


def of_others(records: Sequence[Record]) -> list[Record]:
    def is_stranger(record: Record) -> bool:
        if isinstance(record, DeadLetter):
            return STRANGER in record.topic
        return not isinstance(record, OperatorExposure) and record.id.device.startswith(STRANGER)

    return [record for record in records if not is_stranger(record)]


def stored(directory: Path, records: Sequence[Record]) -> list[object]:
    """What a store says of the others."""
    with Store.open(directory) as store, StoreReader.open(directory) as reader:
        store.checkpoint(records, b"")
        guns = sorted({r.id for r in of_others(records) if isinstance(r, Features)})
        found: list[object] = [reader.feature_seconds(gun, 0, 2**62, limit=999) for gun in guns]
        alarms = reader.alarm_history(AlarmFilter(), limit=100_000)
        found += [said.alarm for said in alarms if said.alarm.id in guns]
        return found + [s for s in reader.sessions(SessionFilter()) if s.id in guns]


@pytest.mark.parametrize("name", OFFENCES)
def test_an_offender_changes_nothing_for_others(log: Log, tmp_path: Path, name: str) -> None:
    offence = OFFENCES[name]
    expected, undisturbed = watched(log)
    records, monitor = watched(among(log, messages_of(log, offence)))
    assert of_others(records) == expected
    assert stored(tmp_path / "with", records) == stored(tmp_path / "without", expected)
    before, now = undisturbed.counters, monitor.counters
    assert now.messages - before.messages == offence.count
    assert offence.counted(now) - offence.counted(before) == offence.count - offence.spared
    assert len(monitor.snapshot()) - len(undisturbed.snapshot()) < offence.bytes_max
    letters = [record for record in records if isinstance(record, DeadLetter)]
    assert max((len(letter.payload) for letter in letters), default=0) <= 4_096


def test_a_clock_of_another_age_says_so_though_the_gun_thinks_it_right(log: Log) -> None:
    records, _ = watched(messages_of(log, replace(OFFENCES["clocks"], count=150)))
    unsynced = {r.id.device for r in records if isinstance(r, Alarm) and r.rule == "CLOCK_UNSYNCED"}
    assert unsynced == {f"{STRANGER}-{name}" for name in ("old", "new")}
    first = wire.decode(*messages_of(log, OFFENCES["clocks"])[0][1:])
    assert isinstance(first, Frame)
    assert first.flags & FrameFlag.CLOCK_SYNCHRONISED


def test_all_of_them_at_once_over_a_broker(log: Log, tmp_path: Path) -> None:
    """The whole program, and messages of a megabyte on a real wire."""
    few = (replace(offence, count=min(offence.count, 50)) for offence in OFFENCES.values())
    offending = [messages_of(log, offence) for offence in few]
    messages = list(heapq.merge(log, *offending, key=lambda row: row.received_at_ns))
    with servers.mosquitto(tmp_path / "broker", window=5_000) as broker:
        settings = settings_for(tmp_path, broker)
        with running(settings) as pipeline:
            servers.publish(broker.port, [(row.topic, row.payload) for row in messages])
            servers.until(lambda: pipeline.counters.messages >= len(messages), "all is fed", 120.0)
    monitor = make_monitor(load(None), known_guns(settings))
    said = [r for r in of_others(monitor.feed(log)) if isinstance(r, Alarm)]
    with StoreReader.open(settings.store.directory) as reader:
        history = reader.alarm_history(AlarmFilter(), limit=100_000)
    told = [each.alarm for each in reversed(history)]
    assert of_rules(told) == of_rules(said)


def of_rules(alarms: Sequence[Alarm]) -> list[tuple[str, str, str, int]]:
    """What samples say, by gun; the rest is about when messages came."""
    return sorted(
        (a.id.device, a.rule, a.state.value, a.changed_at_ns)
        for a in of_others(alarms)
        if isinstance(a, Alarm) and a.rule in BY_SAMPLES
    )
