"""When each gun last said something new, by a clock that can be trusted; pure. Imports `model`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.model import DeviceId

# A gun lifted for a moment keeps its place: tiles that jump cannot be read. Engineering choice.
CONTACT_HELD_NS = 15_000_000_000


@dataclass(slots=True)
class _Sighting:
    t_ns: int  # the newest sample time
    seen_at_ns: int  # when that came, by the page's clock
    contact_at_ns: int | None = None  # by the page's clock


class Sightings:
    """When each gun last said something new.

    Its own clock may be hours off, so silence is measured by the page's clock from the moment the
    sample time last changed, and the age of an alarm by the gun's clock as it must stand now.
    """

    def __init__(self) -> None:
        self._guns: dict[DeviceId, _Sighting] = {}

    def see(self, gun: DeviceId, t_ns: int, contact: bool, now_ns: int) -> None:
        seen = self._guns.get(gun)
        if seen is None:  # nothing tells yet how its clock stands: taken to be right
            seen = self._guns[gun] = _Sighting(t_ns, min(now_ns, t_ns))
        elif seen.t_ns != t_ns:
            seen.t_ns, seen.seen_at_ns = t_ns, now_ns
        if contact:
            seen.contact_at_ns = seen.seen_at_ns

    def forget(self) -> None:
        self._guns.clear()

    def keep_only(self, guns: Iterable[DeviceId]) -> None:
        wanted = set(guns)
        self._guns = {gun: seen for gun, seen in self._guns.items() if gun in wanted}

    def silent_ns(self, gun: DeviceId, now_ns: int) -> int:
        seen = self._guns.get(gun)
        return max(0, now_ns - seen.seen_at_ns) if seen is not None else 0

    def had_contact(self, gun: DeviceId, now_ns: int) -> bool:
        seen = self._guns.get(gun)
        if seen is None or seen.contact_at_ns is None:
            return False
        return now_ns - seen.contact_at_ns <= CONTACT_HELD_NS

    def gun_now_ns(self, gun: DeviceId, now_ns: int) -> int:
        """What the gun's own clock must show now; the page's where the gun was never heard."""
        seen = self._guns.get(gun)
        return seen.t_ns + max(0, now_ns - seen.seen_at_ns) if seen is not None else now_ns
