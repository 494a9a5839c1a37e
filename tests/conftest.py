"""Shared fixtures: real servers on free loopback ports, stopped by process id after each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import servers
import structlog
from playwright.sync_api import Browser

from devices import performance
from pipeline import features

ServerStarter = Callable[..., AbstractContextManager[servers.Server]]


@pytest.fixture(scope="session", autouse=True)
def compiled() -> None:
    """Compile every kernel before a test with a deadline needs it: 30 s in a fresh clone."""
    features.warm_up()
    performance.warm_up()


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """A command run in this process says where its log goes; the next test is not bound by it."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for a module, not for all: while it is open, this thread has an event loop running."""
    from page_server import chromium  # noqa: PLC0415 -- seconds, and few tests want it

    with chromium() as opened:
        yield opened


@pytest.fixture(params=["mosquitto", "nats-server"])
def start_broker(request: pytest.FixtureRequest) -> ServerStarter:
    """`start_broker(directory, window=…)`: each test runs on either broker."""
    starters: dict[str, ServerStarter] = {
        "mosquitto": servers.mosquitto,
        "nats-server": servers.nats_server,
    }
    return starters[request.param]


@pytest.fixture
def broker(start_broker: ServerStarter, tmp_path: Path) -> Iterator[servers.Server]:
    with start_broker(tmp_path / "broker") as server:
        yield server
