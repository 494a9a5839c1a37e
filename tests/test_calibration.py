"""Calibration: the bench gives force, other clocks are aligned, bad bench data is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import benches
import numpy as np
import pytest

from devices.profile import load_profile
from devices.recording import LoadcellClock
from pipeline import calibration, wire
from pipeline.calibration import BenchFit, CalibrationError
from pipeline.capture import read_recording
from pipeline.evaluation import read_loadcell
from pipeline.model import DeviceId, Frame

OFFSET_S, SECOND_NS = 0.8, 1_000_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench")
    benches.write_gun_bench(path, "plain", LoadcellClock())
    benches.write_gun_bench(path, "late", LoadcellClock(offset_s=OFFSET_S))
    return path


def frames_of(path: Path) -> list[Frame]:
    messages = (wire.decode(m.topic, m.payload) for m in read_recording(path))
    return [m for m in messages if isinstance(m, Frame)]


@pytest.fixture(scope="module")
def frames(folder: Path) -> list[Frame]:
    return frames_of(folder / "plain.bench.parquet")


@pytest.fixture(scope="module")
def load(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    return read_loadcell(folder / "plain.bench.loadcell.csv")


@pytest.fixture(scope="module")
def fitted(frames: list[Frame], load: tuple[np.ndarray, np.ndarray]) -> BenchFit:
    return calibration.fit(frames, *load, benches.STROKE_M)


def test_the_fit_gives_the_free_run_at_every_speed(fitted: BenchFit) -> None:
    known = fitted.calibration
    assert fitted.device == benches.GUN
    assert len(known.speed_hz) == len(load_profile(benches.MODEL).drive.speeds_hz)
    assert list(known.speed_hz) == sorted(known.speed_hz)
    # an inertia force grows with f²: the quotient is the same at all speeds, within the hand's say
    assert max(known.a1_per_hz2) / min(known.a1_per_hz2) < 1.25
    assert all(i0 > 0 for i0 in known.i0_a)


def test_the_correction_brings_the_estimate_to_the_load(fitted: BenchFit) -> None:
    before = np.abs(np.log(fitted.raw_n / fitted.load_n))
    after = np.abs(np.log(fitted.fitted_n / fitted.load_n))
    assert np.median(after) < 0.2
    assert after.mean() < before.mean()
    assert fitted.load_n.min() < 12 < 90 < fitted.load_n.max()


def test_the_uncertainty_covers_the_scatter(fitted: BenchFit) -> None:
    left = np.log(fitted.fitted_n / fitted.load_n)
    within = np.abs(left) < 2 * fitted.calibration.force_rel_sd
    assert within.mean() > 0.9


def test_a_load_cell_clock_that_is_off_is_found(folder: Path, fitted: BenchFit) -> None:
    late = calibration.fit(
        frames_of(folder / "late.bench.parquet"),
        *read_loadcell(folder / "late.bench.loadcell.csv"),
        benches.STROKE_M,
    )
    found_s = fitted.loadcell_offset_s - late.loadcell_offset_s
    assert found_s == pytest.approx(OFFSET_S, abs=0.05)
    assert late.calibration.i0_a == pytest.approx(fitted.calibration.i0_a, rel=0.05)


def test_toml_round_trip(fitted: BenchFit) -> None:
    text = calibration.to_toml(fitted.calibration, fitted.device)
    assert calibration.from_toml(text, "there") == fitted.calibration


def test_a_calibration_says_when_its_bench_was_and_an_old_file_need_not(
    fitted: BenchFit, frames: list[Frame]
) -> None:
    at_ns = fitted.calibration.calibrated_at_ns
    assert at_ns is not None
    assert 0 <= frames[-1].t0_ns - at_ns < 2 * SECOND_NS
    lines = calibration.to_toml(fitted.calibration, fitted.device).splitlines()
    old = "\n".join(line for line in lines if not line.startswith("calibrated_at"))
    assert len(old.splitlines()) == len(lines) - 1
    assert calibration.from_toml(old, "there") == replace(fitted.calibration, calibrated_at_ns=None)


def test_a_toml_of_before_heads_had_a_spring_has_a_rigid_one(fitted: BenchFit) -> None:
    rigid = (*fitted.calibration.gun[:-1], 0.0)
    text = calibration.to_toml(fitted.calibration, fitted.device)
    old = text.replace(f", {fitted.calibration.gun[-1]!r}]", "]")
    assert old != text
    assert calibration.from_toml(old, "there") == replace(fitted.calibration, gun=rigid)


def test_save_writes_the_toml_and_a_picture_and_load_folder_reads_it(
    fitted: BenchFit, tmp_path: Path
) -> None:
    path = calibration.save(fitted, tmp_path)
    assert path == tmp_path / "clinic" / "gun-1.toml"
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert calibration.load_folder(tmp_path) == {benches.GUN: fitted.calibration}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.replace("stroke_m", "stroke_mm"), "stroke_m"),
        (lambda text: text + "[", "there"),
        (lambda text: text.replace("mass_kg = ", "mass_kg = -"), "> 0"),
        (lambda text: text.replace("i0_a = [", "i0_a = [nan, "), "i0_a"),
        (lambda text: text.replace("by_current = [", "by_current = [1.0, "), "6 numbers"),
        (lambda text: text.replace("Z\n", "\n"), "calibrated_at .* zone"),
        (lambda text: text.replace("speed_hz = [", "speed_hz = [1.0, "), "there: .*speeds"),
    ],
)
def test_a_toml_that_was_tampered_with_is_refused(
    fitted: BenchFit, change: object, says: str
) -> None:
    assert callable(change)
    text = change(calibration.to_toml(fitted.calibration, fitted.device))
    with pytest.raises(CalibrationError, match=says):
        calibration.from_toml(text, "there")


def test_no_frames_is_refused(load: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(CalibrationError, match="no telemetry"):
        calibration.fit([], *load, benches.STROKE_M)


def test_too_few_points_are_refused(
    frames: list[Frame], load: tuple[np.ndarray, np.ndarray]
) -> None:
    with pytest.raises(CalibrationError, match="usable quarter seconds"):
        calibration.fit(frames[:12], *load, benches.STROKE_M)


def test_one_speed_is_refused(frames: list[Frame], load: tuple[np.ndarray, np.ndarray]) -> None:
    slow = [f for f in frames if f.set_percussion_hz == frames[0].set_percussion_hz]
    t_ns, force_n = load
    part = t_ns <= slow[-1].t0_ns
    with pytest.raises(CalibrationError, match="speed"):
        calibration.fit(slow, t_ns[part], force_n[part], benches.STROKE_M)


def test_a_log_of_another_day_is_refused(
    frames: list[Frame], load: tuple[np.ndarray, np.ndarray]
) -> None:
    t_ns, force_n = load
    with pytest.raises(CalibrationError, match="overlap"):
        calibration.fit(frames, t_ns + 86_400_000_000_000, force_n, benches.STROKE_M)


def test_a_log_of_another_session_is_refused(
    frames: list[Frame], load: tuple[np.ndarray, np.ndarray]
) -> None:
    t_ns, force_n = load
    rng = np.random.default_rng(7)
    blocks = rng.permutation(np.array_split(force_n, 48).__len__())
    shuffled = np.concatenate([np.array_split(force_n, 48)[k] for k in blocks])
    with pytest.raises(CalibrationError, match="rise"):
        calibration.fit(frames, t_ns, shuffled, benches.STROKE_M)


def test_a_load_that_hardly_changes_is_refused(
    frames: list[Frame], load: tuple[np.ndarray, np.ndarray]
) -> None:
    t_ns, force_n = load
    with pytest.raises(CalibrationError, match="loads"):
        calibration.fit(frames, t_ns, np.minimum(force_n, 12.0), benches.STROKE_M)


def test_a_clock_that_runs_backwards_is_refused(
    frames: list[Frame], load: tuple[np.ndarray, np.ndarray]
) -> None:
    t_ns, force_n = load
    with pytest.raises(CalibrationError, match="rising"):
        calibration.fit(frames, t_ns[::-1].copy(), force_n, benches.STROKE_M)


def test_a_saturated_sensor_is_refused(
    frames: list[Frame], load: tuple[np.ndarray, np.ndarray]
) -> None:
    loud = []
    for frame in frames:
        samples = frame.samples_lsb.astype(np.int32)
        samples[:, 2] *= 12
        clipped = np.clip(samples, -32768, 32767).astype(np.int16)
        loud.append(replace(frame, samples_lsb=clipped))
    with pytest.raises(CalibrationError, match="scale"):
        calibration.fit(loud, *load, benches.STROKE_M)


def test_a_load_cell_file_names_its_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "cell.csv"
    path.write_text("t_ns,force_n\n1,0.5\n2,heavy\n")
    with pytest.raises(CalibrationError, match=r"cell\.csv, line 3"):
        read_loadcell(path)


def test_only_toml_files_in_clinic_folders_are_read(tmp_path: Path, fitted: BenchFit) -> None:
    (tmp_path / "notes.toml").write_text("not = 'a calibration'")
    other = replace(fitted, device=DeviceId("north", "gun-9"))
    calibration.save(other, tmp_path)
    assert set(calibration.load_folder(tmp_path)) == {other.device}
