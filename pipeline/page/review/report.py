"""One page of paper about one session: HTML by itself, with its picture in it, ready to print.

Pure but for the picture. Everything from the network is escaped. May import the review's nouns.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final

from pipeline.page import words
from pipeline.page.review.guidance import Check, Verdict
from pipeline.page.review.picture import local_time
from pipeline.page.review.session import SessionReview

OCCURRENCES_MAX: Final = 12  # what fits the page; the others are counted
VERDICT_WORDS: Final = {
    Verdict.WITHIN: "within guidance",
    Verdict.BESIDE: "worth a look",
    Verdict.BEYOND: "over a limit",
    Verdict.UNKNOWN: "not known",
}
_STYLE: Final = """
@page { size: A4; margin: 14mm }
:root { color: #10202c; font: 10pt/1.4 system-ui, sans-serif }
body { max-width: 182mm; margin: 10mm auto; font-variant-numeric: tabular-nums }
h1 { font-size: 17pt; margin: 0 } h2 { font-size: 11pt; margin: 5mm 0 1.5mm }
.who, .small { color: #475b6a } .small { font-size: 8.5pt } p { margin: 0.6mm 0 }
svg { width: 100%; height: auto; margin: 3mm 0 0 }
table { border-collapse: collapse; width: 100% }
th { text-align: left; font-weight: 500; color: #475b6a; font-size: 8.5pt }
th, td { padding: 0.9mm 3mm 0.9mm 0; border-bottom: 0.2mm solid #dbe3e9; vertical-align: top }
.columns > :last-child td:nth-child(2) { white-space: nowrap }
.figures { display: flex; gap: 8mm; margin: 3mm 0 } .figures b { display: block; font-size: 14pt }
.columns { display: grid; grid-template-columns: 3fr 2fr; gap: 8mm }
footer { margin-top: 5mm; border-top: 0.2mm solid #dbe3e9; padding-top: 2mm }
@media print { body { margin: 0 } }
@media screen and (max-width: 700px) {
  body { margin: 4mm } .columns { grid-template-columns: minmax(0, 1fr); gap: 0 }
  .figures { flex-wrap: wrap; gap: 3mm 6mm }
}
"""


def report_html(review: SessionReview, picture_svg: str, version: str) -> str:
    """The whole document."""
    line = review.line
    started = local_time(line.started_ms)
    title = f"Session of {line.client or 'a client not named'}"
    ended = f" to {local_time(line.ended_ms):%H:%M}" if line.ended_ms is not None else ""
    who = [
        f"{started:%A, %d %B %Y, %H:%M}{ended}",
        line.operator and f"operator {line.operator}",
        f"gun {line.device}, {line.clinic}",
        f"session {line.session_id}",
    ]
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>
<style>{_STYLE}</style></head><body>
<h1>{escape(title)}</h1>
<p class="who">{escape(" · ".join(part for part in who if part))}</p>
{_figures(review)}
{picture_svg}
<p class="small">Force with its uncertainty (two standard deviations) and limits (dashed); alarms as
bands.</p>
<div class="columns"><div>{_checks(review.checks)}{_occurrences(review)}</div>
<div>{_sites(review)}{_advice(review.guidance)}</div></div>
<footer class="small">MyoGuard, configuration {escape(version)}. Not a medical device. Sites are as
the console named them. Massage is no substitute for training or medical care, and the evidence for
it is modest.</footer></body></html>"""


def _figures(review: SessionReview) -> str:
    line = review.line
    figures = [
        (words.length(line.contact_s), "in contact"),
        (f"{line.force_n_mean:.0f} N", "force, mean"),
        (f"{line.force_n_max:.0f} N", "force, highest"),
        (f"{line.dwell_s_max:.0f} s", "longest on one spot"),
        (str(len(review.occurrences)), "alarms"),
    ]
    cells = "".join(f"<div><b>{escape(value)}</b>{name}</div>" for value, name in figures)
    return f'<div class="figures">{cells}</div>'


def _checks(checks: Iterable[Check]) -> str:
    rows = [(c.title, VERDICT_WORDS[c.verdict], f"{c.value}: {c.said}") for c in checks]
    return _table("Against guidance", ("", "", "what was seen"), rows)


def _occurrences(review: SessionReview) -> str:
    shown = review.occurrences[:OCCURRENCES_MAX]
    rows = [
        (
            f"{local_time(each.from_ms):%H:%M:%S}",
            f"{each.title} ({each.priority})",
            ", ".join(part for part in (each.evidence, each.site) if part),
        )
        for each in shown
    ]
    more = len(review.occurrences) - len(shown)
    note = f'<p class="small">and {more} more</p>' if more else ""
    if not rows:
        return "<h2>Alarms</h2><p>None.</p>"
    return _table("Alarms", ("at", "what", "evidence"), rows) + note


def _sites(review: SessionReview) -> str:
    rows = [(each.site, words.length(each.contact_s), each.said) for each in review.site_times]
    return _table("Contact by site", ("site", "", ""), rows)


def _advice(guidance: Iterable[str]) -> str:
    items = "".join(f"<p>{escape(sentence)}</p>" for sentence in guidance)
    return f"<h2>Advice at the start</h2>{items}" if items else ""


def _table(title: str, head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = "".join(f"<th>{escape(each)}</th>" for each in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<h2>{escape(title)}</h2><table><tr>{heads}</tr>{body}</table>"
