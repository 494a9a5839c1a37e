"""Records to put into a store, and what a store then holds, for the tests of the store."""

from __future__ import annotations

import contextlib
import math
import random
import sqlite3
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from pipeline.model import (
    Alarm,
    AlarmState,
    DeadLetter,
    DeviceId,
    DeviceStatus,
    Features,
    MotorState,
    OperatorExposure,
    OutboundRecord,
    Priority,
    Quality,
    Record,
    SessionSummary,
)
from pipeline.store import (
    schema,
)

SECOND_NS = 1_000_000_000
HOP_NS = SECOND_NS // 4
T0_NS = 1_790_000_000 * SECOND_NS  # a whole minute would hide errors at its edges: this is 20 s in
GUN = DeviceId("clinic-a", "gun-1")
OTHER = DeviceId("clinic-b", "gun-1")


def hop(t_ns: int, gun: DeviceId = GUN, **changes: Any) -> Features:
    numbers: dict[str, Any] = {f.name: 1.0 for f in fields(Features) if f.type == "float"}
    plain = Features(
        id=gun,
        t_ns=t_ns,
        motor=MotorState.RUNNING,
        contact=True,
        quality=Quality.GOOD,
        **numbers,
    )
    return replace(plain, **changes)


def alarm(
    rule: str, state: AlarmState, changed_at_ns: int = T0_NS, gun: DeviceId = GUN, **changes: Any
) -> Alarm:
    plain = Alarm(
        id=gun,
        alarm_id=f"{rule}-1",
        rule=rule,
        priority=Priority.MEDIUM,
        state=state,
        raised_at_ns=T0_NS,
        changed_at_ns=changed_at_ns,
        value=63.2,
        peak=71.0,
        setpoint=50.0,
        unit="N",
        session_id="s-01",
        site="calf_left",
        operator="op-7",
        count=1,
        quality=Quality.GOOD,
        config_version="abc",
    )
    return replace(plain, **changes)


def session(session_id: str, started_at_ns: int, gun: DeviceId = GUN) -> SessionSummary:
    return SessionSummary(
        id=gun,
        session_id=session_id,
        operator="op-7",
        client="c-1",
        started_at_ns=started_at_ns,
        ended_at_ns=None,
        contact_s=12.5,
        contact_s_by_site={"calf_left": 12.5},
        force_histogram_s=(1.0, 11.5),
        contact_force_n_mean=31.0,
        contact_force_n_max=44.0,
        dwell_s_max=9.0,
        alarms_by_rule={"OVERDWELL": 1},
        guidance=("keep moving",),
    )


def exposure(operator: str, day: str, clinic: str = "clinic-a") -> OperatorExposure:
    return OperatorExposure(clinic, operator, day, T0_NS, 5.0, 3600.0, 1.77, 50.0, 60.0, 400.0)


def status(online: bool, gun: DeviceId = GUN) -> DeviceStatus:
    return DeviceStatus(gun, T0_NS, online, "fx-16", "A12", "1.0.0", "ball", True, T0_NS)


def line(record: OutboundRecord, model: str | None, position: int) -> str:
    """How these tests encode what is spooled: everything, so that equal lines are equal records."""
    return f"{record!r} of {model} at {position}"


def random_log(seed: int, count: int) -> list[Record]:
    """Records of five guns as a bad day would bring them: clocks step, values are not numbers."""
    rng = random.Random(seed)
    guns = [DeviceId(f"clinic-{i % 2}", f"gun-{i}") for i in range(5)]
    clocks = {gun: T0_NS + rng.randrange(SECOND_NS) for gun in guns}
    log: list[Record] = []
    for i in range(count):
        gun = rng.choice(guns)
        clocks[gun] += HOP_NS
        if rng.random() < 0.01:
            clocks[gun] += rng.choice([-90, -2, 40, 3000]) * SECOND_NS
        others: list[Record] = [
            alarm(f"RULE_{i % 3}", rng.choice(list(AlarmState)), clocks[gun], gun, count=i),
            replace(session(f"s-{i % 7}", clocks[gun], gun), contact_s=rng.random()),
            replace(exposure(f"op-{i % 3}", "2026-09-21"), points=rng.random()),
            status(rng.random() < 0.7, gun),
            DeadLetter(clocks[gun], f"massage/v1/{i}", "crc", rng.randbytes(20)),
        ]
        log.append(rng.choice(others) if rng.random() < 0.2 else _random_hop(rng, gun, clocks[gun]))
    return log


def _random_hop(rng: random.Random, gun: DeviceId, t_ns: int) -> Features:
    return hop(
        t_ns,
        gun,
        motor=rng.choice(list(MotorState)),
        contact=rng.random() < 0.7,
        quality=rng.choice(list(Quality)),
        contact_force_n=math.nan if rng.random() < 0.05 else rng.uniform(0, 80),
        stiffness=rng.uniform(0, 2),
        percussion_hz=rng.uniform(20, 60),
        a_hv_m_s2=rng.uniform(0, 20),
    )


def dump(directory: Path) -> dict[str, list[tuple[object, ...]]]:
    """Everything in the store, table by table."""
    with contextlib.closing(sqlite3.connect(directory / schema.DATABASE_NAME)) as database:
        tables = database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        return {
            name: sorted(database.execute(f"SELECT * FROM {name}"), key=repr)  # noqa: S608 - ours
            for (name,) in tables
        }
