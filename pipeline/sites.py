"""The body sites: what each may bear, for how long, and where a gun has no business at all.

One row a site, every row with its source; a clinic may replace numbers, never the ISO/TS 15066
ceiling and never a "never". Pure data and look-ups: imports the model alone.

Names on the wire may end in `_left` or `_right`; the table holds what they share. A site nobody
named, or a name the table does not hold, gets the row GENERAL and is recorded as `unknown`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from types import MappingProxyType

from pipeline.model import UNKNOWN_SITE

SIDES = ("_left", "_right")


class SiteGroup(StrEnum):
    LARGE_MUSCLE = "large muscle group"
    SENSITIVE = "small or sensitive"
    ATTACHMENT = "tendon or attachment"
    VULNERABLE = "vulnerable"
    GENERAL = "site not named"


@dataclass(frozen=True, slots=True)
class Site:
    """What one site may bear. `ceiling_n` is quasi-static force; `never` means no contact at all.

    The limits of a `never` site still apply to whoever treats it nevertheless.
    """

    site: str
    group: SiteGroup
    force_limit_n: float
    tendon_limit_n: float
    dwell_advisory_s: float
    dwell_limit_s: float
    never: bool
    ceiling_n: float
    source: str

    @property
    def extreme_force_n(self) -> float:
        """Twice the limit or the ceiling, whichever is lower (detection.md, EXTREME_PRESSURE)."""
        return min(2.0 * self.force_limit_n, self.ceiling_n)


_LIMITS_SOURCE = {
    SiteGroup.LARGE_MUSCLE: "50 N, 20/30 s: engineering choice within published guidance of 20 s a"
    " spot and 15-30 s a muscle group; tendon 25 N: detection.md",
    SiteGroup.SENSITIVE: "25 N, 15/20 s: engineering choice, half the large group's force; tendon"
    " 12.5 N: the same half",
    SiteGroup.ATTACHMENT: "never: published guidance keeps off attachments and tendons; limits as"
    " for a sensitive site",
    SiteGroup.VULNERABLE: "never: superficial vessels, nerves or organs; limits as for a sensitive"
    " site",
    SiteGroup.GENERAL: "50 N, tendon 25 N, 20/30 s: detection.md, where no site is named",
}
_ISO = "ISO/TS 15066:2016 Table A.2, quasi-static, "


def _row(site: str, group: SiteGroup, ceiling_n: float, region: str) -> Site:
    large = group in (SiteGroup.LARGE_MUSCLE, SiteGroup.GENERAL)
    return Site(
        site=site,
        group=group,
        force_limit_n=50.0 if large else 25.0,
        tendon_limit_n=25.0 if large else 12.5,
        dwell_advisory_s=20.0 if large else 15.0,
        dwell_limit_s=30.0 if large else 20.0,
        never=group in (SiteGroup.ATTACHMENT, SiteGroup.VULNERABLE),
        ceiling_n=ceiling_n,
        source=f"{_LIMITS_SOURCE[group]}; ceiling: {_ISO}{region}",
    )


GENERAL = _row(
    UNKNOWN_SITE,
    SiteGroup.GENERAL,
    110.0,
    "abdomen: the lowest below the face, as the site may be any",
)

SITES: Mapping[str, Site] = MappingProxyType(
    {
        row.site: row
        for row in (
            _row("quadriceps", SiteGroup.LARGE_MUSCLE, 220.0, "thigh and knee"),
            _row("hamstrings", SiteGroup.LARGE_MUSCLE, 220.0, "thigh and knee"),
            _row("gluteals", SiteGroup.LARGE_MUSCLE, 180.0, "pelvis"),
            _row("calf", SiteGroup.LARGE_MUSCLE, 130.0, "lower leg"),
            _row("upper_back", SiteGroup.LARGE_MUSCLE, 210.0, "back and shoulder"),
            _row("lats", SiteGroup.LARGE_MUSCLE, 210.0, "back and shoulder"),
            _row("pectoral", SiteGroup.LARGE_MUSCLE, 140.0, "chest"),
            _row("deltoid", SiteGroup.LARGE_MUSCLE, 210.0, "back and shoulder"),
            _row("neck_extensors", SiteGroup.SENSITIVE, 150.0, "neck"),
            _row("upper_trapezius", SiteGroup.SENSITIVE, 150.0, "neck, the lower neighbour"),
            _row("upper_arm", SiteGroup.SENSITIVE, 150.0, "upper arm"),
            _row("forearm", SiteGroup.SENSITIVE, 160.0, "forearm"),
            _row("hand", SiteGroup.SENSITIVE, 140.0, "hand"),
            _row("shin", SiteGroup.SENSITIVE, 130.0, "lower leg"),
            _row("foot", SiteGroup.SENSITIVE, 130.0, "lower leg: the table has no foot"),
            _row("achilles", SiteGroup.ATTACHMENT, 130.0, "lower leg"),
            _row("patellar_tendon", SiteGroup.ATTACHMENT, 220.0, "thigh and knee"),
            _row("hamstring_tendon", SiteGroup.ATTACHMENT, 220.0, "thigh and knee"),
            _row("elbow_epicondyle", SiteGroup.ATTACHMENT, 160.0, "forearm"),
            _row("face", SiteGroup.VULNERABLE, 65.0, "face"),
            _row("neck_front", SiteGroup.VULNERABLE, 65.0, "face: the larynx has no value"),
            _row("spine", SiteGroup.VULNERABLE, 210.0, "back and shoulder"),
            _row("abdomen", SiteGroup.VULNERABLE, 110.0, "abdomen"),
            _row("armpit", SiteGroup.VULNERABLE, 140.0, "chest"),
            _row("groin", SiteGroup.VULNERABLE, 110.0, "abdomen, the lower neighbour of pelvis"),
            _row("popliteal_fossa", SiteGroup.VULNERABLE, 130.0, "lower leg, the lower neighbour"),
        )
    }
)


def base_name(site: str) -> str:
    """The name without its side: `calf_left` -> `calf`."""
    for side in SIDES:
        if site.endswith(side):
            return site.removesuffix(side)
    return site


@dataclass(frozen=True, slots=True)
class SiteTable:
    """The rows in force in one deployment: SITES, or SITES with the clinic's own numbers."""

    rows: Mapping[str, Site] = field(default_factory=lambda: SITES)
    general: Site = GENERAL

    def limits(self, site: str | None) -> Site:
        """The row of a site as it is named on the wire; GENERAL where nobody named one."""
        return self.general if site is None else self.rows.get(base_name(site), self.general)

    def recorded_name(self, site: str | None) -> str:
        """What the records say: the name with its side, or `unknown`."""
        return site if site is not None and base_name(site) in self.rows else UNKNOWN_SITE

    def is_no_go(self, site: str | None, avoid: Iterable[str]) -> bool:
        """Whether a site is never treated, or is one the client asked to leave alone.

        `achilles` to be avoided means both sides; `achilles_left` does not mean the right one. A
        site whose side nobody named may be the one to avoid, and counts as such.
        """
        if site is None:
            return False
        return self.limits(site).never or any(_covers(entry, site) for entry in avoid)


def _covers(entry: str, site: str) -> bool:
    if entry == site:
        return True
    same_site = base_name(entry) == base_name(site)
    return same_site and (entry == base_name(entry) or site == base_name(site))


# ------------------------------------------------------------------------ a clinic's own numbers

Override = Mapping[str, float | bool]
_NUMBERS = ("force_limit_n", "tendon_limit_n", "dwell_advisory_s", "dwell_limit_s")


@dataclass(frozen=True, slots=True)
class OverrideFault:
    """One thing wrong with a clinic's site limits: where, what stands there, what to do."""

    site: str
    column: str
    value: object
    remedy: str

    def __str__(self) -> str:
        where = f"{self.site}.{self.column}" if self.column else self.site
        return f"site limit {where} = {self.value!r}: {self.remedy}"


class SiteOverrideError(ValueError):
    """A clinic's site limits cannot be used; `faults` names every reason, not only the first."""

    def __init__(self, faults: tuple[OverrideFault, ...]) -> None:
        super().__init__("; ".join(str(fault) for fault in faults))
        self.faults = faults


def with_overrides(overrides: Mapping[str, Override], table: SiteTable | None = None) -> SiteTable:
    """The table with a clinic's numbers in it; `unknown` names the row for sites nobody named.

    Raises SiteOverrideError with every fault found.
    """
    table = table or SiteTable()
    known = {**table.rows, UNKNOWN_SITE: table.general}
    faults: list[OverrideFault] = []
    for site, override in overrides.items():
        if site not in known:
            remedy = f"no such site; known are {', '.join(sorted(known))} (without a side)"
            faults.append(OverrideFault(site, "", dict(override), remedy))
            continue
        known[site] = _overridden(known[site], override, faults)
    if faults:
        raise SiteOverrideError(tuple(faults))
    general = known.pop(UNKNOWN_SITE)
    return SiteTable(MappingProxyType(known), general)


def _overridden(row: Site, override: Override, faults: list[OverrideFault]) -> Site:
    """The row with the clinic's values; what is wrong with them is added to `faults`."""
    found = [_value_fault(row, column, value) for column, value in override.items()]
    wrong = [fault for fault in found if fault is not None]
    if not wrong:
        row = replace(
            row,
            force_limit_n=float(override.get("force_limit_n", row.force_limit_n)),
            tendon_limit_n=float(override.get("tendon_limit_n", row.tendon_limit_n)),
            dwell_advisory_s=float(override.get("dwell_advisory_s", row.dwell_advisory_s)),
            dwell_limit_s=float(override.get("dwell_limit_s", row.dwell_limit_s)),
            never=bool(override.get("never", row.never)),
            source=f"the clinic's own: {', '.join(sorted(override))}; else {row.source}",
        )
        wrong = _row_faults(row)
    faults.extend(wrong)
    return row


def _value_fault(row: Site, column: str, value: object) -> OverrideFault | None:
    def fault(remedy: str) -> OverrideFault:
        return OverrideFault(row.site, column, value, remedy)

    if column == "never":
        if not isinstance(value, bool):
            return fault("must be true or false")
        if row.never and not value:
            return fault("this site is never treated; remove the line")
        return None
    if column not in _NUMBERS:
        fixed = column in {each.name for each in fields(Site)}
        what = "this column cannot be changed" if fixed else "no such column"
        return fault(f"{what}; a clinic may set {', '.join(_NUMBERS)}, never")
    return None if _is_positive(value) else fault("must be a number above 0")


def _is_positive(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value > 0


def _row_faults(row: Site) -> list[OverrideFault]:
    """What is wrong between the values of one row, each of which may be right alone."""
    faults = []
    if row.force_limit_n > row.ceiling_n:
        remedy = f"is over the site's ISO/TS 15066 ceiling; set {row.ceiling_n:g} N or less"
        faults.append(OverrideFault(row.site, "force_limit_n", row.force_limit_n, remedy))
    if row.tendon_limit_n > row.force_limit_n:
        remedy = f"is over the force limit; set {row.force_limit_n:g} N or less"
        faults.append(OverrideFault(row.site, "tendon_limit_n", row.tendon_limit_n, remedy))
    if row.dwell_advisory_s > row.dwell_limit_s:
        remedy = f"comes after the alarm; set {row.dwell_limit_s:g} s or less"
        faults.append(OverrideFault(row.site, "dwell_advisory_s", row.dwell_advisory_s, remedy))
    return faults
