"""What goes out over MQTT, through a bounded outbox: alarms, live values, letters.

A letter is said once: a dead letter, a command, what somebody at the page did about an alarm.

`Publisher.offer` never waits and never raises for a message; a task of its own empties the outbox
while the broker can be reached. Of an alarm only the newest state is kept, so an outage makes
nothing grow, and what stands is published again on every new connection, for a broker that has
forgotten it. Live values wait for everything else and are merged while they wait: shed first, but
no gun's last word is lost. Subscribes to nothing; `mqtt` speaks the protocol, `wire` the payloads.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, NamedTuple, Self, TypeAlias

from pipeline.link import Link, LinkStatus
from pipeline.model import Alarm, AlarmAction, AlarmState, Command, Live, Rejected
from pipeline.mqtt import ANONYMOUS, Connection, Credentials, MqttProtocol, parse_endpoint
from pipeline.wire import encode

Outgoing: TypeAlias = Alarm | AlarmAction | Live | Rejected | Command

LIVE_INTERVAL_S: Final = 0.25  # contract, "live": at most 4 a second
# Engineering choices. Alarms standing at once: 2,000 guns with 30 rules each. Letters: a burst of
# commands, or some seconds of a gun that sends nothing but rubbish. Under way at once: enough to
# fill a round trip, few enough that a live value need not wait long. Closing: what is left to say.
STANDING_MAX: Final = 65_536
LETTERS_MAX: Final = 1_024
WAVE_MESSAGES: Final = 64
CLOSE_S_MAX: Final = 3.0
# What somebody did at the page is not done behind their back after the page said that it failed.
ACTION_NS_MAX: Final = 10_000_000_000


@dataclass(slots=True)
class PublishCounters:
    """What became of everything offered."""

    sent: int = 0
    unencodable: int = 0
    alarms_superseded: int = 0  # a newer state came before the older one was sent
    alarms_forgotten: int = 0  # more stood at once than STANDING_MAX
    live_merged: int = 0
    rejected_dropped: int = 0
    actions_dropped: int = 0
    commands_dropped: int = 0
    letters_expired: int = 0
    commands_withheld: int = 0  # commands are off


class _Letter(NamedTuple):
    """A message that is sent once. `expires_at_ns` is None for what does not expire."""

    topic: str
    payload: bytes
    expires_at_ns: int | None


class Publisher:
    """`async with Publisher(url, client_id=…) as publisher: publisher.offer(messages)`.

    Entering it fails with BrokerError if the broker cannot be reached, unless it is `patient`; an
    outage later does not.
    Leaving it waits some seconds for the outbox to empty, if there is a connection.
    """

    def __init__(
        self,
        url: str,
        *,
        client_id: str,
        credentials: Credentials = ANONYMOUS,
        protocol: MqttProtocol = MqttProtocol.V311,
        commands: bool = False,
        patient: bool = False,
        observe: Callable[[float], None] = lambda _waited_s: None,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        endpoint = parse_endpoint(
            url,
            client_id=client_id,
            credentials=credentials,
            protocol=protocol,
            persistent=False,  # it subscribes to nothing, so there is nothing to keep
        )
        self.counters = PublishCounters()
        self._commands = commands
        self._clock_ns = clock_ns
        self._standing: dict[str, bytes] = {}  # the newest of each alarm that is not over
        self._alarms: dict[str, bytes] = {}  # of these, and of those just cleared, what is unsent
        self._letters: deque[_Letter] = deque()
        self._live: dict[str, Live] = {}  # by clinic
        self._live_due_s: dict[str, float] = {}
        self._offered_s: dict[str, float] = {}  # since when an alarm that is unsent waits
        self._observe = observe
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._link = Link(
            lambda: Connection(endpoint),
            serve=self._serve,
            on_end=lambda _failure: self._idle.set(),
            patient=patient,
            clock_ns=clock_ns,
        )

    @property
    def status(self) -> LinkStatus:
        """Whether it is connected, since when, how often it was lost, and why last."""
        return self._link.status

    @property
    def waiting(self) -> int:
        """How many messages are in the outbox."""
        return len(self._alarms) + len(self._letters) + len(self._live)

    async def __aenter__(self) -> Self:
        await self._link.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S_MAX if self.status.connected else 0):
                await self._idle.wait()
        await self._link.__aexit__(*exc)

    # ------------------------------------------------------------------------------------ offering

    def offer(self, messages: Iterable[Outgoing]) -> None:
        """Put messages into the outbox; what cannot be sent, or has no room, is counted."""
        for message in messages:
            try:
                self._put(message)
            except (ValueError, struct.error):
                self.counters.unencodable += 1
        if self.waiting:
            self._idle.clear()
            self._work.set()

    def _put(self, message: Outgoing) -> None:
        match message:
            case Alarm():
                self._put_alarm(message)
            case Live():
                self._put_live(message)
            case Rejected():
                self.counters.rejected_dropped += not self._put_letter(message, None)
            case AlarmAction():
                put = self._put_letter(message, self._clock_ns() + ACTION_NS_MAX)
                self.counters.actions_dropped += not put
            case Command() if self._commands:
                put = self._put_letter(message, message.expires_at_ns)
                self.counters.commands_dropped += not put
            case Command():
                self.counters.commands_withheld += 1

    def _put_alarm(self, alarm: Alarm) -> None:
        topic, payload = encode(alarm)
        self.counters.alarms_superseded += topic in self._alarms
        self._alarms[topic] = payload
        self._offered_s[topic] = time.monotonic()
        self._standing.pop(topic, None)  # so that the order stays that of the last change
        if alarm.state is not AlarmState.CLEARED:
            self._standing[topic] = payload
        if len(self._alarms) > STANDING_MAX:
            forgotten = next(iter(self._alarms))
            del self._alarms[forgotten]
            self._offered_s.pop(forgotten, None)
            self.counters.alarms_forgotten += 1
        if len(self._standing) > STANDING_MAX:
            self._standing.pop(next(iter(self._standing)))

    def _put_live(self, live: Live) -> None:
        waiting = self._live.get(live.clinic)
        if waiting is not None:
            self.counters.live_merged += 1
            live = replace(live, guns={**waiting.guns, **live.guns})
        self._live[live.clinic] = live

    def _put_letter(
        self, message: Rejected | AlarmAction | Command, expires_at_ns: int | None
    ) -> bool:
        if len(self._letters) >= LETTERS_MAX:
            return False
        self._letters.append(_Letter(*encode(message), expires_at_ns))
        return True

    # ------------------------------------------------------------------------------------- sending

    async def _serve(self, connection: Connection) -> None:
        """Empty the outbox, again and again, until the connection is lost."""
        self._alarms = {**self._standing, **self._alarms}
        while True:
            self._work.clear()
            while self._alarms or self._letters:
                await self._send_alarms(connection)
                await self._send_letters(connection)
            await self._send_live(connection)
            if not self.waiting:
                self._idle.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._until_live_s()):
                    await self._work.wait()

    async def _send_alarms(self, connection: Connection) -> None:
        """A wave of different alarms, so that no two states of one can overtake each other."""
        wave = list(islice(self._alarms.items(), WAVE_MESSAGES))
        if wave:
            await connection.publish_all(wave, retain=True)
        for topic, payload in wave:
            self.counters.sent += 1
            if self._alarms.get(topic) is payload:  # else a newer one came in the meantime
                del self._alarms[topic]
                since_s = self._offered_s.pop(topic, None)
                if since_s is not None:
                    self._observe(time.monotonic() - since_s)

    async def _send_letters(self, connection: Connection) -> None:
        wave = list(islice(self._letters, WAVE_MESSAGES))
        now_ns = self._clock_ns()
        due = [each for each in wave if each.expires_at_ns is None or each.expires_at_ns > now_ns]
        if due:
            await connection.publish_all([(each.topic, each.payload) for each in due], retain=False)
        self.counters.sent += len(due)
        self.counters.letters_expired += len(wave) - len(due)
        for _ in wave:
            self._letters.popleft()

    async def _send_live(self, connection: Connection) -> None:
        now_s = time.monotonic()
        for clinic in [each for each in self._live if self._live_due_s.get(each, 0.0) <= now_s]:
            self._live_due_s[clinic] = now_s + LIVE_INTERVAL_S
            try:
                topic, payload = encode(self._live.pop(clinic))
            except ValueError:  # encoded only here, as most are merged
                self.counters.unencodable += 1
                continue
            await connection.publish(topic, payload, qos=0, retain=False)
            self.counters.sent += 1

    def _until_live_s(self) -> float | None:
        """Seconds until the next live message may go; None, which is for ever, if there is none."""
        if not self._live:
            return None
        due_s = min(self._live_due_s.get(clinic, 0.0) for clinic in self._live)
        return max(0.0, due_s - time.monotonic())
