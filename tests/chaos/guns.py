"""Guns that keep on: each publishes its messages in order, until the broker has acknowledged all.

A message that was on its way when the connection was lost is sent again, so that the broker may
have it twice; how often each was sent is in the books.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self

import aiomqtt
import servers

from chaos.plan import Due

RETRY_S = 0.05
CONNECT_S_MAX = 2.5  # a second try comes before a gun has been silent for 5 s
_LOGGER = logging.getLogger("chaos.guns")
_LOGGER.setLevel(logging.CRITICAL)  # that connections are lost is the point


class Guns:
    """Publishes on a thread of its own while the block runs."""

    def __init__(self, port: int, logs: Sequence[Sequence[Due]], pace: float) -> None:
        self.sent_again = 0
        self.acknowledged = 0
        self.failure: BaseException | None = None
        self._total = sum(map(len, logs))
        self._logs, self._port, self._pace = logs, port, pace
        self._at = [0] * len(logs)  # the message that each gun publishes
        self._swapping: set[int] = set()  # guns of which swapped frames are on their way
        self._loop: asyncio.AbstractEventLoop | None = None
        self._broker_serves = asyncio.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="guns")

    @property
    def share(self) -> float:
        return self.acknowledged / self._total

    @property
    def done(self) -> bool:
        return self.acknowledged == self._total

    def kill_broker(self, deed: Callable[[], None]) -> bool:
        """Do it now, while no gun publishes, unless swapped frames are on their way.

        A frame that comes more than the reorder window after the one that overtook it is late, by
        contract; and the death of a broker takes longer.
        """
        if self.done or self._loop is None:
            deed()
            return True

        async def do() -> bool:
            if self._swapping:
                return False
            self._broker_serves.clear()
            deed()
            return True

        return asyncio.run_coroutine_threadsafe(do(), self._loop).result(servers.DEADLINE_S)

    def go_on(self) -> None:
        """The broker serves again. Until then connecting would only cost time: one that is busy
        with its recovery lets some in seconds after others, and who is silent for 5 s is told of.
        """
        if self._loop is not None:
            with suppress(RuntimeError):  # the guns are done
                self._loop.call_soon_threadsafe(self._broker_serves.set)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        self.go_on()
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._play_all())
        except Exception as error:  # noqa: BLE001 -- raised by whoever waits for the guns
            self.failure = error

    async def _play_all(self) -> None:
        began_s, self._loop = time.monotonic(), asyncio.get_running_loop()
        self._broker_serves.set()
        await asyncio.gather(*(self._play(gun, began_s) for gun in range(len(self._logs))))

    async def _play(self, gun: int, began_s: float) -> None:
        while self._at[gun] < len(self._logs[gun]) and not self._stop.is_set():
            try:
                async with self._client() as client:
                    lost = asyncio.ensure_future(_lost(client))
                    try:
                        while self._at[gun] < len(self._logs[gun]) and not self._stop.is_set():
                            await self._send(gun, client, lost, began_s)
                    finally:
                        lost.cancel()
            except aiomqtt.MqttError:
                await asyncio.sleep(RETRY_S)
                await self._broker_serves.wait()

    def _client(self) -> aiomqtt.Client:
        return aiomqtt.Client(servers.HOST, self._port, timeout=CONNECT_S_MAX, logger=_LOGGER)

    async def _send(
        self, gun: int, client: aiomqtt.Client, lost: asyncio.Future[None], began_s: float
    ) -> None:
        """Publish what is next when it is due, and wait for its acknowledgement, or MqttError."""
        group = _under_way_at_once(self._logs[gun], self._at[gun])
        await asyncio.sleep(max(0.0, began_s + group[0].due_s / self._pace - time.monotonic()))
        if len(group) > 1:
            self._swapping.add(gun)
        sending = asyncio.create_task(_publish(group, client))
        await asyncio.wait({sending, lost}, return_when=asyncio.FIRST_COMPLETED)
        if not sending.done():
            sending.cancel()
            self.sent_again += len(group)
            raise aiomqtt.MqttError("lost before it was acknowledged")
        sending.result()
        self._swapping.discard(gun)
        self._at[gun] += len(group)
        self.acknowledged += len(group)


def _under_way_at_once(log: Sequence[Due], at: int) -> Sequence[Due]:
    """The next message, with those that it overtakes: only what is under way can be overtaken."""
    end = at + 1
    while log[end - 1].overtakes:
        end += 1
    return log[at:end]


async def _publish(group: Sequence[Due], client: aiomqtt.Client) -> None:
    """In this order, and at once."""
    sending = (client.publish(*due.packet, qos=1, retain=due.retain) for due in group)
    await asyncio.gather(*sending)


async def _lost(client: aiomqtt.Client) -> None:
    """Ends when the connection does."""
    try:
        async for _ in client.messages:
            pass
    except aiomqtt.MqttError:
        return
