"""What comes again is put in the order in which it came at first."""

from __future__ import annotations

import asyncio
import random
import socket
from pathlib import Path
from typing import cast

import numpy as np
import servers
from scenario import run

from pipeline import wire
from pipeline.model import DeviceId, DeviceState, Frame, Message, SessionEvent, SessionEventKind
from pipeline.mqtt import Arrival, Connection
from pipeline.sources import MqttSource
from pipeline.sources.again import in_order

GUNS = (DeviceId("c", "ada"), DeviceId("c", "bob"))
T0_NS = 1_790_000_000_000_000_000
FRAME_NS = 250_000_000


def said_by(device: DeviceId) -> list[Arrival]:
    """A birth, a session that begins, and frames of which one arrived spoilt."""
    messages: list[Message] = [
        DeviceState(device, online=True, boot_id=7, t_ns=T0_NS - 2),
        SessionEvent(device, "s-1", SessionEventKind.START, T0_NS - 1),
        *(frame(device, k) for k in range(40)),
    ]
    said = [arrival(*wire.encode(message)) for message in messages]
    said[20] = said[20]._replace(payload=said[20].payload[:-1])
    return said


def frame(device: DeviceId, number: int) -> Frame:
    return Frame(
        device,
        boot_id=7,
        seq=number,
        t0_ns=T0_NS + number * FRAME_NS,
        rate_hz=1600.0,
        set_percussion_hz=30.0,
        accel_g_per_lsb=1.0,
        current_a_per_lsb=1.0,
        samples_lsb=np.zeros((4, 4), np.int16),
    )


def arrival(topic: str, payload: bytes) -> Arrival:
    nobody = cast("Connection", None)
    return Arrival(nobody, 1, topic, payload, retain=False, dup=True)


def test_parts_that_come_in_any_order_are_put_in_order_gun_by_gun() -> None:
    ada, bob = (said_by(gun) for gun in GUNS)
    log = [each for pair in zip(ada, bob, strict=True) for each in pair]
    for seed in range(20):
        # each begun part comes after the rest; a spoilt frame stays behind the one it came after
        cut = random.Random(seed).randrange(1, 19) * 2
        assert in_order([*log[cut:], *log[:cut]]) == [*ada, *bob]


def test_what_a_network_swapped_stays_as_it_came() -> None:
    said = said_by(GUNS[0])
    said[9], said[10] = said[10], said[9]
    said[30:30] = [arrival(*wire.encode(SessionEvent(GUNS[0], "s-1", SessionEventKind.END, T0_NS)))]
    for cut in range(1, len(said)):
        if cut != 10:  # between the two: nobody can tell that from two parts
            assert in_order([*said[cut:], *said[:cut]]) == said


def glimpse(port: int) -> None:
    """Come as the pipeline does, and die of the first message that comes again."""
    connect = b"\x10\x0d\x00\x04MQTT\x04\x00\x00\x3c\x00\x01p"  # 3.1.1, session kept, client id p
    with socket.create_connection((servers.HOST, port)) as wire_:
        wire_.sendall(connect)
        assert wire_.recv(4) == b"\x20\x02\x01\x00"  # admitted, to a session that was kept
        wire_.recv(1)


def test_what_nats_server_sends_again_in_parts_comes_in_order(tmp_path: Path) -> None:
    count, ack_wait_s, redelivery_s = 6_000, 0.5, 1.0
    sent = [wire.encode(frame(GUNS[0], k)) for k in range(count + 100)]

    async def scenario(broker: servers.Server) -> None:
        async with MqttSource(broker.url, client_id="p"):
            pass  # now it has a session
        await asyncio.to_thread(servers.publish, broker.port, sent[:count])
        for _ in range(3):
            await asyncio.to_thread(glimpse, broker.port)
            await asyncio.sleep(redelivery_s)  # as a pipeline does that comes back
        await asyncio.to_thread(servers.publish, broker.port, sent[count:])
        came: dict[servers.Message, None] = {}  # some twice: not all is committed in half a second
        async with MqttSource(broker.url, client_id="p", redelivery_s=redelivery_s) as source:
            async for batch in source.batches():
                came.update(dict.fromkeys((each.topic, each.payload) for each in batch.messages))
                await source.commit(batch.position)
                if len(came) >= len(sent):
                    break
        assert [*came] == sent

    with servers.nats_server(tmp_path, window=13_000, ack_wait_s=ack_wait_s) as broker:
        run(scenario(broker))
