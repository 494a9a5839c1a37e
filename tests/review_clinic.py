"""A clinic to look back on: the demo's guns through the real monitor, black box and store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from clinic_log import clinic_log

from pipeline.capture import BlackBox, CaptureFolder, CaptureWriter, SessionLog, name_captures
from pipeline.cli.gun_models import known_guns
from pipeline.config import load
from pipeline.features import FeatureExtractor
from pipeline.model import (
    DeviceId,
    Received,
    SessionSummary,
)
from pipeline.monitor import Monitor, MonitorSettings
from pipeline.store import Store
from pipeline.whatif import Judge

PLENTY = 2**30
BATCH = 64


def demo_judge() -> Judge:
    guns = known_guns(load(None))
    return Judge(dict(guns.calibrations), dict(guns.priors), dict(guns.models))


def keep_clinic(
    store: Store, captures: Path, *, guns: int = 1, seconds: float = 95.0
) -> Sequence[Received]:
    """Everything is stored, captured and kept whole, as `myoguard run` would."""
    log, judge = clinic_log(guns, seconds), demo_judge()
    extractor = FeatureExtractor(judge.calibrations, judge.priors)
    monitor = Monitor(MonitorSettings(models=judge.models, config_version="abc"), extractor)
    writer = CaptureWriter()
    sessions = SessionLog(CaptureFolder(captures / "sessions", PLENTY), writer)
    box = BlackBox(CaptureFolder(captures / "alarms", PLENTY), PLENTY, writer, sessions)
    for at in range(0, len(log), BATCH):
        messages = log[at : at + BATCH]
        records = name_captures(monitor.feed(messages))
        store.checkpoint(records, b"")
        box.took(messages, records, messages[-1].received_at_ns)
    store.checkpoint(name_captures(monitor.flush()), b"")
    box.close()
    writer.close()
    return log


def more_sessions(gun_count: int, like: SessionSummary, each: int = 1) -> list[SessionSummary]:
    """Summaries of many guns, for lists that are long."""
    return [
        replace(
            like,
            id=DeviceId(like.id.clinic, f"gun-{gun:03}"),
            session_id=f"s-{gun:03}-{number}",
            client=f"c-{1000 + gun * each + number}",
            operator=f"op-{gun % 7}",
            started_at_ns=like.started_at_ns - (gun * each + number) * 900_000_000_000,
            ended_at_ns=like.started_at_ns
            - (gun * each + number) * 900_000_000_000
            + 600_000_000_000,
        )
        for gun in range(gun_count)
        for number in range(each)
    ]
