"""What the page costs the server with many guns and some browsers: the share of one core.

    python -m benchmarks.page_load [guns] [browsers] [seconds]

The page alone, as the pipeline serves it, in a process of its own; the board is told four times a
second that every gun measures something else, the store holds a second of each, three in ten have
an alarm. Browsers are Debian's Chromium in processes of their own, and are not counted.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import sys
import tempfile
import time
from dataclasses import fields
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from pipeline.accounts import Accounts
from pipeline.model import (
    UNKNOWN_SITE,
    Alarm,
    AlarmState,
    DeviceId,
    DeviceStatus,
    Features,
    Live,
    LiveGun,
    MotorState,
    Priority,
    Quality,
)
from pipeline.page import LiveBoard, Place, Sources, listen, serve
from pipeline.store import Store

CHROMIUM = "/usr/bin/chromium"
SEED = 20260921
LIVE_S = 0.25
UNITS = ("_hz", "_n", "_n_sd", "_s", "_deg_s", "_g", "_a", "_s2")
RULES = (
    ("EXCESS_PRESSURE", Priority.MEDIUM, "N", 63.2, 50.0),
    ("OVERDWELL_ADVISORY", Priority.LOW, "s", 20.0, 20.0),
    ("TENDON_PROXIMITY", Priority.HIGH, "1", 0.9, 0.5),
)


def main(guns: int = 200, browsers: int = 3, seconds: float = 20.0) -> None:
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    server = context.Process(target=_serve, args=(guns, theirs), daemon=True)
    server.start()
    address = ours.recv()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"], headless=True
        )
        pages = [
            chromium.new_context(viewport={"width": 1400, "height": 900}).new_page()
            for _ in range(browsers)
        ]
        for page in pages:
            page.goto(address, timeout=120_000)
            page.wait_for_function(
                f"document.querySelectorAll('.tile').length === {guns}", timeout=120_000
            )
        ours.send("begin")
        began_s = ours.recv()
        pages[0].wait_for_timeout(1_000 * seconds)
        ours.send("end")
        used_s, ended_s, ticks, late_s = ours.recv()
        chromium.close()
    server.terminate()
    server.join()
    took_s = ended_s - began_s
    print(
        f"{guns} guns, {browsers} browsers, {took_s:.0f} s: {used_s / took_s:.1%} of a core, "
        f"{ticks / took_s:.2f} updates/s, latest {late_s:.2f} s late (seed {SEED})"
    )


def _serve(guns: int, parent: Connection) -> None:
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(_serve_in(Path(directory), guns, parent))


async def _serve_in(directory: Path, guns: int, parent: Connection) -> None:
    chance, board = random.Random(SEED), LiveBoard()  # noqa: S311 - made-up values
    fleet = [DeviceId("north" if n % 2 else "south", f"gun-{n:03}") for n in range(guns)]
    _fill(directory, fleet, board)
    place = Place("127.0.0.1", 0, Accounts(directory / "accounts.json"))
    listener = listen(place)
    started = asyncio.Event()
    sources = Sources(board, directory / "store")
    serving = asyncio.create_task(serve(sources, place, started=started, listener=listener))
    await started.wait()
    parent.send(f"http://127.0.0.1:{listener.getsockname()[1]}")
    used_s, ticks, late_s, due_s, measuring = 0.0, 0, 0.0, time.monotonic(), False
    while not serving.done():
        _talk(board, fleet, chance)
        if parent.poll():
            word = parent.recv()
            if word == "begin":
                used_s, ticks, late_s, measuring = time.process_time(), 0, 0.0, True
                parent.send(time.monotonic())
            else:
                parent.send((time.process_time() - used_s, time.monotonic(), ticks, late_s))
        due_s += LIVE_S
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        if measuring:
            ticks, late_s = ticks + 1, max(late_s, time.monotonic() - due_s)
    await serving


def _fill(directory: Path, fleet: list[DeviceId], board: LiveBoard) -> None:
    now_ns = time.time_ns()
    with Store.open(directory / "store") as store:
        store.checkpoint(
            [
                record
                for n, gun in enumerate(fleet)
                for record in (
                    DeviceStatus(
                        gun, now_ns, True, "hx-16", f"A{n}", "1.4.2", "ball", n % 7 > 0, None
                    ),
                    _hop(gun, now_ns),
                )
            ],
            b"",
        )
    for number, gun in enumerate(fleet):
        if number % 10 < len(RULES):
            board.alarm(_alarm(gun, now_ns, number % 10))


def _hop(gun: DeviceId, now_ns: int) -> Features:
    said: dict[str, Any] = {
        field.name: 1.0 for field in fields(Features) if field.name.endswith(UNITS)
    }
    said |= dict.fromkeys(("stiffness", "crest", "kurtosis", "h1", "h2_4", "h_sub"), 0.5)
    said |= {"id": gun, "t_ns": now_ns, "motor": MotorState.RUNNING, "contact": True}
    said |= {"quality": Quality.GOOD, "session_id": "s-01", "operator": "op-7", "battery_mv": 7400}
    return Features(**said)


def _alarm(gun: DeviceId, now_ns: int, which: int) -> Alarm:
    rule, priority, unit, value, setpoint = RULES[which]
    return Alarm(
        id=gun,
        alarm_id=f"{gun.device}-{rule}",
        rule=rule,
        priority=priority,
        state=AlarmState.ACTIVE_UNACK,
        raised_at_ns=now_ns,
        changed_at_ns=now_ns,
        value=value,
        peak=value,
        setpoint=setpoint,
        unit=unit,
        session_id="s-01",
        site=UNKNOWN_SITE,
        operator="op-7",
        count=1,
        quality=Quality.GOOD,
        config_version="bench",
    )


def _talk(board: LiveBoard, fleet: list[DeviceId], chance: random.Random) -> None:
    now_ns = time.time_ns()
    for clinic in ("north", "south"):
        values = {
            gun.device: LiveGun(
                now_ns,
                True,
                chance.uniform(5.0, 60.0),
                chance.uniform(0.0, 1.5),
                chance.uniform(0.0, 40.0),
                chance.uniform(20.0, 50.0),
                "s-01",
                "calf_left",
            )
            for gun in fleet
            if gun.clinic == clinic
        }
        board.put(Live(clinic, now_ns, values))


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:4]))
