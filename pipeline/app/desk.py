"""Where what runs beside the loop is plugged in: the page, a drain, a listener of metrics.

An `Edge` is entered before the first message is read and left after the last checkpoint. It gets
the `Desk`: what it may read, where it may speak, and the lists on which it may put itself to hear
what happens. The loop knows of no edge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from pipeline.app.guns import KnownGuns
from pipeline.app.keeper import Keeper
from pipeline.app.latency import Latency
from pipeline.capture import BlackBox
from pipeline.config import Settings
from pipeline.influx import Drain
from pipeline.model import Alarm, DeviceStatus, Live, Received, Record
from pipeline.monitor import Monitor
from pipeline.publish import Publisher
from pipeline.rules import Health
from pipeline.sources import MqttSource
from pipeline.store import Store

if TYPE_CHECKING:
    from pipeline.sources.nats import NatsSource

HEALTHY: Final = Health()


class Listener(Protocol):
    """Whom the pipeline tells what it sees, beside broker and store; the page's board is one.

    Called on the event loop: every answer must be quick, and none may fail.
    """

    def put(self, live: Live) -> None:
        """A clinic's newest values."""

    def alarm(self, alarm: Alarm) -> None:
        """An alarm has changed."""

    def status(self, status: DeviceStatus) -> None:
        """A gun came, went, or changed what it says of itself."""


class Tap(Protocol):
    """Who sees all that goes through: a black box is one. Quick, and never failing."""

    def took(self, messages: Sequence[Received], records: Sequence[Record]) -> None:
        """These messages, or time alone, led to these records; none of it is stored yet."""


@dataclass(slots=True)
class Desk:
    """The parts of a running pipeline, and who listens to it."""

    settings: Settings
    store: Store
    monitor: Monitor
    source: MqttSource | NatsSource
    publisher: Publisher
    guns: KnownGuns
    listeners: list[Listener] = field(default_factory=list)
    taps: list[Tap] = field(default_factory=list)
    latency: Latency = field(default_factory=Latency)
    keeper: Keeper | None = None  # from when messages are read on
    page_url: str | None = None
    metrics_url: str | None = None
    black_box: BlackBox | None = None
    health: Health = HEALTHY  # as the edges that know it say
    drain: Drain | None = None
    notice: str | None = None  # what everybody who looks at the page is told


Edge: TypeAlias = Callable[[Desk], AbstractAsyncContextManager[None]]
