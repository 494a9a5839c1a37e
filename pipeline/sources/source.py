"""What a source of messages is: ordered batches, and a commit once they are safely stored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple, NewType, Protocol, Self

from pipeline.model import Received

# Engineering choices: a kernel call over some hundred frames is the cheapest a frame, and 10 ms is
# lost in the 250 ms of a hop; under load batches fill by themselves while the last one is judged.
BATCH_MESSAGES: Final = 512
BATCH_S: Final = 0.010

Position = NewType("Position", int)
"""How many messages the source had yielded: opaque, increasing, valid for one source object."""


class SourceError(Exception):
    """Why a source cannot be opened or read, in one sentence that says what to do."""


class Batch(NamedTuple):
    """Messages in order of arrival; committing `position` commits them and all before them."""

    messages: Sequence[Received]
    position: Position


class Source(Protocol):
    """One reader's view of the ordered log.

    After a crash the source of the same name yields again what was not committed, and perhaps
    some of what was: the monitor drops duplicates by (boot_id, seq).
    """

    @property
    def keeps_arrival_times(self) -> bool:
        """Whether a message that waited while we were away still says when it arrived."""
        ...

    @property
    def caught_up(self) -> bool:
        """Whether nothing is known to wait: only then may time pass without a message."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...

    def batches(self) -> AsyncIterator[Batch]:
        """Batches, none of them empty, until the log or the source ends."""
        ...

    async def commit(self, position: Position) -> None:
        """Let go of everything up to `position`; again, or out of order, is harmless."""
        ...
