"""What keeps us from a broker is told in a sentence, and needs no restart once it is put right."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import servers
from scenario import until

from pipeline.mqtt import ANONYMOUS, Credentials
from pipeline.sources import MqttSource


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
