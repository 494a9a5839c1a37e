"""Whether a broker hands out too few messages at a time. Reads no clock.

A full window stops at the same number again and again until something is let go; a small fleet may
stop at the same number, too. So what looks like a full window is tried: nothing is let go for
longer than any gun at work is silent. It was full if nothing came till then, and then at once.
"""

from __future__ import annotations

from typing import Final

STALLS_TRIED: Final = 5  # engineering choice: a trial costs latency, and is not for every pause
TRIAL_S: Final = 1.5  # a gun says a frame a second at least (docs/wire.md), and a half for the way
AT_ONCE_S: Final = 0.5  # engineering choice: there and back on the slowest network worth the name


class Window:
    """Sees messages come, stop and be let go."""

    def __init__(self) -> None:
        self._stalled_at, self._stalls = 0, 0
        self._trying = False
        self._full_at = 0  # what the trial under way, or just over, found
        self._let_go_s: float | None = None  # when that was let go

    def stalled(self, waiting: int) -> None:
        """So many had come and no more, and now they are let go."""
        self._stalls = self._stalls + 1 if waiting == self._stalled_at else 1
        self._stalled_at = waiting

    def is_tried(self, waiting: int, quiet_s: float) -> bool:
        """Whether they are better not let go yet, to see if more comes all the same."""
        if self._stalls < STALLS_TRIED or waiting != self._stalled_at:
            return False
        self._trying = quiet_s < TRIAL_S
        if not self._trying:
            self._stalls, self._full_at = 0, waiting
        return self._trying

    def let_go(self, now_s: float) -> None:
        if self._full_at:
            self._let_go_s = now_s

    def took(self, now_s: float) -> int:
        """Something came: how many the window holds, once that is known; else 0."""
        if self._trying:
            self._trying, self._stalls = False, 0
        at_once = self._let_go_s is not None and now_s - self._let_go_s < AT_ONCE_S
        full_at = self._full_at if at_once else 0
        self._full_at, self._let_go_s = 0, None
        return full_at
