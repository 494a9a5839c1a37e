"""A unit's bench session and its load cell become its Calibration, with the fit's uncertainty.

At the bench a gun is pushed on reference pads against a load cell, every speed, 0 to 100 N, 3 s
each. Unloaded seconds give the free run (amplitude, harmonics, current by speed); loaded ones run
through the same inversion as live telemetry (pipeline.contact), and what it misses of the load
cell, smoothly in force and speed, is the correction. May import features and further in; reads no
files except its own TOML.
"""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline import baseline, contact, force
from pipeline.features import GENERIC, Calibration, signal_hops
from pipeline.identification import identify, soft_log_sd
from pipeline.model import DeviceId, Frame
from pipeline.stiffness import STIFFNESS_MODEL
from pipeline.waveform import SOFT_M_N

Floats = NDArray[np.float64]

FREE_N = 0.6  # under this the head hangs free; load cells used at benches read to 0.1-0.2 N
LOADED_N = 5.0  # under this the pad is barely touched
STEADY = 0.04  # the load may wander by this share over a window; engineering choice
STEADY_N = 0.6
SETTLED_WINDOWS = 5  # speed changes and inrush are over
LEAST_SPEEDS, LEAST_LEVELS, LEAST_HOPS = 2, 4, 24
MOST_CLIPPED = 0.1  # share of loaded hops that may touch the end of the scale
# Rank correlation of estimate and load at each speed, "monotone in load". Engineering choice: two
# pads of different firmness overlap under foam, and a right bench came down to 0.90.
LEAST_ORDER = 0.85
LEAST_SD = 0.03  # the load cell, the pads and the hop-to-hop scatter are not better than this
LARGEST_SHIFT = math.log(3.0)  # a correction beyond a factor of three means another gun
RIDGE = 1e-3  # keeps curvature out of it where the bench has few points; engineering choice
# Robust standard deviations beyond which hops are left out, and fits until the choice stands: at
# 100 N a weak motor limps, and four such hops bent a whole correction. Engineering choices.
OUTLIER, TRIMMED_FITS = 6.0, 3
# What the inversion cannot explain although it knows the gun: a motor that limps. On 32 simulated
# benches the worst of all other hops cost 13, limping ones 54.
LIMPING_COST = 25.0
MOST_LIMPING = 0.25  # of a speed's hops; the highest load on both pads is a fifth of a bench
LEAST_LIKENESS = 0.5  # correlation of current and load; other sessions give under 0.3
SECOND_NS = 1_000_000_000
ALIGN_MOST_S, ALIGN_STEP_S = 3.0, 0.05  # clocks set by hand differ by less


class CalibrationError(Exception):
    """The bench data cannot give a calibration; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class BenchFit:
    """A calibration and what it was made of, hop by hop: for the picture and the report."""

    device: DeviceId
    calibration: Calibration
    speed_hz: Floats
    load_n: Floats
    raw_n: Floats
    fitted_n: Floats
    loadcell_offset_s: float
    loadcell_drift_ppm: float


def fit(
    frames: Sequence[Frame], load_t_ns: NDArray[np.int64], load_n: Floats, stroke_m: float
) -> BenchFit:
    """Fit one unit. `load_t_ns` and `load_n` are the load cell's log. Raises CalibrationError."""
    if not frames:
        raise CalibrationError("the bench recording holds no telemetry frames: record it again")
    hops = signal_hops(frames)
    hops = hops[(hops["set_hz"] > 0) & (hops["present"] > 0.9)]
    _check_load(hops, load_t_ns, load_n)
    offset_s, drift = align(hops, load_t_ns, load_n)
    t_s = (load_t_ns - load_t_ns[0]) / 1e9 * (1.0 + drift) + offset_s + load_t_ns[0] / 1e9
    load = _Load(t_s, load_n)
    _check_clipping(hops, load)
    free = _free_run(hops, load, stroke_m)
    meaning, keep, truth = _loaded(hops, load, free)
    _check_loaded(truth[keep])
    gun = identify(free, hops[keep], truth[keep])
    meaning, keep, truth = _loaded(hops, load, gun)
    keep &= np.expm1(meaning["cues"][:, force.COST_CUE]) < LIMPING_COST
    raw, f_hz = meaning["raw_n"][keep], meaning["percussion_hz"][keep]
    fitted, calibration = _correct(gun, raw, f_hz, truth[keep])
    calibration = _by_current(calibration, meaning[keep], truth[keep])
    meaning, keep, truth = _loaded(hops, load, calibration)
    _check_monotone(meaning[keep], truth[keep])
    at_ns = int(hops["t_ns"][-1]) // SECOND_NS * SECOND_NS
    calibration = replace(calibration, calibrated_at_ns=at_ns)
    return BenchFit(
        frames[0].id, calibration, f_hz, truth[keep], raw, fitted, offset_s, drift * 1e6
    )


# The load cell, and its clock.


@dataclass(frozen=True, slots=True)
class _Load:
    """The load cell's log on the gun's clock: seconds, newtons."""

    t_s: Floats
    force_n: Floats

    def mean(self, end_s: Floats, width_s: float) -> Floats:
        """Mean force over the `width_s` before each `end_s`."""
        total = np.concatenate([[0.0], np.cumsum(_trapezoids(self.t_s, self.force_n))])
        upper = np.interp(end_s, self.t_s, total)
        lower = np.interp(end_s - width_s, self.t_s, total)
        return np.asarray((upper - lower) / width_s, np.float64)


def _trapezoids(x: Floats, y: Floats) -> Floats:
    return 0.5 * (y[1:] + y[:-1]) * np.diff(x)


def _check_load(hops: NDArray[Any], load_t_ns: NDArray[np.int64], load_n: Floats) -> None:
    if hops.size < LEAST_HOPS:
        raise CalibrationError(
            f"only {hops.size} usable quarter seconds with the motor on; push the gun at each of"
            " its speeds on both pads, 0 to 100 N, 3 s each"
        )
    if load_t_ns.size < 10 or not np.all(np.isfinite(load_n)) or np.any(np.diff(load_t_ns) <= 0):
        raise CalibrationError(
            "the load-cell log is not a rising series of t_ns with finite force_n: export it again"
        )
    slack = int(ALIGN_MOST_S * 1e9)
    if load_t_ns[0] > hops["t_ns"][-1] + slack or load_t_ns[-1] < hops["t_ns"][0] - slack:
        raise CalibrationError(
            "the load-cell log and the recording do not overlap in time: are they of one session?"
        )


def align(hops: NDArray[Any], load_t_ns: NDArray[np.int64], load_n: Floats) -> tuple[float, float]:
    """Offset [s] and relative drift of the gun's clock over the load cell's.

    Where the motor current and the load rise and fall together best: by correlation, over the first
    and the last half.
    """
    start_s = load_t_ns[0] / 1e9
    load_s = (load_t_ns - load_t_ns[0]) / 1e9
    hop_s = hops["t_ns"] / 1e9 - start_s - 0.25  # centre of the window
    current = hops["mean"][:, 3]
    half = hop_s.size // 2
    shifts = [
        _best_shift(hop_s[part], current[part], load_s, load_n)
        for part in (slice(0, half), slice(half, None), slice(None))
    ]
    span_s = hop_s[half:].mean() - hop_s[:half].mean()
    drift = (shifts[1] - shifts[0]) / max(span_s, 1.0)
    if abs(drift) * (load_s[-1] - load_s[0]) <= ALIGN_STEP_S:
        return shifts[2], 0.0  # within what the search can tell apart
    return shifts[0] - drift * hop_s[:half].mean(), drift


def _best_shift(hop_s: Floats, current: Floats, load_s: Floats, load_n: Floats) -> float:
    shifts = np.arange(-ALIGN_MOST_S, ALIGN_MOST_S + ALIGN_STEP_S / 2, ALIGN_STEP_S)
    scores = np.full(shifts.size, -1.0)
    for k, shift in enumerate(shifts):
        load = np.interp(hop_s - shift, load_s, load_n)
        if load.std() > 1.0:
            scores[k] = np.corrcoef(current, load)[0, 1]
    k = int(scores.argmax())
    if scores[k] < LEAST_LIKENESS:
        raise CalibrationError(
            "motor current and load do not rise and fall together: the log is of another session,"
            " or the load cell was not under the pad"
        )
    if not 0 < k < shifts.size - 1:
        return float(shifts[k])
    before, at, after = scores[k - 1 : k + 2]  # between the steps: the top of the parabola
    bend = before - 2.0 * at + after
    return float(shifts[k] + (0.5 * (before - after) / bend * ALIGN_STEP_S if bend < 0 else 0.0))


# Hops: steady, free and loaded.


def _steady(hops: NDArray[Any], load: _Load) -> NDArray[np.bool_]:
    """Windows under a constant load, at a settled speed."""
    end_s = hops["t_ns"] / 1e9
    now, before = load.mean(end_s, 0.25), load.mean(end_s - 0.75, 0.25)
    limit = STEADY_N + STEADY * now
    settled = hops["settled"] > SETTLED_WINDOWS
    return np.asarray((np.abs(now - before) < limit) & settled)


def _free_run(hops: NDArray[Any], load: _Load, stroke_m: float) -> Calibration:
    load_n = load.mean(hops["t_ns"] / 1e9, 0.75)
    free = _steady(hops, load) & (np.abs(load_n) < FREE_N)
    rows: list[_FreeRow] = []
    for speed in np.unique(hops["set_hz"]):
        at = hops[free & (hops["set_hz"] == speed)]
        if at.size >= 2:
            rows.append(_free_row(at))
    if len(rows) < LEAST_SPEEDS:
        raise CalibrationError(
            f"the gun runs free (under {FREE_N} N) at {len(rows)} speed(s) only; at least"
            f" {LEAST_SPEEDS} are needed: begin every speed with 3 s in air"
        )
    rows.sort(key=lambda row: row.speed_hz)
    by_speed = _FreeRow(*zip(*rows[: baseline.MAX_SPEEDS], strict=True))
    try:
        return Calibration(True, stroke_m, GENERIC.mass_kg, **by_speed._asdict())
    except ValueError as error:
        raise CalibrationError(f"{error}: two of its speeds are the same") from error


class _FreeRow(NamedTuple):
    """The free run at one speed, by the names that Calibration gives to all of them."""

    speed_hz: Any
    a1_per_hz2: Any
    second: Any
    third: Any
    i0_a: Any
    i1_a: Any
    i2_a: Any


def _free_row(at: NDArray[Any]) -> _FreeRow:
    first = at["z_order"][:, 1]
    f = float(np.median(at["f_hz"]))
    size = np.abs(first)
    turn = first.conj() / size
    return _FreeRow(
        f,
        float(np.median(size)) / f**2,
        complex(np.mean(at["z_order"][:, 3] * turn**2 / size)),
        complex(np.mean(at["z_order"][:, 4] * turn**3 / size)),
        float(np.median(at["mean"][:, 3])),
        complex(np.mean(at["i_order"][:, 1] * turn)),
        complex(np.mean(at["i_order"][:, 3] * turn**2)),
    )


def _loaded(
    hops: NDArray[Any], load: _Load, calibration: Calibration
) -> tuple[NDArray[Any], NDArray[np.bool_], Floats]:
    """Run the live path over the bench: its meaning, which hops to fit, the load in them."""
    units = np.zeros(int(hops["slot"].max()) + 1, baseline.UNIT)
    for unit in units:
        calibration.fill(unit)
    meaning = np.zeros(hops.size, contact.MEANING)
    contact.interpret(np.zeros(units.size, contact.CONTACT), units, STIFFNESS_MODEL, hops, meaning)
    truth = load.mean(hops["t_ns"] / 1e9, 0.5)  # what raw_n saw: one window
    in_contact = (meaning["contact"] == 1) & (meaning["motor"] == contact.RUNNING)
    keep = _steady(hops, load) & (truth > LOADED_N) & in_contact
    return meaning, np.asarray(keep & (meaning["contact_force_n"] > 1.0)), truth


# What is refused.


def _check_clipping(hops: NDArray[Any], load: _Load) -> None:
    loaded = load.mean(hops["t_ns"] / 1e9, 0.5) > LOADED_N
    if np.mean(hops["clipped"][loaded] > 0) > MOST_CLIPPED:
        raise CalibrationError(
            "the accelerometer runs against the end of its scale in over 10 % of the loaded data:"
            " set a wider range, or use softer pads"
        )


def _check_loaded(load_n: Floats) -> None:
    if load_n.size < LEAST_HOPS:
        raise CalibrationError(
            f"only {load_n.size} quarter seconds of steady load over {LOADED_N:g} N; hold each"
            " step 3 s"
        )
    levels = np.unique(np.round(load_n / 5.0)).size
    if levels < LEAST_LEVELS:
        raise CalibrationError(
            f"only {levels} different loads; at least {LEAST_LEVELS} between 5 and 100 N are needed"
        )


def _check_monotone(meaning: NDArray[Any], load_n: Floats) -> None:
    """What comes out live must rise with the load, at every speed, but where a weak motor limps."""
    said_n = meaning["contact_force_n"]
    for speed in np.unique(meaning["set_percussion_hz"]):
        at = meaning["set_percussion_hz"] == speed
        if at.sum() < 8 or load_n[at].std() < 5.0:
            continue
        error = np.log(said_n[at] / load_n[at])
        even = _in_line(error - np.median(error))
        if even.mean() >= 1.0 - MOST_LIMPING:
            at[at] = even
        if _order(said_n[at], load_n[at]) < LEAST_ORDER:
            raise CalibrationError(
                f"at {speed:g} Hz the signals do not rise with the load: check that the load cell"
                " and the recording are of this gun, and that the head is tight"
            )


def _order(x: Floats, y: Floats) -> float:
    """Spearman's rank correlation."""
    rx, ry = np.argsort(np.argsort(x)), np.argsort(np.argsort(y))
    return float(np.corrcoef(rx, ry)[0, 1])


# What is left to correct.


def _terms(a: Floats, f_hz: Floats) -> Floats:
    """Columns 1, a, q, a², aq, q² of pipeline.force.surface."""
    q = np.log(f_hz / 36.0)
    return np.stack([np.ones_like(a), a, q, a * a, a * q, q * q], axis=1)


def _surface(a: Floats, f_hz: Floats, y: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Weights of the ridge regression of y, what they leave, and which hops had a say."""
    terms, kept = _terms(a, f_hz), np.ones(a.size, np.bool_)
    ridge = RIDGE * np.diag([0.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    for _ in range(TRIMMED_FITS):
        x = terms[kept]
        weights = np.linalg.solve(x.T @ x + kept.sum() * ridge, x.T @ y[kept])
        left = y - terms @ weights
        kept = _in_line(left)
    return weights, left, kept


def _in_line(left: Floats) -> NDArray[np.bool_]:
    """Which are no outliers, by the median of all."""
    return np.abs(left) < OUTLIER * max(1.4826 * float(np.median(np.abs(left))), LEAST_SD)


def _correct(
    free: Calibration, raw_n: Floats, f_hz: Floats, load_n: Floats
) -> tuple[Floats, Calibration]:
    """The smooth correction of log force, and the scatter that it leaves."""
    a = np.log(raw_n / 30.0)
    shift = np.log(load_n / raw_n)
    weights, left, kept = _surface(a, f_hz, shift)
    if np.median(np.abs(shift - left)) > LARGEST_SHIFT:
        raise CalibrationError(
            "force from the waveform and load differ by over a factor of three: wrong stroke in the"
            " profile, or the load-cell log is not in newtons"
        )
    calibration = replace(
        free,
        correction=tuple(float(w) for w in weights),
        correction_low=_corner(a[kept], f_hz[kept], np.min),
        correction_high=_corner(a[kept], f_hz[kept], np.max),
        force_rel_sd=math.hypot(max(float(left[kept].std()), LEAST_SD), soft_log_sd(free)),
    )
    return np.asarray(raw_n * np.exp(shift - left), np.float64), calibration


def _by_current(calibration: Calibration, meaning: NDArray[Any], load_n: Floats) -> Calibration:
    """The second witness: load from current over no-load alone."""
    f_hz = meaning["percussion_hz"]
    at = np.array(calibration.speed_hz)
    work = meaning["current_a"] - np.interp(f_hz, at, np.array(calibration.i0_a))
    f_hz, work, load_n = f_hz[work > 0], work[work > 0], load_n[work > 0]
    a = np.log(work)
    weights, left, kept = _surface(a, f_hz, np.log(load_n / 30.0))
    return replace(
        calibration,
        by_current=tuple(float(w) for w in weights),
        by_current_low=_corner(a[kept], f_hz[kept], np.min),
        by_current_high=_corner(a[kept], f_hz[kept], np.max),
        by_current_rel_sd=max(float(left[kept].std()), LEAST_SD),
    )


def _corner(a: Floats, f_hz: Floats, pick: Callable[[Floats], float]) -> tuple[float, float]:
    return float(pick(a)), float(pick(np.log(f_hz / 36.0)))


# On the disk, and drawn.


def to_toml(calibration: Calibration, device: DeviceId) -> str:
    """The calibration as TOML, keys in the order of the dataclass."""
    lines = [
        f"# Calibration of {device}, written by `myoguard calibrate`; see docs/calibration.md",
        f"stroke_m = {calibration.stroke_m!r}",
        f"mass_kg = {calibration.mass_kg!r}",
        f"force_rel_sd = {calibration.force_rel_sd!r}",
        f"amps_per_work = {calibration.amps_per_work!r}",
        f"by_current_rel_sd = {calibration.by_current_rel_sd!r}",
    ]
    for name in _TUPLES:
        values = ", ".join(repr(float(v)) for v in getattr(calibration, name))
        lines.append(f"{name} = [{values}]")
    for name in _COMPLEX:
        values = ", ".join(f"[{v.real!r}, {v.imag!r}]" for v in getattr(calibration, name))
        lines.append(f"{name} = [{values}]")
    if (at_ns := calibration.calibrated_at_ns) is not None:
        at = datetime.fromtimestamp(at_ns // SECOND_NS, UTC)
        lines.append(f"{_AT} = {at:%Y-%m-%dT%H:%M:%SZ}")
    return "\n".join(lines) + "\n"


_TUPLES = (
    "speed_hz",
    "a1_per_hz2",
    "i0_a",
    "correction",
    "correction_low",
    "correction_high",
    "by_current",
    "by_current_low",
    "by_current_high",
    "gun",
)
_AT = "calibrated_at"
_COMPLEX = ("second", "third", "i1_a", "i2_a")
_SCALARS = ("stroke_m", "mass_kg", "force_rel_sd", "amps_per_work", "by_current_rel_sd")


def from_toml(text: str, where: str) -> Calibration:
    """Read what `to_toml` wrote. Raises CalibrationError naming the file and the key."""
    try:
        raw = tomllib.loads(text)
        values: dict[str, Any] = {name: _floats(raw[name], name) for name in _TUPLES}
        for name in _COMPLEX:
            values[name] = tuple(complex(*_floats(pair, name)) for pair in raw[name])
        values.update(zip(_SCALARS, _floats([raw[n] for n in _SCALARS], "a number"), strict=True))
        if len(values["gun"]) == SOFT_M_N:  # a file of before heads had a spring
            values["gun"] += (0.0,)
        values["calibrated_at_ns"] = _time_ns(raw.get(_AT))
        calibration = Calibration(calibrated=True, **values)
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise CalibrationError(f"{where}: {error}; run `myoguard calibrate` again") from error
    _check_values(calibration, where)
    return calibration


def _floats(raw: Sequence[Any], name: str) -> tuple[float, ...]:
    values = tuple(float(v) for v in raw)
    if not all(math.isfinite(v) for v in values):
        raise ValueError(f"{name} has a value that is not finite")
    return values


def _time_ns(at: object) -> int | None:
    if at is None:  # a file of before there was one
        return None
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise ValueError(f"{_AT} is a time with its zone, as 2026-09-21T14:13:20Z, not {at}")
    return int(at.timestamp()) * SECOND_NS


def _check_values(c: Calibration, where: str) -> None:
    ranges = (c.correction_low, c.correction_high, c.by_current_low, c.by_current_high)
    if {len(c.correction), len(c.by_current)} != {6} or {len(r) for r in ranges} != {2}:
        raise CalibrationError(
            f"{where}: correction and by_current have 6 numbers, their ranges 2 each"
        )
    positive = (c.stroke_m, c.mass_kg, c.force_rel_sd, *c.speed_hz, *c.a1_per_hz2, *c.i0_a)
    if min(positive) <= 0.0:
        raise CalibrationError(f"{where}: lengths, masses, speeds and currents are > 0")


def load_folder(folder: Path) -> dict[DeviceId, Calibration]:
    """Every `{clinic}/{device}.toml` below `folder`."""
    found = {}
    for path in sorted(folder.glob("*/*.toml")):
        device = DeviceId(path.parent.name, path.stem)
        found[device] = from_toml(path.read_text(encoding="utf-8"), str(path))
    return found


def save(fitted: BenchFit, folder: Path) -> Path:
    """Write `{clinic}/{device}.toml` and the picture of the fit beside it; returns the TOML."""
    path = install(fitted.device, to_toml(fitted.calibration, fitted.device), folder)
    draw(fitted, path.with_suffix(".png"))
    return path


def install(device: DeviceId, text: str, folder: Path, picture: bytes | None = None) -> Path:
    """Put a calibration where `load_folder` finds it: all of it or, at a crash, what was before."""
    path = folder / device.clinic / f"{device.device}.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    if picture is not None:
        path.with_suffix(".png").write_bytes(picture)
    new = path.with_suffix(".toml.new")
    with new.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    return path


def draw(fitted: BenchFit, path: Path) -> None:
    """A picture of the fit: load against estimate, before and after the correction, by speed."""
    from matplotlib.figure import Figure  # noqa: PLC0415  costs 0.4 s that only this needs

    figure = Figure(figsize=(7.0, 5.5), layout="constrained")
    axes = figure.subplots()
    top = float(fitted.load_n.max()) * 1.1
    sd = fitted.calibration.force_rel_sd
    line = np.array([0.0, top])
    axes.fill_between(line, line * (1 - 2 * sd), line * (1 + 2 * sd), color="0.9", label="± 2 SD")
    axes.plot(line, line, color="0.5", lw=1)
    speeds = np.array(fitted.calibration.speed_hz)
    nearest = np.abs(fitted.speed_hz[:, None] - speeds[None, :]).argmin(axis=1)
    for k, speed in enumerate(speeds):
        at = nearest == k
        axes.plot(fitted.load_n[at], fitted.raw_n[at], "x", color=f"C{k}", ms=4, alpha=0.5)
        axes.plot(
            fitted.load_n[at],
            fitted.fitted_n[at],
            "o",
            color=f"C{k}",
            ms=4,
            label=f"{speed:.1f} Hz",
        )
    axes.set(
        xlabel="load cell, N",
        ylabel="force from the waveform, N",
        xlim=(0, top),
        ylim=(0, top * 1.1),
        title=f"{fitted.device}: SD {100 * sd:.1f} % (x before, o after the correction)",
    )
    axes.legend(loc="upper left", frameon=False)
    figure.savefig(path, dpi=110)
