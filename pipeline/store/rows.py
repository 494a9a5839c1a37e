"""Nouns as rows and rows as nouns: the only place that knows how a field becomes a column.

May import `model` only. A `RowShape` is read once from a dataclass's annotations, so a column
cannot be forgotten or read in another order than it was written. The gun (`DeviceId`) is never
among the values: tables key it by a small integer. A float that is not a number is NULL, and NULL
in a float that must be there is read back as not a number.
"""

from __future__ import annotations

import json
import math
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from operator import attrgetter
from typing import (
    TYPE_CHECKING,
    Generic,
    TypeAlias,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from pipeline.model import (
    Alarm,
    Counters,
    DeadLetter,
    DeviceId,
    DeviceStatus,
    Features,
    FeatureSecond,
    MinuteRollup,
    OperatorExposure,
    SessionSummary,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    NounT = TypeVar("NounT", bound=DataclassInstance)
else:
    NounT = TypeVar("NounT")

Value: TypeAlias = int | float | str | bytes | None
Row: TypeAlias = tuple[Value, ...]
Convert: TypeAlias = Callable[[object], object]

INT64_MAX = 2**63 - 1  # the largest INTEGER of SQLite; a device clock (u64) can exceed it


def _nan_for_null(value: object) -> object:
    return math.nan if value is None else value


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), default=dict)


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    sql_type: str
    optional: bool
    encode: Convert | None = None  # None: stored as it is
    decode: Convert | None = None

    def ddl(self) -> str:
        required = not self.optional and self.sql_type != "REAL"  # REAL: NULL is not-a-number
        return f"{self.name} {self.sql_type}{' NOT NULL' if required else ''}"


def _column(name: str, hint: object) -> _Column:
    optional = get_origin(hint) in (Union, types.UnionType)
    (kind,) = [a for a in get_args(hint) if a is not type(None)] if optional else [hint]
    if kind is float:
        return _Column(name, "REAL", optional, decode=None if optional else _nan_for_null)
    if kind is bool:
        return _Column(name, "INTEGER", optional, encode=cast("Convert", int), decode=bool)
    if kind in (int, str, bytes):
        sql_type = {int: "INTEGER", str: "TEXT", bytes: "BLOB"}[cast("type", kind)]
        return _Column(name, sql_type, optional)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return _Column(name, "TEXT", optional, encode=str, decode=cast("Convert", kind))
    if get_origin(kind) is tuple:
        return _Column(name, "TEXT", optional, _json, lambda v: tuple(json.loads(cast("str", v))))
    if get_origin(kind) is Mapping:
        return _Column(name, "TEXT", optional, _json, lambda v: json.loads(cast("str", v)))
    raise TypeError(f"no column type for field {name}: {hint}")


class RowShape(Generic[NounT]):
    """How one dataclass lies in a table: `columns`, and the way there and back.

    `without` names fields that are stored elsewhere and handed back to `read` by keyword.
    """

    def __init__(self, noun: type[NounT], without: Sequence[str] = ()) -> None:
        hints = get_type_hints(noun)
        names = [f.name for f in fields(noun) if f.name not in without]
        self._noun = noun
        self._columns = [_column(name, hints[name]) for name in names]
        self._get = attrgetter(*names)
        self._encoders = [(i, c.encode) for i, c in enumerate(self._columns) if c.encode]
        self._decoders = [(i, c.decode) for i, c in enumerate(self._columns) if c.decode]
        self.columns = tuple(names)

    def ddl(self) -> str:
        """The columns as a table definition states them."""
        return ", ".join(column.ddl() for column in self._columns)

    def write(self, noun: NounT) -> Row:
        """The values of `noun`, in the order of `columns`."""
        values = list(self._get(noun))
        for i, encode in self._encoders:
            if values[i] is not None:
                values[i] = encode(values[i])
        return tuple(values)

    def read(self, values: Sequence[Value], **elsewhere: object) -> NounT:
        """The noun that `write` made `values` of."""
        decoded: list[object] = list(values)
        for i, decode in self._decoders:
            if decoded[i] is not None or self._columns[i].sql_type == "REAL":
                decoded[i] = decode(decoded[i])
        return self._noun(**elsewhere, **dict(zip(self.columns, decoded, strict=True)))


FEATURES = RowShape(Features, without=["id"])
SECOND_WORST = RowShape(FeatureSecond, without=["last"])
MINUTE = RowShape(MinuteRollup, without=["id"])
ALARM = RowShape(Alarm, without=["id"])
SESSION = RowShape(SessionSummary, without=["id"])
STATUS = RowShape(DeviceStatus, without=["id"])
EXPOSURE = RowShape(OperatorExposure)
DEAD_LETTER = RowShape(DeadLetter)

SECOND_COLUMNS = FEATURES.columns + SECOND_WORST.columns
SECOND_DDL = f"{FEATURES.ddl()}, {SECOND_WORST.ddl()}"


def write_second(second: FeatureSecond) -> Row:
    return FEATURES.write(second.last) + SECOND_WORST.write(second)


def read_second(gun: DeviceId, values: Sequence[Value]) -> FeatureSecond:
    split = len(FEATURES.columns)
    return SECOND_WORST.read(values[split:], last=FEATURES.read(values[:split], id=gun))


def storable(row: Row) -> bool:
    """False for an integer SQLite cannot hold: in practice a device's clock, which has 64 bits."""
    return all(v <= INT64_MAX for v in row if type(v) is int)


def write_counters(counters: Counters) -> str:
    return _json({f.name: getattr(counters, f.name) for f in fields(counters)})


def read_counters(text: str) -> Counters:
    return Counters(**json.loads(text))
