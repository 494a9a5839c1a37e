"""What waits for InfluxDB: one line a record, in the order they came about.

May import `model` only. The store does not know what a line says: whoever opens it for writing says
how records become lines (`Encode`). That happens in the checkpoint, once, so a line sent twice for
want of an answer is the same to the last byte. What is counted by kind adds up at any time:
spooled = stored in InfluxDB + refused by it + dropped here + waiting.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

from pipeline.model import DeadLetter, OutboundRecord

# How a record becomes a line: the record, its gun's model if that is known, and a number that
# tells apart what else would be the same (the position of an alarm's transition; 0 elsewhere).
Encode: TypeAlias = Callable[[OutboundRecord, str | None, int], str]


class SpoolKind(StrEnum):
    """What a line is made of."""

    SECOND = "second"
    MINUTE = "minute"
    ALARM = "alarm"
    SESSION = "session"
    STATUS = "status"
    EXPOSURE = "exposure"
    PIPELINE = "pipeline"


class Spooled(NamedTuple):
    """One line on its way to InfluxDB; acknowledged by `position`."""

    position: int
    kind: SpoolKind
    line: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that InfluxDB will never take, and what it said."""

    spooled: Spooled
    words: str

    def letter(self, now_ns: int) -> DeadLetter:
        topic = f"influx/{self.spooled.kind}"
        return DeadLetter(now_ns, topic, self.words, self.spooled.line.encode())


@dataclass(frozen=True, slots=True)
class SpoolCount:
    """What became of one kind of line since the store began; the rest is in InfluxDB."""

    spooled: int = 0
    refused: int = 0
    dropped: int = 0
    waiting: int = 0

    @property
    def stored(self) -> int:
        return self.spooled - self.refused - self.dropped - self.waiting


# What goes first when the spool is full: seconds, whose minute still tells the worst of them; then
# what the pipeline said of itself; then minutes. The rest says who was treated and what alarmed: it
# goes last, a thousandth of the bytes.
GIVE_UP_ORDER: Final = (SpoolKind.SECOND, SpoolKind.PIPELINE, SpoolKind.MINUTE)
LINES_COUNTER: Final = "spool_lines"
BYTES_COUNTER: Final = "spool_bytes"
DROPPED_COUNTER: Final = "spool_dropped"
REFUSED_COUNTER: Final = "influx_refused"

_KINDS = {str(kind): kind for kind in SpoolKind}
_READ = "SELECT position, kind, line FROM spool WHERE position > ? ORDER BY position LIMIT ?"
# Counted first and then deleted: half the time of RETURNING a row for each.
_GOING = "SELECT kind, count(*), sum(length(line)) FROM spool WHERE position <= ? GROUP BY kind"
_ACKNOWLEDGE = "DELETE FROM spool WHERE position <= ?"
_GIVE_UP_KIND = """
DELETE FROM spool WHERE position IN (
  SELECT position FROM spool WHERE position > ? AND kind = ? ORDER BY position LIMIT ?)
RETURNING kind, 1, length(line)"""
_GIVE_UP_ANY = """
DELETE FROM spool WHERE position IN (
  SELECT position FROM spool WHERE position > ? ORDER BY position LIMIT ?)
RETURNING kind, 1, length(line)"""
_BYTES = "SELECT value FROM counter WHERE name = ?"
_COUNTS = "SELECT kind, count(*) FROM spool GROUP BY kind"


def read(database: sqlite3.Connection, after: int, lines_max: int) -> tuple[Spooled, ...]:
    """The oldest lines behind position `after`."""
    found = database.execute(_READ, (after, lines_max)).fetchall()
    return tuple(Spooled(position, _KINDS[kind], line) for position, kind, line in found)


def added(lines: Sequence[tuple[str, str]]) -> Counter[str]:
    """By how much each counter grows with new rows of (kind, line)."""
    grown = Counter(f"spooled_{kind}" for kind, _ in lines)
    grown[LINES_COUNTER] = len(lines)
    grown[BYTES_COUNTER] = sum(len(line) for _, line in lines)
    return grown


def acknowledge(
    database: sqlite3.Connection, position: int, refused: Iterable[Refused]
) -> Counter[str]:
    """Forget everything up to `position`; by how much each counter changes."""
    gone = database.execute(_GOING, (position,)).fetchall()
    database.execute(_ACKNOWLEDGE, (position,))
    changed = Counter(f"refused_{each.spooled.kind}" for each in refused)
    changed[REFUSED_COUNTER] = changed.total()
    _count_as_gone(gone, changed)
    return changed


def give_up(
    database: sqlite3.Connection, after: int, lines_max: int, *, any_kind: bool
) -> Counter[str]:
    """Drop the oldest lines of the kind that is easiest to do without; how counters change.

    What lies at `after` or before is under way. Without `any_kind`, never what says who was treated
    and what alarmed.
    """
    for kind in GIVE_UP_ORDER:
        if gone := database.execute(_GIVE_UP_KIND, (after, kind, lines_max)).fetchall():
            return _dropped(gone)
    anything = (after, lines_max if any_kind else 0)
    return _dropped(database.execute(_GIVE_UP_ANY, anything).fetchall())


def _dropped(gone: Sequence[tuple[str, int, int]]) -> Counter[str]:
    changed = Counter(f"dropped_{kind}" for kind, _, _ in gone)
    changed[DROPPED_COUNTER] = len(gone)
    _count_as_gone(gone, changed)
    return changed


def _count_as_gone(gone: Sequence[tuple[str, int, int]], changed: Counter[str]) -> None:
    """Rows of (kind, lines, their length)."""
    changed[LINES_COUNTER] = -sum(lines for _, lines, _ in gone)
    changed[BYTES_COUNTER] = -sum(length for _, _, length in gone)


def waiting_bytes(database: sqlite3.Connection) -> int:
    """How long all lines that wait are together."""
    found = database.execute(_BYTES, (BYTES_COUNTER,)).fetchone()
    return 0 if found is None else int(found[0])


def counts(
    database: sqlite3.Connection, counters: Mapping[str, int]
) -> dict[SpoolKind, SpoolCount]:
    """What became of every kind; looks at every line that waits."""
    waiting = dict(database.execute(_COUNTS).fetchall())
    return {
        kind: SpoolCount(
            spooled=counters.get(f"spooled_{kind}", 0),
            refused=counters.get(f"refused_{kind}", 0),
            dropped=counters.get(f"dropped_{kind}", 0),
            waiting=waiting.get(kind, 0),
        )
        for kind in SpoolKind
    }
