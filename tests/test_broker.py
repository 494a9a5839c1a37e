"""The embedded broker: it answers, comes back when killed, keeps what it was told, and ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import servers

from pipeline.broker import EmbeddedBroker
from pipeline.link import BrokerError

ROOT = Path(__file__).parent.parent
RETAINED = ("massage/v1/c/g/state", b"retained")


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 30))


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and that nobody waited for does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def hear(port: int) -> bytes:
    with servers.listening(port, RETAINED[0]) as heard:
        servers.until(lambda: heard, "the retained message comes")
        return heard[0].payload


def test_it_answers_keeps_what_is_retained_and_leaves_no_process(tmp_path: Path) -> None:
    pids = []

    async def scenario(port: int) -> None:
        async with EmbeddedBroker(tmp_path / "new" / "dir", mqtt_port=port) as broker:
            assert broker.mqtt_url == f"mqtt://127.0.0.1:{port}"
            assert broker.nats_url.startswith("nats://127.0.0.1:")
            assert broker.pid is not None
            pids.append(broker.pid)
            if len(pids) == 1:
                await asyncio.to_thread(servers.publish, port, [RETAINED], retain=True)
            assert await asyncio.to_thread(hear, port) == RETAINED[1]

    port = servers.free_port()
    for _ in range(2):
        run(scenario(port))
        assert not alive(pids[-1])


def test_a_killed_broker_comes_back_at_the_same_address(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with EmbeddedBroker(tmp_path) as broker:
            url, pid = broker.mqtt_url, broker.pid
            assert pid is not None
            await asyncio.to_thread(servers.publish, port_of(url), [RETAINED], retain=True)
            os.kill(pid, signal.SIGKILL)
            await asyncio.to_thread(servers.until, lambda: broker.restarts == 1, "it restarts")
            assert broker.mqtt_url == url
            assert broker.pid != pid
            assert broker.last_error == "The embedded broker ended with code -9"
            assert await asyncio.to_thread(hear, port_of(url)) == RETAINED[1]

    run(scenario())


_VICTIM = """
import asyncio, sys
from pathlib import Path
from pipeline.broker import EmbeddedBroker

async def main():
    async with EmbeddedBroker(Path(sys.argv[1]), mqtt_port=int(sys.argv[2])) as broker:
        print(broker.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def test_what_a_killed_pipeline_left_running_is_stopped_first(tmp_path: Path) -> None:
    port = servers.free_port()
    command = [sys.executable, "-c", _VICTIM, str(tmp_path), str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdout is not None
        orphan = int(victim.stdout.readline())
        victim.kill()
    assert alive(orphan)

    async def scenario() -> None:
        async with EmbeddedBroker(tmp_path, mqtt_port=port) as broker:
            assert broker.pid != orphan
            assert not alive(orphan)

    try:
        run(scenario())
    finally:
        if alive(orphan):
            os.kill(orphan, signal.SIGKILL)


def test_a_process_id_that_now_belongs_to_somebody_else_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        (tmp_path / "nats-server.pid").write_text(str(other.pid))

        async def scenario() -> None:
            async with EmbeddedBroker(tmp_path):
                assert other.poll() is None

        try:
            run(scenario())
        finally:
            other.kill()


async def _enter(broker: EmbeddedBroker) -> None:
    async with broker:
        raise AssertionError("it must not start")


def test_a_taken_port_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BrokerError, match=rf"^Port {port} on 127\.0\.0\.1 .*choose another"):
            run(_enter(EmbeddedBroker(tmp_path, mqtt_port=port)))


def test_a_directory_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(BrokerError, match=r"^The broker cannot use the directory .*file"):
        run(_enter(EmbeddedBroker(file / "broker")))


def test_a_server_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "jetstream").write_text("a file where the store must be")
    with pytest.raises(BrokerError, match=r"^The embedded broker did not start: .*storage dir"):
        run(_enter(EmbeddedBroker(tmp_path)))
