"""The publisher against real brokers: newest alarm states, merged live values, bounded outbox."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
import servers
from scenario import until

from pipeline.link import BrokerError
from pipeline.model import (
    Alarm,
    AlarmState,
    Command,
    CommandKind,
    DeviceId,
    Live,
    LiveGun,
    Priority,
    Quality,
    Rejected,
)
from pipeline.publish import LETTERS_MAX, STANDING_MAX, Outgoing, Publisher
from pipeline.wire import decode

GUN = DeviceId("c", "gun-1")


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 30))


def alarm(
    state: AlarmState = AlarmState.ACTIVE_UNACK,
    value: float = 60.0,
    gun: DeviceId = GUN,
    rule: str = "EXCESS_PRESSURE",
) -> Alarm:
    return Alarm(
        id=gun,
        alarm_id="a1",
        rule=rule,
        priority=Priority.MEDIUM,
        state=state,
        raised_at_ns=1,
        changed_at_ns=2,
        value=value,
        peak=71.0,
        setpoint=50.0,
        unit="N",
        session_id=None,
        site="unknown",
        operator=None,
        count=1,
        quality=Quality.GOOD,
        config_version="1",
    )


def live(t_ns: int, **guns: bool) -> Live:
    return Live("c", t_ns, {name: gun_values(t_ns, contact) for name, contact in guns.items()})


def gun_values(t_ns: int, contact: bool) -> LiveGun:
    return LiveGun(t_ns, contact, 31.5 if contact else math.nan, 0.0, 1.0, 40.0, None, "unknown")


def rejected() -> Rejected:
    return Rejected(GUN, 5, "massage/v1/c/gun-1/telemetry", "bad_crc", b"MGF1")


def command(expires_at_ns: int = 10) -> Command:
    return Command(GUN, "k", CommandKind.STOP, 0.0, expires_at_ns, "a1")


def publisher(url: str, *, commands: bool = False, now_ns: int = 9) -> Publisher:
    return Publisher(url, client_id="p-out", commands=commands, clock_ns=lambda: now_ns)


def test_alarms_are_retained_and_everything_arrives_as_the_contract_says(
    broker: servers.Server,
) -> None:
    offered: list[Outgoing] = [alarm(), live(3, g1=True), rejected(), command()]

    async def scenario() -> None:
        with servers.listening(broker.port, "massage/v1/#") as heard:
            async with publisher(broker.url, commands=True) as out:
                out.offer(offered)
                await until(lambda: len(heard) == len(offered), "all arrives")
                await until(lambda: out.counters.sent == len(offered), "all is acknowledged")
                assert out.waiting == 0
        arrived = [decode(each.topic, each.payload) for each in heard]
        assert sorted(arrived, key=repr) == sorted(offered, key=repr)

    run(scenario())
    with servers.listening(broker.port, "massage/v1/#") as heard:
        servers.until(lambda: heard, "the retained alarm comes")
        assert [(each.topic, each.retain) for each in heard] == [
            ("massage/v1/c/gun-1/alarm/EXCESS_PRESSURE", True)
        ]


def test_what_is_offered_last_is_what_stays(broker: servers.Server) -> None:
    """Two hundred guns, each alarm changing many times: no state overtakes a newer one."""
    guns = [DeviceId("c", f"g{n}") for n in range(200)]

    async def scenario() -> None:
        async with publisher(broker.url) as out:
            for value in range(20):
                out.offer(alarm(value=value, gun=gun) for gun in guns)
                await asyncio.sleep(0)
            out.offer(alarm(AlarmState.CLEARED, value=99.0, gun=gun) for gun in guns)
            assert out.waiting <= len(guns)
            await until(lambda: out.waiting == 0, "the outbox empties")
            counters = out.counters
            assert counters.sent + counters.alarms_superseded >= 21 * len(guns)
            topics = {f"massage/v1/c/g{n}/alarm/EXCESS_PRESSURE" for n in range(200)}
            with servers.listening(broker.port, "massage/v1/+/+/alarm/+") as heard:
                await until(lambda: {each.topic for each in heard} == topics, "all are retained")
            assert {json.loads(each.payload)["value"] for each in heard} == {99.0}

    run(scenario())


def test_leaving_waits_until_the_outbox_is_empty(broker: servers.Server) -> None:
    async def scenario() -> None:
        with servers.listening(broker.port, "massage/v1/+/+/alarm/+") as heard:
            async with publisher(broker.url) as out:
                out.offer(alarm(rule=f"R{n}") for n in range(100))
            await until(lambda: len(heard) == 100, "all arrives")

    run(scenario())


def test_an_outage_keeps_only_the_newest_and_alarms_go_out_again_after_it(
    broker: servers.Server,
) -> None:
    async def scenario() -> None:
        with (
            servers.Proxy(broker.port) as proxy,
            servers.listening(broker.port, "massage/v1/#") as heard,
        ):
            async with publisher(proxy.url, commands=True) as out:
                out.offer([alarm(rule="STANDS"), alarm(AlarmState.CLEARED, rule="OVER")])
                await until(lambda: len(heard) == 2, "the alarms arrive")
                await until(lambda: out.waiting == 0, "the broker has said that it has them")
                proxy.refuse = True
                proxy.cut()
                await until(lambda: not out.status.connected, "the loss is noticed")
                for value in range(1000):
                    out.offer([alarm(value=value), live(value, g1=True), live(value, g2=False)])
                assert out.waiting == 2  # one alarm, one live message
                assert out.counters.alarms_superseded == 999
                assert out.counters.live_merged == 1999
                out.offer([command(expires_at_ns=1)])
                heard.clear()
                proxy.refuse = False
                await until(lambda: len(heard) == 3, "what is left arrives")
                await until(lambda: out.waiting == 0, "the outbox empties")
        arrived = {each.topic.split("/")[-1]: json.loads(each.payload) for each in heard}
        assert arrived["STANDS"]["state"] == "active_unack"
        assert arrived["EXCESS_PRESSURE"]["value"] == 999
        assert {k: gun["t_ns"] for k, gun in arrived["live"]["guns"].items()} == {
            "g1": 999,
            "g2": 999,
        }
        assert out.counters.letters_expired == 1
        assert out.status.reconnects == 1

    run(scenario())


def test_live_goes_at_most_four_times_a_second_with_every_gun_s_last_word(
    broker: servers.Server,
) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        with servers.listening(broker.port, "massage/v1/c/live") as heard:
            async with publisher(broker.url) as out:
                began_s = loop.time()
                for t_ns in range(60):
                    out.offer([live(t_ns, g1=True) if t_ns % 2 else live(t_ns, g2=False)])
                    await asyncio.sleep(0.02)
                await until(lambda: out.waiting == 0, "the outbox empties")
                took_s = loop.time() - began_s
            # The first at once, then one each 0.25 s.
            await until(lambda: len(heard) == out.counters.sent, "all arrives")
            assert 2 <= len(heard) <= 1 + took_s / 0.25
            assert len(heard) + out.counters.live_merged == 60
        newest: dict[str, LiveGun] = {}
        for each in heard:
            message = decode(each.topic, each.payload)
            assert isinstance(message, Live)
            newest.update(message.guns)
        assert {name: gun.t_ns for name, gun in newest.items()} == {"g1": 59, "g2": 58}

    run(scenario())


def test_bounds_hold_while_nothing_can_be_sent(tmp_path: Path) -> None:
    async def scenario() -> None:
        with servers.mosquitto(tmp_path) as server:
            out = publisher(server.url, commands=True)
            await out.__aenter__()
            await asyncio.to_thread(server.stop)
        await until(lambda: not out.status.connected, "the loss is noticed")
        out.offer(rejected() for _ in range(LETTERS_MAX + 5))
        out.offer([command()])
        assert out.counters.rejected_dropped == 5
        assert out.counters.commands_dropped == 1
        out.offer(alarm(rule=f"R{n}") for n in range(STANDING_MAX + 3))
        assert out.counters.alarms_forgotten == 3
        assert out.waiting == STANDING_MAX + LETTERS_MAX
        await out.__aexit__()

    run(scenario())


def test_what_cannot_be_written_is_counted_and_stops_nothing(broker: servers.Server) -> None:
    async def scenario() -> None:
        with servers.listening(broker.port, "massage/v1/+/+/alarm/+") as heard:
            async with publisher(broker.url) as out:
                no_topic = DeviceId("c", "#")
                bad_clinic = Live("a/b", 1, {})
                out.offer([alarm(gun=no_topic), bad_clinic, command(), alarm()])
                await until(lambda: len(heard) == 1, "the good one arrives")
                await until(lambda: out.counters.unencodable == 2, "the bad ones are counted")
                assert out.counters.commands_withheld == 1

    run(scenario())


def test_a_broker_that_is_not_there_is_one_sentence() -> None:
    async def scenario() -> None:
        async with publisher(f"mqtt://127.0.0.1:{servers.free_port()}"):
            raise AssertionError("there is no broker")

    with pytest.raises(BrokerError, match=r"^Cannot connect to the MQTT broker"):
        run(scenario())
