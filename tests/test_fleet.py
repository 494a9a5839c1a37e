"""The fleet over real brokers: what it says it published is what arrived, with every fault."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import replace

import pytest
import servers

from devices import fleet as fleet_module
from devices.demo import CLINIC, demo_fleet
from devices.feed import Feed, FleetGun, Kind
from devices.fleet import FleetError, FleetReport, run_fleet
from devices.script import Motion, NetworkFaults, Script, Segment
from pipeline.model import DeviceState, Frame, Message, SessionEvent, SessionEventKind
from pipeline.wire import DecodeError, decode

SEED = 21
FILTER = f"massage/v1/{CLINIC}/#"
DEADLINE_S = 60.0
BUSY = NetworkFaults(drop=0.05, duplicate=0.05, reorder=0.05, corrupt=0.05)


def short_fleet(count: int) -> list[FleetGun]:
    """Guns whose sessions come and go within seconds."""
    segments = (
        Segment(1.0, Motion.MOVE, site="calf_left"),
        Segment(2.0, Motion.GLIDE, 25.0, site="calf_left"),
        Segment(1.0, Motion.MOVE, site="shin_left"),
        Segment(1.0, Motion.MOVE, speed=None),
    )
    return [replace(gun, script=Script("short", "", segments)) for gun in demo_fleet(count, SEED)]


def publish(run: Callable[[], Coroutine[None, None, FleetReport]]) -> FleetReport:
    return asyncio.run(asyncio.wait_for(run(), DEADLINE_S))


def decoded(heard: list[servers.Heard]) -> tuple[list[Message], int]:
    """What arrived, and how many of it were spoilt."""
    messages, spoilt = [], 0
    for each in heard:
        try:
            messages.append(decode(each.topic, each.payload))
        except DecodeError:
            spoilt += 1
    return messages, spoilt


def frames_in(heard: list[servers.Heard]) -> int:
    return sum(each.topic.endswith("/telemetry") for each in heard)


def balanced(report: FleetReport) -> bool:
    made = report.frames_made - report.frames_dropped + report.frames_duplicated
    return report.frames_published == made - report.frames_unsent


def test_what_was_published_arrived(broker: servers.Server) -> None:
    guns = short_fleet(3)
    with servers.listening(broker.port, FILTER) as heard:
        began_ns = time.time_ns()
        report = publish(lambda: run_fleet(broker.url, guns, seed=SEED, seconds=8.0, pace=8.0))
        servers.until(lambda: frames_in(heard) >= report.frames_published, "every frame arrives")
        servers.until(lambda: sum(b"false" in e.payload for e in heard) >= 3, "every goodbye")
    messages, spoilt = decoded(heard)
    frames = [message for message in messages if isinstance(message, Frame)]
    assert balanced(report)
    assert spoilt == 0
    assert report.frames_made == report.frames_published == len(frames)
    assert report.guns == report.connects == 3
    for gun in guns:
        own = [frame for frame in frames if frame.id == gun.player.id]
        assert [frame.seq for frame in own] == list(range(len(own)))
        assert {frame.boot_id for frame in own} == {gun.player.boot_id}
        assert began_ns <= own[0].t0_ns <= began_ns + 20 * 10**9


def test_a_gun_is_born_treats_and_says_goodbye(broker: servers.Server) -> None:
    (gun,) = short_fleet(1)
    with servers.listening(broker.port, FILTER) as heard:
        report = publish(lambda: run_fleet(broker.url, [gun], seed=SEED, seconds=9.5, pace=10.0))
        servers.until(lambda: sum(b"false" in e.payload for e in heard) >= 1, "the goodbye")
    messages, _ = decoded(heard)
    births = [message for message in messages if isinstance(message, DeviceState)]
    assert [birth.online for birth in births] == [True, False]
    assert births[0].model == gun.player.unit.profile.model
    assert isinstance(messages[0], DeviceState)
    events = [message for message in messages if isinstance(message, SessionEvent)]
    start, site, end = SessionEventKind.START, SessionEventKind.SITE, SessionEventKind.END
    assert [event.event for event in events] == 2 * [start, site, end]
    assert [event.site for event in events] == 2 * ["calf_left", "shin_left", None]
    assert len({event.session_id for event in events}) == report.sessions_started == 2
    assert events[0].client != events[3].client
    assert events[0].context is not None
    with servers.listening(broker.port, FILTER) as kept:
        servers.until(lambda: len(kept) >= 2, "state and session are retained")
    assert {each.topic.rsplit("/", 1)[1] for each in kept} == {"state", "session"}


def test_the_books_balance_with_every_fault(broker: servers.Server) -> None:
    with servers.listening(broker.port, FILTER) as heard:
        report = publish(
            lambda: run_fleet(
                broker.url, short_fleet(4), seed=SEED, seconds=16.0, pace=16.0, faults=BUSY
            )
        )
        servers.until(lambda: frames_in(heard) >= report.frames_published, "every frame arrives")
    messages, spoilt = decoded(heard)
    frames = [message for message in messages if isinstance(message, Frame)]
    assert balanced(report)
    assert report.frames_repeated == 0
    assert spoilt == report.frames_corrupted > 0
    assert len(frames) + spoilt == report.frames_published
    copies = Counter((frame.id, frame.seq) for frame in frames)
    extra = sum(count - 1 for count in copies.values())
    assert 0 < extra <= report.frames_duplicated
    assert report.frames_dropped > 0
    assert report.frames_reordered > 0
    orders = [[f.seq for f in frames if f.id == gun] for gun in {f.id for f in frames}]
    assert any(order != sorted(order) for order in orders)


def test_a_broken_connection_leaves_a_will_and_comes_back(
    broker: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_module, "RETRY_S_MIN", 0.05)
    faults = NetworkFaults(disconnect=0.05)
    with servers.listening(broker.port, FILTER) as heard:
        report = publish(
            lambda: run_fleet(
                broker.url, short_fleet(1), seed=SEED, seconds=12.0, pace=12.0, faults=faults
            )
        )
        servers.until(
            lambda: sum("state" in each.topic for each in heard) >= 2 * report.connects,
            "a will or a goodbye for every birth",
        )
    messages, _ = decoded(heard)
    assert report.connects > 1
    assert balanced(report)
    states = [message.online for message in messages if isinstance(message, DeviceState)]
    assert states.count(True) == states.count(False) == report.connects
    frames = {message.seq for message in messages if isinstance(message, Frame)}
    assert frames == set(range(report.frames_made))


def test_a_cut_wire_costs_nothing(broker: servers.Server) -> None:
    """In the middle of a run: every frame still arrives, births are repeated."""
    with servers.Proxy(broker.port) as proxy, servers.listening(broker.port, FILTER) as heard:

        async def run() -> FleetReport:
            playing = asyncio.create_task(
                run_fleet(proxy.url, short_fleet(2), seed=SEED, seconds=12.0, pace=8.0)
            )
            await asyncio.to_thread(servers.until, lambda: frames_in(heard) >= 20, "20 frames")
            proxy.cut()
            return await playing

        report = publish(run)
        servers.until(lambda: frames_in(heard) >= report.frames_published, "every frame arrives")
    messages, _ = decoded(heard)
    assert report.connects == 4
    assert balanced(report)
    frames = Counter((f.id, f.seq) for f in messages if isinstance(f, Frame))
    assert len(frames) == report.frames_made
    assert sum(frames.values()) - len(frames) <= report.frames_repeated


def test_stop_ends_an_endless_run(broker: servers.Server) -> None:
    async def run() -> FleetReport:
        stop = asyncio.Event()
        playing = asyncio.create_task(run_fleet(broker.url, short_fleet(2), seed=SEED, stop=stop))
        await asyncio.to_thread(servers.until, lambda: frames_in(heard) > 0, "a frame")
        stop.set()
        return await playing

    with servers.listening(broker.port, FILTER) as heard:
        report = publish(run)
    assert balanced(report)
    assert 0 < report.frames_published < 200


def test_guns_beyond_a_number_share_connections(
    broker: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_module, "OWN_CONNECTIONS", 2)
    monkeypatch.setattr(fleet_module, "GUNS_PER_SHARED_CONNECTION", 3)
    with servers.listening(broker.port, FILTER) as heard:
        report = publish(
            lambda: run_fleet(broker.url, short_fleet(7), seed=SEED, seconds=3.0, pace=3.0)
        )
        servers.until(lambda: sum(b"false" in e.payload for e in heard) >= 7, "every goodbye")
    assert report.connects == 4
    assert balanced(report)
    messages, _ = decoded(heard)
    assert len({frame.id for frame in messages if isinstance(frame, Frame)}) == 7


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mqtt://127.0.0.1:{port}", "No MQTT broker answers at 127.0.0.1:{port}"),
        ("http://127.0.0.1", "write mqtt://host:port"),
        ("mqtt://127.0.0.1:port", "is no broker URL"),
    ],
)
def test_no_broker_is_one_clear_sentence(
    url: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_module, "RETRY_S_MIN", 0.01)
    port = servers.free_port()
    with pytest.raises(FleetError) as caught:
        publish(lambda: run_fleet(url.format(port=port), short_fleet(2), seed=SEED))
    assert said.format(port=port) in str(caught.value)


def test_a_feed_is_the_same_for_the_same_seed() -> None:
    def messages(seed: int) -> list[bytes]:
        feed = Feed(short_fleet(1)[0], BUSY, seed, start_ns=10**18)
        return [
            packet.payload for _ in range(3) for each in feed.chunk() for packet in each.packets
        ]

    assert messages(1) == messages(1)
    assert messages(1) != messages(2)


def test_a_feed_loops_its_script_for_ever() -> None:
    feed = Feed(short_fleet(1)[0], NetworkFaults(), 1, start_ns=10**18)
    due, starts = [0.0], 0
    while due[-1] < 26.0:
        for each in feed.chunk():
            due.append(each.due_s)
            starts += each.kind is Kind.START
    assert due == sorted(due)
    assert starts == 6  # one every 5 s
