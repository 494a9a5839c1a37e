"""What a part of `make bench` hands over: a table of figures, and what they say of the aims.

A part is a module of `benchmarks` with `def table() -> Table`; `benchmarks.__main__` lists them.
Cells are text, made by `figure` wherever something was measured more than once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Aim:
    """An aim and what was measured; `why_not`, where it is missed: what holds it back."""

    what: str
    measured: str
    met: bool
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text; `notes` say how it was measured, what it means, what was tried."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    notes: tuple[str, ...] = ()
    aims: tuple[Aim, ...] = ()


class UnavailableError(Exception):
    """A part cannot run here, say for want of a server; its message is a sentence that says why."""


def figure(values: Sequence[float], unit: str = "") -> str:
    """Median and, in brackets, the quartiles, to three digits."""
    low, middle, high = np.quantile(np.asarray(values, np.float64), (0.25, 0.5, 0.75))
    unit = f" {unit}" if unit else ""
    return f"{digits(middle)}{unit} ({digits(low)} to {digits(high)})"


def digits(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value == 0.0 or not np.isfinite(value):
        return f"{value:g}"
    decimals = max(0, 2 - int(np.floor(np.log10(abs(value)))))
    return f"{value:,.{decimals}f}"
