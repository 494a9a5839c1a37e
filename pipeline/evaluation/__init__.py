"""Alarms against truth: recall, precision, delay, force error, as the labelled recordings ask.

A folder holds `NAME.parquet`, `NAME.truth.json` and, where the gun was on a bench,
`NAME.bench.parquet` with `NAME.bench.loadcell.csv`. Each gun is calibrated from its bench
(`bench`), its session is replayed through the same Monitor that runs live (`running`), raises are
matched with the hazards of its truth (`truth`, `scoring`), and a `Report` counts and gives
intervals. May import capture, calibration, monitor and further in.
"""

from pipeline.evaluation.bench import (
    DEFAULT_STROKE_M,
    bench_of,
    by_gun,
    calibrate_from_files,
    read_loadcell,
)
from pipeline.evaluation.report import Report, wilson
from pipeline.evaluation.running import Replayed, evaluate, replay
from pipeline.evaluation.scoring import (
    GATED,
    SCORED,
    HazardOutcome,
    RaiseOutcome,
    Score,
    SessionResult,
    raises_of,
    score,
)
from pipeline.evaluation.truth import EvaluationError, Hazard, Truth, read_truth

__all__ = [
    "DEFAULT_STROKE_M",
    "GATED",
    "SCORED",
    "EvaluationError",
    "Hazard",
    "HazardOutcome",
    "RaiseOutcome",
    "Replayed",
    "Report",
    "Score",
    "SessionResult",
    "Truth",
    "bench_of",
    "by_gun",
    "calibrate_from_files",
    "evaluate",
    "raises_of",
    "read_loadcell",
    "read_truth",
    "replay",
    "score",
    "wilson",
]
