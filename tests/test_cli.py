"""The command: what it prints, and that whatever goes wrong is one sentence and an exit code.

Commands run in this process through `main`, as the console script does; servers are real.
"""

from __future__ import annotations

import io
import json
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import benches
import numpy as np
import pyarrow.parquet as pq
import pytest
import servers
import structlog
from clinic_log import SEED, clinic_log, cut_anew

from devices.recording import LoadcellClock
from devices.script import NetworkFaults
from pipeline.capture import (
    PART_SUFFIX,
    ROW_GROUP_MESSAGES_MAX,
    RecordingWriter,
    read_recording,
)
from pipeline.cli import app, compiling, main, terminal
from pipeline.cli.gun_models import all_profiles, known_guns
from pipeline.config import load
from pipeline.evaluation import calibrate_from_files
from pipeline.model import Features, Received
from pipeline.store import Store

COMMANDS = (
    "demo",
    "run",
    "check-config",
    "doctor",
    "simulate",
    "record",
    "replay",
    "export",
    "calibrate",
    "evaluate",
)


class Said(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Command = Callable[..., Said]


@pytest.fixture
def myoguard(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Command:
    """Run a command here, with a data directory of its own."""
    (tmp_path / "data" / "calibration").mkdir(parents=True)
    monkeypatch.setenv("MYOGUARD_STORE__DIRECTORY", str(tmp_path / "data" / "store"))
    monkeypatch.setenv("MYOGUARD_CALIBRATION__DIRECTORY", str(tmp_path / "data" / "calibration"))
    monkeypatch.setenv("MYOGUARD_PAGE__ENABLED", "false")

    def run(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["myoguard", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capfd.readouterr()
        return Said(code, out, err)

    return run


def is_one_sentence(said: Said) -> bool:
    """Nothing on stdout, one line for the user on stderr."""
    return said.out == "" and re.fullmatch(r"myoguard: .+\n", said.err) is not None


def write_log(path: Path, log: Iterable[Received]) -> Path:
    with RecordingWriter(path) as writer:
        for received in log:
            writer.append(received)
    return path


@pytest.fixture(scope="module")
def log() -> list[Received]:
    """Every main alarm of the demo's first gun, and a neighbour."""
    faults = NetworkFaults(duplicate=0.01, reorder=0.01, corrupt=0.002)
    return clinic_log(2, 95.0, faults)


@pytest.fixture(scope="module")
def recording(log: list[Received], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("log") / "clinic.parquet", log)


# Help.


def test_every_command_teaches_itself_with_an_example(myoguard: Command) -> None:
    assert len(app.registered_commands) == len(COMMANDS)
    overview = myoguard("--help")
    assert overview.code == 0
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", overview.out, re.MULTILINE), command
        text = " ".join(myoguard(command, "--help").out.split())
        assert f"Example: myoguard {command} --" in text or f"Example: myoguard {command} " in text


@pytest.mark.parametrize("name", sorted(terminal.SENTENCES))
def test_what_ends_in_a_sentence_is_there(name: str) -> None:
    """They are named as text, so nothing else would notice that one has moved."""
    kind = pkgutil.resolve_name(name)
    assert issubclass(kind, Exception)
    assert f"{kind.__module__}.{kind.__qualname__}" == name


def test_a_bare_command_shows_help(myoguard: Command) -> None:
    assert "demo" in myoguard().err


def test_help_does_not_wait_for_what_it_does_not_need() -> None:
    heavy = {
        "rich",
        "numba",
        "numpy",
        "scipy",
        "pydantic",
        "nicegui",
        "pyarrow",
        "structlog",
        "paho",
    }
    script = "import sys, pipeline.cli; print(*sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not heavy & set(loaded)


def test_every_error_that_is_a_sentence_exists() -> None:
    for name in terminal.SENTENCES:
        module, _, kind = name.rpartition(".")
        assert issubclass(getattr(import_module(module), kind), Exception), name


# What goes wrong.


@pytest.mark.parametrize(
    "words",
    [
        ("record", "--broker", "{nobody}", "--out", "{dir}/x.parquet"),
        ("simulate", "--broker", "{nobody}", "--guns", "1", "--seconds", "1"),
    ],
    ids=lambda words: words[0],
)
def test_a_broker_that_is_not_there(
    words: Sequence[str], myoguard: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = f"mqtt://127.0.0.1:{servers.free_port()}"
    monkeypatch.setenv("MYOGUARD_BROKER__URL", nobody)
    said = myoguard(*(word.format(nobody=nobody, dir=tmp_path) for word in words))
    assert said.code == 1
    assert is_one_sentence(Said(1, said.out, said.err.splitlines()[-1] + "\n")), said
    assert nobody.removeprefix("mqtt://") in said.err
    assert "Traceback" not in said.err
    assert not (tmp_path / "x.parquet").exists()


def test_a_url_that_is_none(myoguard: Command, tmp_path: Path) -> None:
    said = myoguard("record", "--broker", "http://here", "--out", tmp_path / "x.parquet")
    assert said.code == 1
    assert is_one_sentence(said), said
    assert "mqtt://host:port" in said.err


def test_a_configuration_that_is_wrong_names_key_value_and_remedy(
    myoguard: Command, tmp_path: Path
) -> None:
    config = tmp_path / "wrong.toml"
    config.write_text('[broker]\nurl = "nonsense"\n[page]\nprot = 80\n[stoer]\n')
    for command in (("check-config", config), ("run", "--config", config)):
        said = myoguard(*command)
        assert said.code == 1
        assert said.out == ""
        lines = said.err.splitlines()
        assert len(lines) == 3, said.err
        assert any(
            "broker.url" in line and "nonsense" in line and "mqtt://" in line for line in lines
        )
        assert any("page.prot" in line and "did you mean page.port" in line for line in lines)
        assert any("stoer" in line and "store" in line for line in lines)


def test_a_configuration_that_is_not_there(myoguard: Command, tmp_path: Path) -> None:
    said = myoguard("run", "--config", tmp_path / "none.toml")
    assert said.code == 1
    assert is_one_sentence(said), said


def test_a_good_configuration_is_summed_up(myoguard: Command, tmp_path: Path) -> None:
    config = tmp_path / "good.toml"
    config.write_text('[broker]\nurl = "mqtt://broker.example"\n')
    said = myoguard("check-config", config)
    assert said.code == 0
    assert "mqtt://broker.example" in said.out
    assert f"{len(all_profiles(None))} gun models" in said.out


def test_a_data_directory_that_cannot_be_written(
    myoguard: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    monkeypatch.setenv("MYOGUARD_STORE__DIRECTORY", str(file / "store"))
    for said in (myoguard("run"), myoguard("demo", "--no-page", "--data", file / "demo")):
        assert said.code == 1
        assert "Traceback" not in said.err
        assert str(file) in said.err


def test_a_store_that_another_process_writes(myoguard: Command, tmp_path: Path) -> None:
    with Store.open(tmp_path / "data" / "store"):
        said = myoguard("run")
    assert said.code == 1
    assert "another process is already writing" in said.err


def test_a_port_that_is_taken(
    myoguard: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with servers.mosquitto(tmp_path / "broker") as broker:
        monkeypatch.setenv("MYOGUARD_BROKER__URL", broker.url)
        monkeypatch.setenv("MYOGUARD_PAGE__ENABLED", "true")
        monkeypatch.setenv("MYOGUARD_PAGE__PORT", str(broker.port))
        said = myoguard("run")
        shown = myoguard("demo", "--port", broker.port, "--data", tmp_path / "d", "--guns", 1)
    for each in (said, shown):
        assert each.code == 1
        assert "Traceback" not in each.err
        assert str(broker.port) in each.err
        assert "page.port" in each.err


def test_what_is_no_recording(myoguard: Command, tmp_path: Path, recording: Path) -> None:
    text = tmp_path / "text.parquet"
    text.write_text("no columns here")
    for file in (text, tmp_path / "nothing.parquet"):
        said = myoguard("replay", file)
        assert said.code == 1
        assert is_one_sentence(said), said
        assert str(file) in said.err
    said = myoguard("replay", recording, "--features", tmp_path / "no" / "such" / "place.parquet")
    assert said.code == 1
    assert is_one_sentence(said), said


def test_a_gun_that_is_not_in_the_recording(myoguard: Command, recording: Path) -> None:
    said = myoguard("replay", recording, "--json", "--device", "demo/gun-99")
    assert said.code == 1
    assert is_one_sentence(said), said
    assert "demo/gun-99" in said.err
    assert "demo/gun-01, demo/gun-02" in said.err


def test_a_recording_of_that_name_is_kept(
    myoguard: Command, recording: Path, broker: servers.Server
) -> None:
    before = recording.read_bytes()
    said = myoguard("record", "--broker", broker.url, "--out", recording, "--seconds", "5")
    assert said.code == 1
    assert is_one_sentence(said), said
    assert recording.read_bytes() == before


def test_calibrations_that_are_not_there(
    myoguard: Command, tmp_path: Path, recording: Path
) -> None:
    said = myoguard("replay", recording, "--calibration", tmp_path / "none")
    assert said.code == 1
    assert is_one_sentence(said), said


def test_a_bench_that_is_none(myoguard: Command, tmp_path: Path, recording: Path) -> None:
    loadcell = tmp_path / "load.csv"
    loadcell.write_text("t_ns,force_n\n1,2\n")
    said = myoguard("calibrate", recording, loadcell, "--out", tmp_path / "out")
    assert said.code == 1
    assert is_one_sentence(said), said
    assert "2 guns" in said.err
    assert not (tmp_path / "out").exists()


def test_a_folder_without_labels(myoguard: Command, tmp_path: Path) -> None:
    said = myoguard("evaluate", tmp_path)
    assert said.code == 1
    assert is_one_sentence(said), said


# Replay.


def test_a_replay_says_the_same_again(myoguard: Command, recording: Path) -> None:
    first, second = (myoguard("replay", recording, "--json") for _ in range(2))
    assert first.code == 0
    assert first.out == second.out
    lines = [json.loads(line) for line in first.out.splitlines()]
    assert {"OVERDWELL", "EXCESS_PRESSURE", "TENDON_PROXIMITY"} <= {each["rule"] for each in lines}
    assert all(list(each) == sorted(each) for each in lines)
    assert {each["clinic"] for each in lines} == {"demo"}


def test_a_replay_does_not_mind_how_frames_are_cut(myoguard: Command, tmp_path: Path) -> None:
    whole = clinic_log(2, 95.0)
    as_sent = myoguard("replay", write_log(tmp_path / "whole.parquet", whole), "--json")
    cut = myoguard("replay", write_log(tmp_path / "cut.parquet", cut_anew(whole, SEED)), "--json")
    assert as_sent.out
    assert cut.out == as_sent.out, f"seed {SEED}"


def test_recordings_of_two_guns_are_one_log(
    myoguard: Command, tmp_path: Path, log: list[Received], recording: Path
) -> None:
    files = [
        write_log(tmp_path / f"{gun}.parquet", [row for row in log if f"/{gun}/" in row.topic])
        for gun in ("gun-01", "gun-02")
    ]
    assert myoguard("replay", *files, "--json").out == myoguard("replay", recording, "--json").out


def test_one_gun_of_a_recording(myoguard: Command, recording: Path) -> None:
    of_both = myoguard("replay", recording, "--json").out.splitlines()
    of_one = myoguard("replay", recording, "--json", "--device", "demo/gun-01").out.splitlines()
    assert of_one == [line for line in of_both if json.loads(line)["device"] == "gun-01"]


def test_features_are_a_row_a_hop(myoguard: Command, tmp_path: Path, recording: Path) -> None:
    out = tmp_path / "features.parquet"
    said = myoguard("replay", recording, "--features", out)
    assert said.code == 0
    table = pq.read_table(out)
    names = [name for name in Features.__slots__ if name not in ("id", "t_ns")]
    assert table.column_names == ["t_ns", "clinic", "device", *names]
    of_one = table.filter(np.array(table["device"]) == "gun-01")
    t_ns = np.array(of_one["t_ns"])
    assert np.allclose(np.diff(t_ns), 0.25e9, rtol=0.01)
    assert abs(len(t_ns) * 0.25 - 95.0) < 2.0
    force = np.array(of_one["contact_force_n"])[np.array(of_one["contact"])]
    assert 10.0 < np.median(force) < 60.0


def test_the_summary_counts_what_the_lines_say(
    myoguard: Command, log: list[Received], recording: Path
) -> None:
    said = myoguard("replay", recording)
    match = re.search(
        r"frames (\d+) = processed (\d+) \+ rejected (\d+) \+ duplicate (\d+) \+ late (\d+)",
        said.out,
    )
    assert match is not None, said.out
    frames, *parts = map(int, match.groups())
    assert frames == sum(parts) == sum(row.topic.endswith("telemetry") for row in log)
    assert parts[1] > 0
    assert parts[2] > 0
    assert re.search(r"demo/gun-01\s+OVERDWELL\s+1", said.out)


# The bench.


def test_a_calibration_is_written_used_and_seen(myoguard: Command, tmp_path: Path) -> None:
    benches.write_gun_bench(tmp_path, "a", LoadcellClock())
    benches.write_gun_session(tmp_path, "good_practice")
    out = tmp_path / "calibration"
    files = tmp_path / "a.bench.parquet", tmp_path / "a.bench.loadcell.csv"
    said = myoguard("calibrate", *files, "--out", out)
    assert said.code == 0, said.err
    assert f"stroke {1000 * benches.STROKE_M:g} mm of the {benches.MODEL}" in said.out
    assert (out / benches.GUN.clinic / f"{benches.GUN.device}.toml").is_file()
    assert (out / benches.GUN.clinic / f"{benches.GUN.device}.png").is_file()
    session = tmp_path / "good_practice.parquet"
    without = myoguard("replay", session, "--json").out
    having = myoguard("replay", session, "--json", "--calibration", out).out
    assert "UNCALIBRATED" in without
    assert "UNCALIBRATED" not in having


def test_an_unknown_model_is_calibrated_with_a_word_about_its_stroke(
    myoguard: Command, tmp_path: Path
) -> None:
    benches.write_gun_bench(tmp_path, "a", LoadcellClock())
    bench = tmp_path / "a.bench.parquet"
    nameless = [row for row in read_recording(bench) if not row.topic.endswith("/state")]
    recording = write_log(tmp_path / "b.parquet", nameless)
    loadcell = tmp_path / "a.bench.loadcell.csv"
    said = myoguard("calibrate", recording, loadcell, "--out", tmp_path / "out")
    assert said.code == 0, said.err
    assert "13 mm assumed" in said.out
    assert "--stroke-mm" in said.out


def test_evaluate_prints_figures_and_json(myoguard: Command, tmp_path: Path) -> None:
    benches.write_gun_bench(tmp_path, "overdwell", LoadcellClock())
    benches.write_gun_session(tmp_path, "overdwell")
    table = myoguard("evaluate", tmp_path)
    assert table.code == 0, table.err
    assert re.search(r"OVERDWELL\s+1/1\s+100.0 %\s+1/1\s+100.0 %", table.out), table.out
    assert "1 sessions" in table.out
    figures = json.loads(myoguard("evaluate", tmp_path, "--json").out)
    assert figures["sessions"] == 1
    assert figures["rules"]["OVERDWELL"]["recall"] == 1.0


# Brokers.


@contextmanager
def in_the_background(*words: object) -> Iterator[subprocess.Popen[str]]:
    """A command in a process of its own, which is asked to end, or killed if a test fails."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_recording_is_what_was_said(
    myoguard: Command, tmp_path: Path, broker: servers.Server
) -> None:
    topic = "massage/v1/c/gun-1/telemetry"
    said_on_broker = [(topic, b"%d" % k) for k in range(ROW_GROUP_MESSAGES_MAX)]
    out = tmp_path / "heard.parquet"
    part = out.with_name(out.name + PART_SUFFIX)
    with in_the_background("record", "--broker", broker.url, "--out", out) as recorder:
        servers.until(part.exists, "the recorder listens")
        servers.publish(broker.port, said_on_broker)
        servers.until(lambda: part.stat().st_size, "all messages are in a row group")
        recorder.terminate()
        assert recorder.wait(servers.DEADLINE_S) == 0
        assert f"{len(said_on_broker)} messages" in recorder.communicate()[0]
    assert [(row.topic, row.payload) for row in read_recording(out)] == said_on_broker
    assert f"rejected {len(said_on_broker)}" in myoguard("replay", out).out


def test_simulated_guns_keep_books(myoguard: Command, broker: servers.Server) -> None:
    shares = ("--drop", "0.05", "--duplicate", "0.05", "--corrupt", "0.02")
    options = ("--guns", "3", "--seconds", "3", "--seed", SEED, *shares, "--json")
    with servers.listening(broker.port, "massage/v1/+/+/telemetry") as heard:
        said = myoguard("simulate", "--broker", broker.url, *options)
        report = json.loads(said.out)
        servers.until(lambda: len(heard) >= report["frames_published"], "all frames are heard")
    assert said.code == 0
    assert report["frames_published"] == len(heard)
    assert report["guns"] == 3


def test_the_doctor_finds_a_healthy_machine(
    myoguard: Command, broker: servers.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MYOGUARD_BROKER__URL", broker.url)
    said = myoguard("doctor")
    assert said.code == 0, said
    for subject in ("configuration", "broker", "store", "clock", "compiler"):
        assert re.search(rf"^[✓!] {subject}: ", said.out, re.MULTILINE), said.out


def test_the_doctor_goes_on_after_a_fault(
    myoguard: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MYOGUARD_BROKER__URL", f"mqtt://127.0.0.1:{servers.free_port()}")
    file = tmp_path / "file"
    file.write_text("in the way")
    monkeypatch.setenv("MYOGUARD_STORE__DIRECTORY", str(file / "store"))
    said = myoguard("doctor")
    assert said.code == 1
    assert "Traceback" not in said.err
    assert re.search(r"^✗ broker: .+\n    \S", said.out, re.MULTILINE)
    assert re.search(r"^✗ store: .+\n    set store.directory", said.out, re.MULTILINE)
    assert re.search(r"^✓ compiler: ", said.out, re.MULTILINE)


# What the pipeline is told of guns.


def test_profiles_become_priors_that_a_bench_would_agree_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MYOGUARD_CALIBRATION__DIRECTORY", str(tmp_path))
    guns = known_guns(load(None))
    assert set(guns.priors) == set(guns.models) == set(all_profiles(None))
    benches.write_gun_bench(tmp_path, "a", LoadcellClock())
    loadcell = tmp_path / "a.bench.loadcell.csv"
    measured = calibrate_from_files(tmp_path / "a.bench.parquet", loadcell, {}, benches.STROKE_M)
    prior = guns.priors[benches.MODEL]
    assert prior.stroke_m == benches.STROKE_M
    assert prior.a1_per_hz2[0] == pytest.approx(np.mean(measured.calibration.a1_per_hz2), rel=0.2)
    assert prior.i0_a[0] == pytest.approx(np.mean(measured.calibration.i0_a), rel=0.3)
    assert prior.second[0].real == pytest.approx(
        np.mean(np.real(measured.calibration.second)), abs=0.05
    )


def test_a_profile_of_ones_own_wins(tmp_path: Path) -> None:
    packaged = files("devices").joinpath("profiles", "hx-16.toml").read_text("utf-8")
    (tmp_path / "hx-16.toml").write_text(packaged.replace("stroke_mm = 16.0", "stroke_mm = 15.5"))
    (tmp_path / "new-1.toml").write_text(packaged)
    profiles = all_profiles(tmp_path)
    assert profiles["hx-16"].drive.stroke_mm == 15.5
    assert profiles["new-1"].drive.stroke_mm == 16.0


def test_the_compiler_gets_a_place_of_its_own_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(compiling.CACHE_VARIABLE, "")
    compiling.have_cache([tmp_path])
    assert os.environ[compiling.CACHE_VARIABLE] == ""
    compiling.have_cache([Path("/dev/null/cache")])
    assert Path(os.environ[compiling.CACHE_VARIABLE]).is_dir()


def test_a_log_that_nobody_reads_any_more_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal.log_to_stderr()
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", buffering=1) as broken, monkeypatch.context() as unread:  # noqa: PTH123
        unread.setattr("sys.stderr", broken)
        structlog.get_logger().warning("to nobody")
        with suppress(BrokenPipeError):
            broken.close()
        structlog.get_logger().warning("to a closed file")
    heard = io.StringIO()
    monkeypatch.setattr("sys.stderr", heard)
    structlog.get_logger().warning("to whoever is there now")
    assert "to whoever is there now" in heard.getvalue()
