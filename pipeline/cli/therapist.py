"""A therapist of the demo, at the clinic's console: sees an alarm, and says so a few seconds later.

Says it as any console would, with messages of the contract; a listener of the pipeline, so that it
needs no subscription of its own.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final, Self

from pipeline.link import BrokerError
from pipeline.model import ActionKind, Alarm, AlarmAction, AlarmState, DeviceStatus, Live, Priority
from pipeline.mqtt import Connection, parse_endpoint
from pipeline.wire import encode

REACTION_S: Final = 3.0  # engineering choice: to look up, read and press
NAME: Final = "demo-therapist"
_ANSWERS: Final = {
    AlarmState.ACTIVE_UNACK: ActionKind.ACK,
    AlarmState.RTN_UNACK: ActionKind.ACK,
    AlarmState.LATCHED: ActionKind.RESET,
}


class Therapist:
    """`async with Therapist(url) as therapist`, and let the pipeline call it."""

    def __init__(self, url: str) -> None:
        endpoint = parse_endpoint(url, client_id=NAME, persistent=False)
        self._connection = Connection(endpoint)
        self._seen: dict[tuple[str, str], Alarm] = {}  # by gun and rule, as they stand
        self._answers: set[asyncio.Task[None]] = set()  # at most one for each of these

    async def __aenter__(self) -> Self:
        await self._connection.__aenter__()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        for answer in self._answers:
            answer.cancel()
        if self._answers:
            await asyncio.wait(self._answers)
        await self._connection.__aexit__(None, None, None)

    def put(self, live: Live) -> None:
        """Numbers are not what a therapist looks at."""

    def status(self, status: DeviceStatus) -> None:
        """Nor is this."""

    def alarm(self, alarm: Alarm) -> None:
        """Begin to react."""
        key = (str(alarm.id), alarm.rule)
        before = self._seen.get(key)
        self._seen[key] = alarm
        if alarm.state not in _ANSWERS or alarm.priority is Priority.LOW:
            return
        if before is None or before.state not in _ANSWERS or before.alarm_id != alarm.alarm_id:
            answer = asyncio.create_task(self._answer(key))
            self._answers.add(answer)
            answer.add_done_callback(self._answers.discard)

    async def _answer(self, key: tuple[str, str]) -> None:
        await asyncio.sleep(REACTION_S)
        alarm = self._seen[key]
        action = _ANSWERS.get(alarm.state)
        if action is None:
            return  # it is over by itself
        said = AlarmAction(alarm.id, alarm.rule, action, by=NAME, t_ns=time.time_ns())
        try:
            await self._connection.publish(*encode(said), qos=1, retain=False)
        except BrokerError:
            return  # the demo is over, or its broker is: the pipeline says so
