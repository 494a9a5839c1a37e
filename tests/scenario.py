"""A test that is a coroutine: run to its end or a deadline, conditions waited for off its loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import servers


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, servers.DEADLINE_S))


async def until(condition: Callable[[], object], what: str) -> None:
    await asyncio.to_thread(servers.until, condition, what)
