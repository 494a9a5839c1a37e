"""What the demo shows on the terminal: every alarm transition, and in the end the books."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.cli.fleet_process import FleetBooks
from pipeline.cli.terminal import quantity
from pipeline.model import Alarm, AlarmState, Counters, DeviceStatus, Live, Priority
from pipeline.rules import ALARMS

_COLOURS: Final = {Priority.HIGH: "bold red", Priority.MEDIUM: "yellow", Priority.LOW: "cyan"}
_QUIET: Final = frozenset({AlarmState.CLEARED, AlarmState.SUPPRESSED, AlarmState.UNKNOWN})


@dataclass(slots=True)
class Screen:
    """A listener of the pipeline that prints."""

    console: Console
    began_s: float = field(default_factory=time.monotonic)
    raised: Counter[str] = field(default_factory=Counter)
    cleared: Counter[str] = field(default_factory=Counter)
    seen: bool = False  # whether a live value has come
    _raises: set[tuple[str, int]] = field(default_factory=set)  # alarms and how often each rose

    def begin(self, guns: int, broker_url: str, page_url: str | None) -> None:
        """Everything runs; the guns come next."""
        self.console.print(f"{guns} simulated guns on {broker_url}; Ctrl-C ends it")
        if page_url is not None:
            self.console.print(f"Page: [bold]{page_url}[/]")

    def put(self, live: Live) -> None:
        if not self.seen and live.guns:
            self.seen = True
            self.console.print(f"First live value after {time.monotonic() - self.began_s:.1f} s")

    def status(self, status: DeviceStatus) -> None:
        """The page shows it."""

    def alarm(self, alarm: Alarm) -> None:
        if (alarm.alarm_id, alarm.count) not in self._raises:
            self._raises.add((alarm.alarm_id, alarm.count))
            self.raised[alarm.rule] += 1
        self.cleared[alarm.rule] += alarm.state is AlarmState.CLEARED
        self.console.print(transition(alarm))

    def end(self, books: Books) -> None:
        """What it adds up to."""
        table = Table("rule", "raised", "cleared", box=None)
        for rule in ALARMS:
            if self.raised[rule]:
                table.add_row(rule, str(self.raised[rule]), str(self.cleared[rule]))
        self.console.print(table)
        self.console.print(str(books), style="bold green" if books.balance else "bold red")


def transition(alarm: Alarm) -> Text:
    """One line: when, which gun, which rule, its state, value and limit, where."""
    at = datetime.fromtimestamp(alarm.changed_at_ns / 1e9).astimezone()
    value = "" if alarm.value is None else quantity(alarm.value)
    limit = "" if alarm.setpoint is None else f" / {quantity(alarm.setpoint, alarm.unit)}"
    style = "dim" if alarm.state in _QUIET else _COLOURS[alarm.priority]
    return Text(
        f"{at:%H:%M:%S}  {alarm.id.device:8} {alarm.rule:20} {alarm.state:13} "
        f"{value + limit:16} {alarm.site}",
        style,
    )


@dataclass(frozen=True, slots=True)
class Books:
    """What the fleet published against what the pipeline made of it."""

    fleet: FleetBooks
    counters: Counters

    @property
    def accounted(self) -> int:
        c = self.counters
        return c.frames_processed + c.frames_rejected + c.frames_duplicate + c.frames_late

    @property
    def lost(self) -> int:
        """Frames that a broker took and nobody saw."""
        return max(0, self.fleet.frames_published - self.accounted)

    @property
    def balance(self) -> bool:
        """A frame sent again for want of an acknowledgement may have come once or twice."""
        published, repeated = self.fleet.frames_published, self.fleet.frames_repeated
        return published <= self.accounted <= published + repeated

    def __str__(self) -> str:
        c = self.counters
        sign = "=" if self.balance else "≠"
        repeated = self.fleet.frames_repeated
        again = f" (and {repeated} perhaps twice)" if repeated else ""
        return (
            f"frames published {self.fleet.frames_published}{again} {sign} "
            f"processed {c.frames_processed} + rejected {c.frames_rejected} + "
            f"duplicate {c.frames_duplicate} + late {c.frames_late}; lost {self.lost}"
        )
