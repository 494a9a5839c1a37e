"""What keeps us from a broker is told in a sentence, and needs no restart once it is put right."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import servers
from paho.mqtt.client import Client as PahoClient
from scenario import run, until

from pipeline import jetstream, mqtt
from pipeline.link import RETRY_S_MIN, BrokerError, Link, together
from pipeline.mqtt import ANONYMOUS, Connection, Credentials, parse_endpoint
from pipeline.sources import MqttSource
from pipeline.sources.nats import NatsSource


def put_right(
    url: str, fault: str, mend: Callable[[], object], credentials: Credentials = ANONYMOUS
) -> None:
    """A source that finds the fault, says so, and is connected once it is mended."""

    async def scenario() -> None:
        source = MqttSource(url, client_id="p", credentials=credentials, patient=True)
        async with source:
            await until(lambda: fault in (source.status.last_error or ""), f"it says {fault!r}")
            assert not source.status.connected
            assert "\n" not in (source.status.last_error or "")
            await asyncio.to_thread(mend)
            await until(lambda: source.status.connected, "it is connected")

    asyncio.run(asyncio.wait_for(scenario(), 3 * servers.DEADLINE_S))


def openssl(*words: object) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


def test_a_connect_that_is_cancelled_leaves_no_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name is looked up, and a host called, on a thread that goes on when nobody waits for it."""
    called, answered = threading.Event(), threading.Event()
    create_socket = PahoClient._create_socket

    def call_slowly(client: PahoClient) -> object:
        called.set()
        assert answered.wait(servers.DEADLINE_S)
        return create_socket(client)

    async def scenario(url: str) -> Connection:
        connection = Connection(parse_endpoint(url, client_id="t", persistent=False))
        entering = asyncio.create_task(connection.__aenter__())
        await asyncio.to_thread(called.wait, servers.DEADLINE_S)
        entering.cancel()
        with suppress(asyncio.CancelledError):
            await entering
        asyncio.get_running_loop().call_later(0.1, answered.set)  # when the loop is being ended
        return connection

    monkeypatch.setattr(PahoClient, "_create_socket", call_slowly)
    with servers.mosquitto(tmp_path) as broker:
        connection = asyncio.run(scenario(broker.url))
        assert connection._paho.socket() is None
        assert connection._client._misc_task.done()


def test_a_connection_holds_back_no_small_message(tmp_path: Path) -> None:
    """Nagle's algorithm would keep an alarm until the network has acknowledged the one before."""

    async def scenario() -> None:
        with servers.mosquitto(tmp_path) as broker:
            endpoint = parse_endpoint(broker.url, client_id="t", persistent=False)
            async with Connection(endpoint) as connection:
                theirs = connection._paho.socket()
                assert theirs is not None
                with socket.socket(fileno=os.dup(theirs.fileno())) as sock:
                    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0

    run(scenario())


def test_a_link_ends_though_a_cancellation_was_swallowed(tmp_path: Path) -> None:
    """As Python 3.11's `wait_for` does with one that comes together with the answer."""
    swallowed = []

    async def serve(_: Connection) -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        swallowed.append(True)
        await asyncio.Event().wait()

    async def scenario() -> None:
        with servers.mosquitto(tmp_path) as broker:
            endpoint = parse_endpoint(broker.url, client_id="t", persistent=False)
            link = Link(lambda: Connection(endpoint), serve=serve, on_end=lambda _: None)
            async with link:
                await until(lambda: link.status.connected, "it is connected")
        assert swallowed

    run(scenario())


def test_the_others_end_though_a_cancellation_was_swallowed() -> None:
    swallowed = []

    async def swallows() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        swallowed.append(True)
        await asyncio.Event().wait()

    async def fails() -> None:
        await asyncio.sleep(0)
        raise BrokerError("lost")

    with pytest.raises(BrokerError, match="lost"):
        run(together(swallows(), fails()))
    assert swallowed


def test_a_certificate_that_has_expired_and_is_renewed(tmp_path: Path) -> None:
    key, good, served = (tmp_path / name for name in ("key.pem", "good.pem", "served.pem"))
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-days", "1", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
        *("-keyout", key, "-out", good),
    )
    openssl("x509", "-in", good, "-signkey", key, "-days", "-1", "-out", served)
    extra = [f"certfile {served}", f"keyfile {key}", "allow_anonymous true"]
    with servers.mosquitto(tmp_path / "broker", extra=extra) as server:

        def renew() -> None:
            served.write_bytes(good.read_bytes())
            server.restart()

        url = f"mqtts://127.0.0.1:{server.port}"
        served_now = Credentials(ca_file=served)  # its own authority
        put_right(url, "certificate has expired", renew, served_now)


def test_a_name_that_nobody_knows_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, str] = {}
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **more: Any) -> Any:
        if host == "broker.invalid" and host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(known.get(host, host), *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with servers.mosquitto(tmp_path / "broker") as server:
        url = f"mqtt://broker.invalid:{server.port}"
        put_right(url, "not known", lambda: known.update({"broker.invalid": servers.HOST}))


def test_a_subscription_that_is_refused(tmp_path: Path) -> None:
    """Mosquitto's access list would grant it and deliver nothing; nats-server says no."""
    user = {"user": "p", "password": "x", "permissions": {"subscribe": {"deny": ["massage.>"]}}}
    extra = {"authorization": {"users": [user]}}
    with servers.nats_server(tmp_path / "broker", extra=extra) as server:
        config = tmp_path / "broker" / "nats.conf"

        def grant() -> None:
            said = json.loads(config.read_text())
            del said["authorization"]["users"][0]["permissions"]
            config.write_text(json.dumps(said))
            server.restart()

        as_user = Credentials("p", "x")
        put_right(server.url, "refused to let 'p' read massage/v1", grant, as_user)


# Connected, but silent.


@contextmanager
def half_open(_broker: servers.Server, proxy: servers.Proxy) -> Iterator[None]:
    """The network has forgotten the connection; a new one finds a broker that is well."""
    proxy.swallow()
    yield


@contextmanager
def hanging(broker: servers.Server, _proxy: servers.Proxy) -> Iterator[None]:
    """The broker gets no turn: its kernel answers for it, and it says nothing."""
    assert broker.process is not None
    broker.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        broker.process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def reading(way: str, directory: Path) -> AsyncIterator[tuple[Any, Any, Any]]:
    """A broker, the wire to it, and a source that reads over that."""
    is_log = way == "the durable log"
    if way == "mosquitto":
        serving = servers.mosquitto(directory)
    else:
        serving = servers.nats_server(directory, log=is_log)
    with serving as broker, servers.Proxy(broker.nats_port or broker.port) as proxy:
        source = (
            NatsSource(proxy.nats_url, mqtt_url=broker.url, client_id="p")
            if is_log
            else MqttSource(proxy.url, client_id="p")
        )
        async with source:
            yield broker, proxy, source


@pytest.mark.parametrize("fault", [half_open, hanging])
@pytest.mark.parametrize("way", ["mosquitto", "nats-server", "the durable log"])
def test_a_connection_that_is_up_and_silent_is_made_anew(
    way: str, fault: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noticed_s_max = max(
        2 * mqtt.KEEPALIVE_S + 1, (jetstream.PINGS_UNANSWERED_MAX + 1) * jetstream.PING_S
    )
    assert noticed_s_max + RETRY_S_MIN < 30.0
    monkeypatch.setattr(mqtt, "KEEPALIVE_S", 2)
    monkeypatch.setattr(jetstream, "PING_S", 1)

    async def scenario() -> None:
        async with reading(way, tmp_path) as (broker, proxy, source):
            with fault(broker, proxy):
                await until(lambda: source.status.last_error is not None, "it is noticed")
            await until(lambda: source.status.connected, "it is connected again")
            sent = [("massage/v1/c/g/telemetry", b"%d" % number) for number in range(50)]
            await asyncio.to_thread(servers.publish, broker.port, sent)
            came: list[bytes] = []
            async for batch in source.batches():
                came += [each.payload for each in batch.messages]
                if len(came) >= len(sent):
                    break
            assert came == [payload for _, payload in sent]

    asyncio.run(asyncio.wait_for(scenario(), 2 * servers.DEADLINE_S))
