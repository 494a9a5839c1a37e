"""The newest values of every gun, as the pipeline hands them over; pure, bounded, imports `model`.

What is here is newer than the store by about a checkpoint: an alarm stands here the moment it is
raised. Nothing is ever read back into the pipeline. One event loop writes and reads it; it holds no
lock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeVar

from pipeline.model import Alarm, DeviceId, DeviceStatus, Live, LiveGun

# The largest fleet the design budgets for; beyond it the gun not heard for longest is forgotten.
GUNS_MAX = 2_000
# The store has an alarm about a second after the board. 2,000 transitions within that second are
# one of every gun of the largest fleet: more than a fleet makes. Engineering choice.
ALARMS_MAX = 2_000

AlarmKey = tuple[DeviceId, str, str]  # one alarm a gun, rule and session
KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


def alarm_key(alarm: Alarm) -> AlarmKey:
    return alarm.id, alarm.rule, alarm.session_id or ""


class LiveBoard:
    """Newest values by gun. Writing to it is cheap and never fails; the oldest gives way."""

    def __init__(
        self,
        guns_max: int = GUNS_MAX,
        alarms_max: int = ALARMS_MAX,
        notice: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`notice` is asked what everybody who looks at a page is to be told of the pipeline."""
        self.notice = notice
        self._guns_max = guns_max
        self._alarms_max = alarms_max
        self._guns: dict[DeviceId, LiveGun] = {}
        self._statuses: dict[DeviceId, DeviceStatus] = {}
        self._alarms: dict[AlarmKey, Alarm] = {}

    def put(self, live: Live) -> None:
        """Newest values of some of a clinic's guns."""
        for device, gun in live.guns.items():
            _keep(self._guns, DeviceId(live.clinic, device), gun, self._guns_max)

    def alarm(self, alarm: Alarm) -> None:
        """An alarm transition, at once; the store has it later."""
        _keep(self._alarms, alarm_key(alarm), alarm, self._alarms_max)

    def status(self, status: DeviceStatus) -> None:
        """A gun came, went, or changed what it says of itself."""
        _keep(self._statuses, status.id, status, self._guns_max)

    @property
    def guns(self) -> Mapping[DeviceId, LiveGun]:
        return MappingProxyType(self._guns)

    @property
    def statuses(self) -> Mapping[DeviceId, DeviceStatus]:
        return MappingProxyType(self._statuses)

    @property
    def alarms(self) -> Mapping[AlarmKey, Alarm]:
        """Every alarm as it stood last, cleared ones too: the store may not know that yet."""
        return MappingProxyType(self._alarms)


def _keep(kept: dict[KeyT, ValueT], key: KeyT, value: ValueT, limit: int) -> None:
    """Put `value` last, and drop what has not been put for longest if there are too many."""
    kept.pop(key, None)
    kept[key] = value
    if len(kept) > limit:
        del kept[next(iter(kept))]
