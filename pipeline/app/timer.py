"""Something that is due again and again."""

from __future__ import annotations


class Timer:
    """Says once in so many seconds that it is time; at first, at once."""

    def __init__(self, every_s: float) -> None:
        self.every_s = every_s
        self._due_s = 0.0

    def is_due(self, now_s: float) -> bool:
        if now_s < self._due_s:
            return False
        self._due_s = now_s + self.every_s
        return True
