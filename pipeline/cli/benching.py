"""What `calibrate` and `evaluate` do, and how their results read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from pipeline.calibration import BenchFit, CalibrationError, save
from pipeline.capture import read_recording
from pipeline.cli.gun_models import all_profiles, known_guns, strokes_m
from pipeline.config import Settings
from pipeline.evaluation import DEFAULT_STROKE_M, GATED, Report, calibrate_from_files
from pipeline.evaluation import evaluate as score
from pipeline.model import DeviceState
from pipeline.monitor import MonitorSettings
from pipeline.wire import DecodeError, TopicKind, decode, parse_topic


def calibrate(
    settings: Settings, bench: Path, loadcell: Path, folder: Path, stroke_mm: float | None
) -> str:
    """Fit, write, and say what came out."""
    model = _announced_model(bench)
    strokes = strokes_m(all_profiles(settings.profiles.directory))
    stroke_m = None if stroke_mm is None else stroke_mm / 1000.0
    fitted = calibrate_from_files(bench, loadcell, strokes, stroke_m)
    try:
        path = save(fitted, folder)
    except OSError as error:
        raise CalibrationError(
            f"The calibration cannot be written into {folder} ({error.strerror}): "
            "choose a directory that can be written"
        ) from None
    return f"{path}: {_fit_in_words(fitted)}; {_stroke_in_words(model, strokes, stroke_mm)}"


def _announced_model(bench: Path) -> str | None:
    """The model in the recording's birth. Raises CalibrationError where several guns speak."""
    guns: set[str] = set()
    model = None
    for received in read_recording(bench):
        try:
            address = parse_topic(received.topic)
            if address.kind is TopicKind.TELEMETRY:
                guns.add(str(address.id))
            elif address.kind is TopicKind.STATE:
                state = decode(received.topic, received.payload)
                model = (isinstance(state, DeviceState) and state.model) or model
        except DecodeError:
            continue
    if len(guns) > 1:
        raise CalibrationError(
            f"{bench} holds the frames of {len(guns)} guns ({', '.join(sorted(guns))}): "
            "record one at the bench at a time"
        )
    return model


def _fit_in_words(fitted: BenchFit) -> str:
    calibration = fitted.calibration
    speeds = ", ".join(f"{speed:.1f}" for speed in calibration.speed_hz)
    return (
        f"force of {fitted.device} to {100 * calibration.force_rel_sd:.1f} % (1 SD) "
        f"over {fitted.load_n.min():.0f} to {fitted.load_n.max():.0f} N at {speeds} Hz"
    )


def _stroke_in_words(
    model: str | None, strokes: Mapping[str, float], stroke_mm: float | None
) -> str:
    if stroke_mm is not None:
        return f"stroke {stroke_mm:g} mm as given"
    if model is not None and model in strokes:
        return f"stroke {1000 * strokes[model]:g} mm of the {model}"
    who = f"the model {model!r} has no profile" if model else "it announced no model"
    return f"stroke {1000 * DEFAULT_STROKE_M:g} mm assumed, as {who}: give --stroke-mm"


def count_sessions(folder: Path) -> int:
    return len(list(folder.glob("*.truth.json")))


def evaluate(
    settings: Settings, folder: Path, shown: Callable[[int], None], processes: int = 1
) -> Report:
    """Score a folder of labelled recordings under the settings in force."""
    guns = known_guns(settings)
    monitor = MonitorSettings(
        sites=settings.site_table, config_version=settings.config_version, models=guns.models
    )
    return score(
        folder,
        strokes_m=strokes_m(all_profiles(settings.profiles.directory)),
        settings=monitor,
        priors=guns.priors,
        processes=processes,
        progress=lambda done, _total: shown(done),
    )


def as_json(report: Report) -> str:
    """Keys sorted; what is not known is null."""
    return json.dumps(_without_nan(report.to_json()), sort_keys=True, indent=2)


def _without_nan(value: Any) -> Any:  # any JSON value
    if isinstance(value, Mapping):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def tables(report: Report) -> list[Table | str]:
    """The figures for people: by rule, then force, then broken down, then what went wrong."""
    figures = report.to_json()
    rules = Table("rule", "found", "recall", "raises", "precision", "delay p50", "p95", box=None)
    sure = Table("95 % intervals", "recall", "precision", "p50", "p95", "false in 10 h", box=None)
    for rule, row in (*figures["rules"].items(), ("together", figures["together"])):
        delays = [row[name] for name in ("delay_s_p50", "delay_s_p95") if name in row]
        rules.add_row(
            f"[bold]{rule}[/]" if rule in GATED else rule,
            f"{row['found']}/{row['must']}",
            _share(row["recall"]),
            f"{row['true_raises']}/{row['raises']}",
            _share(row["precision"]),
            *(_seconds(delay["value"]) for delay in delays),
        )
        sure.add_row(
            rule,
            _span(row["recall_95"], 100.0, 0),
            _span(row["precision_95"], 100.0, 0),
            *(_span((delay["low"], delay["high"]), 1.0, 2) for delay in delays),
            *([_span((row["false"]["low"], row["false"]["high"]), 1.0, 1)] if delays else []),
        )
    return [rules, "", sure, _closing(figures), _broken_down(report), *figures["remarks"]]


def _span(interval: tuple[float, float], scale: float, digits: int) -> str:
    """An interval in words."""
    low, high = interval
    if math.isnan(low):
        return "–"
    return f"{scale * low:.{digits}f} to {scale * high:.{digits}f}"


def _closing(figures: Mapping[str, Any]) -> str:
    force, false = figures["force"], figures["false_use_alarms_per_10_h"]
    return (
        f"\n{figures['sessions']} sessions of {figures['guns']} guns, "
        f"{figures['contact_h']:.2f} h of contact; false alarms with an aim in 10 h of contact: "
        f"{false['value']:.1f} ({false['low']:.1f} to {false['high']:.1f}); force error "
        f"{_with_interval(*force['median'].values())} (median), "
        f"{_with_interval(*force['p95'].values())} (95 %) over {force['n']} hops. "
        "In brackets: 95 % intervals.\n"
    )


def _broken_down(report: Report) -> Table:
    table = Table("", *(f"{rule}" for rule in report.gated), "force p50", "p95", box=None)
    table.title = "found, and raises that were right"
    parts = (report.by_gun(), report.by_head(), report.by_speed(), report.by_force())
    for rows in parts:
        for row in rows:
            scores = [row.scores[rule] for rule in report.gated]
            table.add_row(
                row.label,
                *(f"{s.found}/{s.must}, {s.true_raises}/{s.raises}" for s in scores),
                _share(row.force_quantile(0.5)),
                _share(row.force_quantile(0.95)),
            )
        table.add_section()
    return table


def _with_interval(value: float, low: float, high: float) -> str:
    return f"{_share(value)} ({_span((low, high), 100.0, 1)})"


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.1f} %"


def _seconds(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:+.2f} s"
