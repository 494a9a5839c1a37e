"""How a command that goes on by itself is asked to end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from typing import TypeVar

ItemT = TypeVar("ItemT")


def stop_on_signals() -> asyncio.Event:
    """Set by the first Ctrl-C or SIGTERM; a second one ends the process as usual."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def ask() -> None:
        stop.set()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(each)

    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, ask)
    return stop


async def until(stop: asyncio.Event, items: AsyncIterator[ItemT]) -> AsyncIterator[ItemT]:
    """The items until they end, or `stop` is set."""
    stopping = asyncio.create_task(stop.wait())
    coming = asyncio.create_task(_next(items))
    try:
        while not stop.is_set():
            await asyncio.wait({stopping, coming}, return_when=asyncio.FIRST_COMPLETED)
            if coming.done():
                item = coming.result()
                if item is None:
                    return
                coming = asyncio.create_task(_next(items))
                yield item
    finally:
        stopping.cancel()
        coming.cancel()
        await asyncio.wait({stopping, coming})


async def _next(items: AsyncIterator[ItemT]) -> ItemT | None:
    return await anext(items, None)
