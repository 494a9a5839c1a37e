"""What is known of guns before they say anything, and the monitor that is made of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.config import Settings
from pipeline.features import Calibration, FeatureExtractor
from pipeline.model import DeviceId
from pipeline.monitor import ModelFacts, Monitor, MonitorSettings


@dataclass(frozen=True, slots=True)
class KnownGuns:
    """What is known of guns before they say anything: of units by device, of models by name.

    A calibration that is accepted while the pipeline runs is put among the others.
    """

    calibrations: dict[DeviceId, Calibration] = field(default_factory=dict)
    priors: Mapping[str, Calibration] = field(default_factory=dict)
    models: Mapping[str, ModelFacts] = field(default_factory=dict)


def make_monitor(settings: Settings, guns: KnownGuns) -> Monitor:
    """A monitor that has seen nothing yet; live and replayed messages go through the same."""
    return Monitor(
        MonitorSettings(
            sites=settings.site_table,
            config_version=settings.config_version,
            models=guns.models,
            pipeline=_identifier(settings.broker.client_id),
            devices_max=settings.monitor.devices_max,
        ),
        FeatureExtractor(guns.calibrations, guns.priors, settings.monitor.reorder_window_s),
    )


def _identifier(name: str) -> str:
    """A name as topics allow it (contract, "Identifiers")."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64]
