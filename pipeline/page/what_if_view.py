"""The view that tries other limits on what was recorded, before anybody changes one.

May import `frame`, the review's library, `whatif`, `sites` and NiceGUI. A trial runs in a process
of its own, one at a time, and ends with the page that asked for it. Nothing here changes a limit.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Final

import orjson
from fastapi import Query, Request
from nicegui import ui
from nicegui.element import Element
from nicegui.events import GenericEventArguments

from pipeline.accounts import Role
from pipeline.model import DeviceId
from pipeline.page import words
from pipeline.page.frame import frame, say
from pipeline.page.review.library import Library, Wanted
from pipeline.page.review_downloads import library_of_app
from pipeline.page.review_views import ANSWER_S
from pipeline.sites import SiteOverrideError, SiteTable, with_overrides
from pipeline.store import StoreError
from pipeline.whatif import LOGS_MAX, Occurrence, Trial, Verdict, WhatIfError, run_apart

WHAT_IF: Final = "/what-if"
ROLE: Final = Role.THERAPIST
CHANGES_MAX: Final = 12
UNAVAILABLE: Final = 503
LIMITS: Final[Mapping[str, str]] = {
    "force_limit_n": "Force limit, N",
    "tendon_limit_n": "Force limit on tendon, N",
    "dwell_advisory_s": "Dwell advisory, s",
    "dwell_limit_s": "Dwell limit, s",
}

_running: Final = threading.Lock()  # one trial a process


@dataclass(frozen=True, slots=True)
class _Source:
    """Something that can be judged again."""

    key: str
    title: str
    said: str
    logs: tuple[tuple[Any, ...], ...]


class WhatIfPanel(
    Element,
    component="assets/what_if_panel.js",
    dependencies=["assets/myoguard_parts.js", "assets/review_parts.js"],
):
    """The form, how far a trial is, and what became of it (`state`)."""

    def __init__(self, library: Library, sources: list[_Source]) -> None:
        super().__init__()
        self._library = library
        self._sources = {source.key: source for source in sources}
        self._stopped = threading.Event()
        self._props["message"] = orjson.dumps(
            {
                "sites": _sites(library.shelves.sites),
                "limits": [{"key": key, "title": title} for key, title in LIMITS.items()],
                "sources": [
                    {"key": s.key, "title": s.title, "said": s.said, "logs": len(s.logs)}
                    for s in sources
                ],
            }
        ).decode()
        self._tell({"is": "ready"})
        self.on("try", self._try)
        self.on("stop", self._stopped.set)
        self.client.on_delete(self._stopped.set)

    def _tell(self, state: Mapping[str, Any]) -> None:
        self._props["state"] = orjson.dumps(state).decode()
        self.update()

    async def _try(self, event: GenericEventArguments) -> None:
        try:
            trial = self._trial(event.args)
        except (WhatIfError, SiteOverrideError) as error:
            self._tell({"is": "failed", "said": str(error)})
            return
        if not _running.acquire(blocking=False):
            busy = "Somebody is trying limits already: try again when that is done."
            self._tell({"is": "failed", "said": busy})
            return
        self._stopped.clear()
        self._tell({"is": "running", "done": 0, "all": len(trial.logs)})
        try:
            verdict = await asyncio.to_thread(
                run_apart, trial, self._teller(), self._stopped.is_set
            )
        except WhatIfError as error:
            self._tell({"is": "failed", "said": str(error)})
        else:
            self._tell({"is": "done", **_shown(verdict)})
        finally:
            _running.release()

    def _teller(self) -> Callable[[int, int], None]:
        """Progress comes from the thread that waits for the other process."""
        loop = asyncio.get_running_loop()

        def tell(done: int, every: int) -> None:
            state = {"is": "running", "done": done, "all": every}
            loop.call_soon_threadsafe(self._tell, state)

        return tell

    def _trial(self, asked: object) -> Trial:
        """What the browser sends is checked like anything else. Raises both kinds of error."""
        if not isinstance(asked, dict) or asked.get("source") not in self._sources:
            raise WhatIfError("Choose what is to be judged again.")
        changes = asked.get("changes")
        if not isinstance(changes, list) or not 0 < len(changes) <= CHANGES_MAX:
            raise WhatIfError(f"Change at least one limit, and {CHANGES_MAX} at most.")
        overrides: dict[str, dict[str, float]] = defaultdict(dict)
        for change in changes:
            site, limit, value = (change.get(key) for key in ("site", "limit", "value"))
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise WhatIfError("Every changed limit needs a number.")
            if limit not in LIMITS:
                raise WhatIfError("There is no such limit.")
            overrides[str(site)][limit] = float(value)
        shelves = self._library.shelves
        tried = with_overrides(overrides, shelves.sites)
        # As they are now: one may be accepted while this is on its way to the other process.
        judge = replace(shelves.judge, calibrations=dict(shelves.judge.calibrations))
        return Trial(judge, shelves.sites, tried, self._sources[asked["source"]].logs)


@ui.page(WHAT_IF, response_timeout=ANSWER_S)
async def what_if_page(
    request: Request, session: Annotated[str, Query(max_length=400)] = ""
) -> None:
    """`session` is `clinic/device/session`, where one review led here."""
    library = library_of_app()
    sources: list[_Source] = []
    fault: str | None = None
    try:
        sources = await _sources(library, session)
    except StoreError as error:
        fault = f"The store cannot be read: {error}."
    with frame(request, "What if", here=WHAT_IF, role=ROLE) as login:
        if login is None:
            return
        if fault is not None:
            say(fault, UNAVAILABLE)
            return
        WhatIfPanel(library, sources)


async def _sources(library: Library, session: str) -> list[_Source]:
    found = []
    clinic, _, rest = session.partition("/")
    device, _, session_id = rest.partition("/")
    data = await library.session(DeviceId(clinic, device), session_id) if session_id else None
    if data is not None and data.raw_files:
        title = f"This session of {data.summary.client or device}"
        found.append(_Source("session", title, "kept whole", (data.raw_files,)))
    kept = await library.kept_sessions(Wanted())
    if kept:
        logs = tuple(tuple(files) for _, files in kept[:LOGS_MAX])
        contact = words.length(sum(summary.contact_s for summary, _ in kept[:LOGS_MAX]))
        said = f"{contact} of contact, from beginning to end"
        found.append(_Source("sessions", f"{len(logs)} kept sessions", said, logs))
    captures = await library.captures()
    if captures:
        paths = tuple((path,) for _, path in captures[:LOGS_MAX])
        said = (
            "30 s around each alarm that was raised. A higher limit can be tried on them; what a "
            "lower one adds shows only around these alarms, and dwell of over 20 s began before."
        )
        found.append(_Source("captures", f"The latest {len(paths)} captures", said, paths))
    return found


def _sites(table: SiteTable) -> list[dict[str, Any]]:
    rows = [*table.rows.values(), table.general]
    return [
        {
            "site": row.site,
            "title": words.site_words(row.site) or "Site not named",
            **{key: getattr(row, key) for key in LIMITS},
        }
        for row in rows
    ]


def _shown(verdict: Verdict) -> dict[str, Any]:
    return {
        "rules": [{**asdict(row), "title": words.rule_title(row.rule)} for row in verdict.rules],
        "gained": [_changed(each) for each in verdict.gained],
        "lost": [_changed(each) for each in verdict.lost],
        "logs": verdict.logs,
        "unreadable": verdict.unreadable,
        "contact": words.length(verdict.contact_s),
    }


def _changed(each: Occurrence) -> dict[str, Any]:
    peak = words.words_of(each.peak, each.unit)
    limit = words.words_of(each.setpoint, each.unit)
    return {
        "title": words.rule_title(each.rule),
        "at_ms": each.from_ns // 1_000_000,
        "device": each.id.device,
        "site": words.site_words(each.site),
        "evidence": f"peak {peak}, limit {limit}" if peak and limit else peak,
    }
