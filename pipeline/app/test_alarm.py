"""A test alarm through the whole path: said at the broker as a gun says it, and heard there again.

A gun of its own, `myoguard-test`, is born, gets a session and loses its Last Will: DEVICE_OFFLINE,
of medium priority. Each station is a fact of its own: a pipeline that raises what nobody hears
outside is told apart from a broker that lets nothing through. Afterwards the gun is back and the
alarm is acknowledged, so that nothing stands.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final

from pipeline.app.desk import Desk
from pipeline.app.links import credentials
from pipeline.link import BrokerError
from pipeline.model import (
    ActionKind,
    Alarm,
    AlarmAction,
    AlarmState,
    DeviceId,
    DeviceState,
    DeviceStatus,
    Live,
    Message,
    SessionEvent,
    SessionEventKind,
)
from pipeline.mqtt import Arrival, Connection, MqttProtocol, parse_endpoint
from pipeline.page import TEST_GUN, Step
from pipeline.store import StoreError, StoreReader
from pipeline.wire import DecodeError, decode, encode

RULE: Final = "DEVICE_OFFLINE"
STATION_S_MAX: Final = 10.0  # engineering choice: ten checkpoints
POLL_S: Final = 0.1


class _Ears:
    """What was heard of the test gun's alarm: from the pipeline itself, and from the broker."""

    def __init__(self, gun: DeviceId, from_ns: int) -> None:
        self.gun = gun
        self._from_ns = from_ns
        self.told: Alarm | None = None
        self.heard: Alarm | None = None
        self.news = asyncio.Event()

    def put(self, live: Live) -> None:
        """Values do not matter here."""

    def status(self, status: DeviceStatus) -> None:
        """Nor does this."""

    def alarm(self, alarm: Alarm) -> None:
        if self._is_ours(alarm):
            self.told = alarm
            self.news.set()

    def arrivals(self, arrivals: Sequence[Arrival]) -> None:
        for arrival in arrivals:
            arrival.connection.ack([arrival.mid])
            try:
                message = decode(arrival.topic, arrival.payload)
            except DecodeError:
                continue
            if isinstance(message, Alarm) and self._is_ours(message):
                self.heard = message
                self.news.set()

    def _is_ours(self, alarm: Alarm) -> bool:
        is_new = alarm.changed_at_ns >= self._from_ns
        return alarm.id == self.gun and alarm.rule == RULE and is_new


class TestAlarm:
    """One test, from `run` to its steps."""

    __test__ = False  # pytest would take it for one of its own

    def __init__(self, desk: Desk, clinic: str, by: str) -> None:
        self._desk = desk
        self._by = by
        self._began_ns = time.time_ns()
        self._boot_id = secrets.randbits(32)
        self._session_id = f"test-{self._began_ns}"
        self._ears = _Ears(DeviceId(clinic, TEST_GUN), self._began_ns)
        self._steps: list[Step] = []

    async def run(self) -> list[Step]:
        settings = self._desk.settings
        endpoint = parse_endpoint(
            settings.broker.url,
            client_id=f"{settings.broker.client_id}-test-{self._boot_id:08x}",
            credentials=credentials(settings),
            protocol=MqttProtocol(settings.broker.protocol),
            persistent=False,
        )
        gun = self._ears.gun
        self._desk.listeners.append(self._ears)
        try:
            async with asyncio.timeout(5 * STATION_S_MAX):
                async with Connection(endpoint, self._ears.arrivals) as connection:
                    await connection.subscribe(
                        [f"massage/v1/{gun.clinic}/{gun.device}/alarm/{RULE}"]
                    )
                    await self._raise(connection)
                    await self._end(connection)
        except BrokerError as error:
            self._steps.append(Step("the broker", None, str(error)))
        except TimeoutError:
            self._steps.append(Step("the broker", None, "it does not answer"))
        finally:
            self._desk.listeners.remove(self._ears)
        return self._steps

    async def _raise(self, connection: Connection) -> None:
        gun, ears = self._ears.gun, self._ears
        await self._say(connection, DeviceState(gun, True, self._boot_id, model=TEST_GUN))
        await self._say(connection, self._session(SessionEventKind.START))
        await self._say(connection, DeviceState(gun, False, self._boot_id))
        self._came_by("said to the broker")
        await self._station("raised by the pipeline", lambda: _is_active(ears.told))
        await self._station("heard at the broker", lambda: _is_active(ears.heard))
        await self._station("written to the store", self._is_stored)

    async def _end(self, connection: Connection) -> None:
        gun, ears = self._ears.gun, self._ears
        await self._say(connection, DeviceState(gun, True, self._boot_id, model=TEST_GUN))
        now_ns = time.time_ns()
        await self._say(
            connection, AlarmAction(gun, RULE, ActionKind.ACK, self._by, now_ns, "test")
        )
        await self._say(connection, self._session(SessionEventKind.END))
        await self._station(
            "ended and acknowledged",
            lambda: ears.heard is not None and ears.heard.state is AlarmState.CLEARED,
        )

    def _session(self, event: SessionEventKind) -> SessionEvent:
        return SessionEvent(
            self._ears.gun, self._session_id, event, time.time_ns(), operator=self._by
        )

    async def _say(self, connection: Connection, message: Message) -> None:
        await connection.publish(*encode(message), qos=1, retain=False)

    async def _station(self, name: str, is_reached: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + STATION_S_MAX
        while not is_reached():
            if time.monotonic() > deadline_s:
                self._steps.append(Step(name, None, f"not within {STATION_S_MAX:.0f} s"))
                return
            self._ears.news.clear()
            try:
                await asyncio.wait_for(self._ears.news.wait(), POLL_S)
            except TimeoutError:
                continue
        self._came_by(name)

    def _came_by(self, name: str) -> None:
        self._steps.append(Step(name, (time.time_ns() - self._began_ns) // 1_000_000))

    def _is_stored(self) -> bool:
        gun = self._ears.gun
        try:
            with StoreReader.open(self._desk.settings.store.directory) as reader:
                found = reader.current_alarms(gun.clinic)
        except StoreError:
            return False
        return any(
            alarm.id == gun and alarm.rule == RULE and alarm.changed_at_ns >= self._began_ns
            for alarm in found
        )


def _is_active(alarm: Alarm | None) -> bool:
    return alarm is not None and alarm.state is AlarmState.ACTIVE_UNACK
