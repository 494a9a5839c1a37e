"""The log says what is wrong, and neither secrets nor who was treated, whatever goes wrong."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import servers
from clinic import START
from test_app import running, settings_for

from pipeline.config import BrokerSection, InfluxSection
from pipeline.model import DeviceId, SessionEvent
from pipeline.store import AlarmFilter, Store, StoreReader, schema
from pipeline.wire import encode

PASSWORD, TOKEN, CLIENT = "pa55-w0rd", "t0k3n-of-influx", "Jane-Doe-c1234"
GUN = DeviceId("clinic-1", "gun_1")
TOPIC = f"massage/v1/{GUN.clinic}/{GUN.device}"
# What InfluxDB says of a line it does not like: it quotes it.
REFUSES = (
    f"""location / {{ return 400 '{{"error": "unable to parse session client={CLIENT}"}}'; }}"""
)


def test_no_log_names_a_client_or_a_secret(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "p", PASSWORD], check=True)
    with (
        servers.mosquitto(
            tmp_path / "b", extra=[f"password_file {passwords}", "allow_anonymous true"]
        ) as broker,
        servers.nginx(tmp_path / "n", REFUSES) as influx,
    ):
        settings = settings_for(tmp_path, broker).model_copy(
            update={
                "broker": BrokerSection(
                    url=broker.url, client_id="pipeline", username="p", password=PASSWORD
                ),
                "influx": InfluxSection(url=f"http://127.0.0.1:{influx.port}", token=TOKEN),
            }
        )
        said: list[str] = []

        def until_said(event: str) -> None:
            def is_said() -> bool:
                said.append("".join(capfd.readouterr()))
                return event in "".join(said)

            servers.until(is_said, f"the log says {event!r}", 60.0)

        database = settings.store.directory / schema.DATABASE_NAME
        with running(settings) as pipeline:
            servers.publish(
                broker.port,
                [
                    encode(SessionEvent(GUN, "s", START, 1, client=CLIENT)),
                    (f"{TOPIC}/session", json.dumps({"client": CLIENT}).encode()),
                    (f"{TOPIC}/telemetry", CLIENT.encode()),
                ],
            )
            servers.until(lambda: pipeline.counters.messages >= 3, "all is judged", 60.0)
            until_said("refused points for good")
            database.rename(tmp_path / "away")
            until_said("nothing is stored")
            (tmp_path / "away").rename(database)
            until_said("stored again")
            broker.stop()
            until_said("no broker")
        with StoreReader.open(settings.store.directory) as reader:
            assert reader.dead_letters()
            assert reader.alarm_history(AlarmFilter()) is not None
        with Store.open(settings.store.directory) as store:
            store.checkpoint([], f"of another version, with {CLIENT}".encode())
        with running(settings, await_ready=False):
            until_said("began anew")
    text = "".join([*said, *capfd.readouterr()])
    for secret in (PASSWORD, TOKEN, CLIENT):
        assert secret not in text
