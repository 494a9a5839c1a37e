"""What the monitor has to be told, checked and frozen by whoever reads the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.sites import SiteTable


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the maker of a model of gun publishes and the rules need; unknown where left out."""

    speeds_hz: tuple[float, ...] = ()
    battery_low_mv: float | None = None


@dataclass(frozen=True, slots=True)
class MonitorSettings:
    """`config_version` is written into every alarm; `models` is keyed by the birth's `model`.

    `reorder_window_s` is the extractor's: for so long it may hold a frame behind a gap.
    """

    sites: SiteTable = field(default_factory=SiteTable)
    config_version: str = "default"
    models: Mapping[str, ModelFacts] = field(default_factory=dict)
    reorder_window_s: float = 0.5
    pipeline: str = "myoguard"  # the name its own alarms go by
    devices_max: int = 5_000  # 2.5 times the fleet that one process is built for; bounds memory
