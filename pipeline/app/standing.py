"""How the pipeline itself stands: how far behind, whether it stores, whether there is a broker."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from pipeline.app.desk import Desk

LAG_S_MAX: Final = 5.0  # README: an alarm within about a second; engineering choice, five of them
NOT_STORING_S_MAX: Final = 5.0  # engineering choice: some checkpoints that failed, not one


@dataclass(frozen=True, slots=True)
class Standing:
    """Seconds since each went wrong; 0 while it is well. `faults` in words."""

    lag_s: float
    not_storing_s: float
    not_connected_s: float

    @property
    def faults(self) -> tuple[str, ...]:
        said = (
            (self.not_connected_s > 0, "no broker"),
            (self.not_storing_s > NOT_STORING_S_MAX, "nothing is stored"),
            (self.lag_s > LAG_S_MAX, "behind"),
        )
        return tuple(words for is_so, words in said if is_so)


def standing_of(desk: Desk) -> Standing:
    """As of now."""
    source, keeper = desk.source, desk.keeper
    lost_s = (time.time_ns() - source.status.since_ns) / 1e9
    return Standing(
        lag_s=desk.latency.lag_s(source.caught_up) if source.status.connected else 0.0,
        not_storing_s=keeper.failing_s if keeper is not None else 0.0,
        not_connected_s=0.0 if source.status.connected else max(lost_s, 1e-3),
    )
