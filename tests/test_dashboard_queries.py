"""Every query that Grafana would ask, asked of a real InfluxDB 1.6.7 with a demo's two minutes.

The demo clinic goes through the monitor and the store, and its spool into the engine: what the sink
of a running pipeline does, without waiting for the clock. It ended just now, because alert rules
look back from now.
"""

from __future__ import annotations

import json
import math
import re
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import grafana_asks as asks
import pytest
import servers
import yaml
from clinic_log import clinic_log
from influx_engine import influxql, make_database
from influx_spool import check_balance, drained, spool
from servers import HOST
from store_records import alarm, exposure

from dashboards import build, limits
from pipeline import wire
from pipeline.app import make_monitor
from pipeline.cli.gun_models import known_guns
from pipeline.config import Settings
from pipeline.influx import encode
from pipeline.model import (
    ActionKind,
    Alarm,
    AlarmAction,
    AlarmState,
    Counters,
    DeviceId,
    DeviceState,
    DeviceStatus,
    OutboundRecord,
    PipelineStatus,
    Priority,
    Received,
    Record,
    SessionSummary,
)
from pipeline.rules import ALARMS, AlarmKind
from pipeline.sites import GENERAL, SITES

SECOND_NS = 1_000_000_000
SECONDS = 130  # the first gun's session is over after 108
GUNS = 2
FIRST_GUN, LAST_GUN = "gun-01", f"gun-{GUNS:02d}"
STANDING = (AlarmState.ACTIVE_UNACK, AlarmState.ACTIVE_ACK)
BOARDS = {each.uid: json.loads(build.as_json(each)) for each in build.boards()}
QUERIES = [asked for board in BOARDS.values() for asked in asks.queries(board)]
RULES = {
    each["uid"]: each
    for each in yaml.safe_load(build.files()["provisioning/alerting/rules.yaml"])["groups"][0][
        "rules"
    ]
}
# What may be empty in every row: nobody wrote a note, and no black box was kept.
OPTIONAL = frozenset({"note", "capture"})


@dataclass(frozen=True)
class Demo:
    """The engine, what is in it, and when it was."""

    port: int
    records: list[Record]
    since_ms: int
    until_ms: int

    @property
    def session(self) -> SessionSummary:
        """The first gun's first session, which is over."""
        found = [each for each in self.records if isinstance(each, SessionSummary)]
        return next(each for each in found if each.id.device == FIRST_GUN and each.ended_at_ns)

    @property
    def chosen(self) -> dict[str, str]:
        return {"clinic": "demo", "device": FIRST_GUN, "session": self.session.session_id}

    def ask(self, query: str, chosen: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        words = asks.filled(query, chosen or self.chosen, self.since_ms, self.until_ms)
        return influxql(self.port, words, "myoguard")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    directory = tmp_path_factory.mktemp("demo")
    start_ns = time.time_ns() - (SECONDS + 5) * SECOND_NS
    with servers.influxd(directory / "influxd") as engine:
        make_database(engine.port, "myoguard")
        with spool(directory / "store") as ours:
            records: list[Record] = []
            for batch, status in play(start_ns):
                ours.store.checkpoint(batch, b"")
                ours.store.spool_status(status)
                records += batch
            drained(ours, ours.drain(f"http://{HOST}:{engine.port}"), 60.0)
            check_balance(ours, engine.port)
        since_ms = start_ns // 1_000_000 - 60_000  # minutes begin before it
        yield Demo(engine.port, records, since_ms, time.time_ns() // 1_000_000)


def play(start_ns: int) -> Iterator[tuple[list[Record], PipelineStatus]]:
    """Ten seconds at a time: what the monitor makes of them, and the pipeline says of itself.

    What the demo lacks is added: a calibration, an alarm that chatters, a gun that goes.
    """
    settings = Settings()
    monitor = make_monitor(settings, known_guns(settings))
    log = clinic_log(GUNS, SECONDS, start_ns=start_ns)
    by_second = groupby(log, key=lambda each: (each.received_at_ns - start_ns) // SECOND_NS)
    records: list[Record] = []
    first, told = DeviceId("demo", FIRST_GUN), list[Alarm]()
    for second, messages in by_second:
        now_ns = start_ns + (second + 1) * SECOND_NS
        fresh = monitor.feed(messages)
        records += [*fresh, *monitor.feed(acknowledgements(fresh, now_ns))]
        told = [e for e in fresh if isinstance(e, Alarm) and e.id == first] or told
        if second % 10 == 9:
            yield records, status(monitor.counters, now_ns)
            records = []
    records += monitor.feed([last_will(now_ns)])
    (seen, *_) = (each for each in records if isinstance(each, DeviceStatus))
    records.append(replace(told[-1], chattering=True, changed_at_ns=now_ns))
    benched_ns = start_ns - 30 * 86_400 * SECOND_NS
    calibrated = replace(seen, id=first, online=True, calibrated=True, calibrated_at_ns=benched_ns)
    records.append(calibrated)
    yield records, status(monitor.counters, now_ns + SECOND_NS)


def acknowledgements(records: list[Record], now_ns: int) -> list[Received]:
    """A therapist who answers at once."""
    raised = [e for e in records if isinstance(e, Alarm) and e.state is AlarmState.ACTIVE_UNACK]
    return [
        Received(
            now_ns,
            *wire.encode(AlarmAction(each.id, each.rule, ActionKind.ACK, "op-1", now_ns)),
        )
        for each in raised
        if each.priority is not Priority.LOW
    ]


def last_will(now_ns: int) -> Received:
    """The last gun goes without a word, in the middle of a session."""
    gun = DeviceId("demo", LAST_GUN)
    births = [wire.decode(each.topic, each.payload) for each in clinic_log(GUNS, 0.0)]
    (boot_id,) = {e.boot_id for e in births if isinstance(e, DeviceState) and e.id == gun}
    return Received(now_ns, *wire.encode(DeviceState(gun, online=False, boot_id=boot_id)))


def status(counters: Counters, t_ns: int) -> PipelineStatus:
    return PipelineStatus("myoguard", t_ns, GUNS, counters, 0.2, 4096, 1, 100, 0, 0)


# ------------------------------------------------------------------------------------ dashboards


@pytest.mark.parametrize("asked", QUERIES, ids=str)
def test_a_panels_query_is_answered_in_the_shape_it_expects(demo: Demo, asked: asks.Asked) -> None:
    rows = demo.ask(asked.query)
    if " limit " in asked.query or "0 * max" in asked.query:
        check_limit(asked.query, rows)
        return
    assert rows, "nothing is answered"
    assert asked.tags <= set(rows[0]), "the name of the series is made of tags that are not there"
    assert asked.columns - {"Time"} <= set(rows[0]), "a column has no such name"
    shown = {name: [row[name] for row in rows] for name in set(rows[0]) - {"name"} - OPTIONAL}
    for name, values in shown.items():
        assert any(value is not None for value in values), f"{name} is empty in every row"
    if not asked.table:
        for name in set(shown) - asked.tags - grouped_by(asked.query) - {"time"}:
            numbers = [value for value in shown[name] if value is not None]
            assert all(isinstance(value, int | float) for value in numbers), f"{name}: {numbers}"


def grouped_by(query: str) -> set[str]:
    return {
        tag
        for group in re.findall(r"GROUP BY (.*)", query)
        for tag in re.findall(r'"(\w+)"', group)
    }


def check_limit(query: str, rows: list[dict[str, Any]]) -> None:
    """A line at the limit where such a site is treated; nothing where there is none."""
    (value,) = re.findall(r'0 \* max\("hops"\) \+ ([\d.]+)', query)
    assert {row["max"] for row in rows} <= {None, float(value)}


@pytest.mark.parametrize(
    ("column", "panel"), [("force_limit_n", "Contact force"), ("dwell_limit_s", "On one spot")]
)
def test_where_a_site_is_treated_its_limit_is_drawn(demo: Demo, column: str, panel: str) -> None:
    lines = [
        asked
        for asked in QUERIES
        if asked.board == "myoguard-session"
        and asked.panel.startswith(panel)
        and "0 *" in asked.query
    ]
    drawn = {row["max"] for line in lines for row in demo.ask(line.query)} - {None}
    treated = {site.removesuffix("_left").removesuffix("_right") for site in sites_of(demo)}
    assert drawn == {getattr(SITES.get(site, GENERAL), column) for site in treated}


def sites_of(demo: Demo) -> set[str]:
    where = f"\"device\" = '{FIRST_GUN}' AND \"session\" = '{demo.session.session_id}'"
    query = f'SELECT "hops", "site" FROM "features" WHERE {where}'  # noqa: S608 - our own words
    rows = influxql(demo.port, query, "myoguard")
    return {row["site"] for row in rows}


def test_the_session_review_is_of_the_session_just_simulated(demo: Demo) -> None:
    found = {
        asked.panel.removesuffix(" A"): demo.ask(asked.query)
        for asked in QUERIES
        if asked.board == "myoguard-session" and asked.panel.endswith(" A")
    }
    session = demo.session
    assert found["Duration"][0]["last"] * 1e9 == pytest.approx(
        (session.ended_at_ns or 0) - session.started_at_ns, rel=1e-4
    )
    assert found["Time in contact"][0]["sum"] == pytest.approx(session.contact_s, abs=1.0)
    assert found["Highest force"][0]["max"] == pytest.approx(session.contact_force_n_max, rel=1e-3)
    rules = {row["rule"] for row in found["Alarms, transition by transition"]}
    assert {"OVERDWELL", "EXCESS_PRESSURE", "TENDON_PROXIMITY"} <= rules
    told = sum(session.alarms_by_rule.values())
    assert found["Alarms"][0]["count"] >= told > 0


@pytest.mark.parametrize("uid", BOARDS)
def test_variables_offer_what_is_there(demo: Demo, uid: str) -> None:
    expected = {
        "clinic": {"demo"},
        "device": {f"gun-{number:02d}" for number in range(1, GUNS + 1)},
        "session": {demo.session.session_id},
    }
    for name, query in asks.variables(BOARDS[uid]).items():
        rows = demo.ask(query)
        offered = {row.get("value", row.get("distinct")) for row in rows}
        if name == "session":
            assert expected[name] <= offered
        else:
            assert offered == expected[name]


@pytest.mark.parametrize("uid", BOARDS)
def test_every_gun_at_once_is_answered_as_one_is(demo: Demo, uid: str) -> None:
    """`All` is the regular expression .*"""
    every = {**demo.chosen, "clinic": ".*", "device": ".*"}
    for asked in asks.queries(BOARDS[uid]):
        if "$device" in asked.query and "$session" not in asked.query:
            assert demo.ask(asked.query, every), str(asked)


def test_marks_have_a_word_and_tags(demo: Demo) -> None:
    marks = [mark for board in BOARDS.values() for mark in asks.annotations(board)]
    assert len(marks) >= 4
    for mark in marks:
        rows = demo.ask(mark["query"], {**demo.chosen, "device": ".*"})
        assert rows, mark["name"]
        for word in (mark["textColumn"], *mark["tagsColumn"].split(",")):
            assert all(isinstance(row[word], str) for row in rows)
        assert {row["time"] // 1000 for row in rows} <= set(range(demo.since_ms, demo.until_ms))


# ------------------------------------------------------------------------------------ alert rules


def firing(port: int, uid: str, database: str = "myoguard") -> set[tuple[str, ...]] | None:
    """The labels of the series for which a rule's condition holds now; None: there is no data.

    Does what the rule's three steps ask for: query, last value of each series, threshold.
    """
    query, reduce, threshold = RULES[uid]["data"]
    assert reduce["model"]["reducer"] == "last"
    rows = influxql(port, query["model"]["query"], database)
    grouped = sorted(grouped_by(query["model"]["query"]))
    last: dict[tuple[str, ...], float] = {}
    for row in rows:
        (name,) = set(row) - {"name", "time"} - set(grouped)
        if row[name] is not None:
            last[tuple(row[tag] for tag in grouped)] = row[name]
    evaluator = threshold["model"]["conditions"][0]["evaluator"]
    (limit,) = evaluator["params"]
    holds = {"gt": lambda value: value > limit, "lt": lambda value: value < limit}
    decide = holds[evaluator["type"]]
    return {labels for labels, value in last.items() if decide(value)} if last else None


def standing(records: list[Record], kind: AlarmKind) -> set[tuple[str, ...]]:
    """(clinic, gun, rule) of the alarms over low priority that stand, as the monitor said."""
    urgent = [e for e in records if isinstance(e, Alarm) and e.priority is not Priority.LOW]
    now = {(*e.id, e.rule): e.state in STANDING for e in urgent if ALARMS[e.rule].kind is kind}
    return {key for key, stands in now.items() if stands}


def test_unsafe_use_fires_for_what_the_monitor_says_stands(demo: Demo) -> None:
    assert firing(demo.port, "myoguard-unsafe-use") == standing(demo.records, AlarmKind.USE)


def test_a_gun_that_goes_in_a_session_fires(demo: Demo) -> None:
    found = firing(demo.port, "myoguard-device-offline")
    assert found == {("demo", LAST_GUN, "DEVICE_OFFLINE")}


@pytest.fixture
def empty(demo: Demo, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database for one test, on the same engine."""
    name = re.sub(r"\W", "_", request.node.name)
    make_database(demo.port, name)
    yield name
    influxql(demo.port, f'DROP DATABASE "{name}"')


def write(port: int, database: str, *records: OutboundRecord) -> None:
    lines = "\n".join(encode(each, "fx-16", at) for at, each in enumerate(records))
    url = f"http://{HOST}:{port}/write?db={database}&precision=u"
    with urllib.request.urlopen(url, lines.encode(), servers.DEADLINE_S) as answer:
        assert answer.status == 204


@pytest.mark.parametrize("uid", RULES)
def test_a_rule_finds_no_data_in_an_empty_database(demo: Demo, empty: str, uid: str) -> None:
    assert firing(demo.port, uid, empty) is None


def test_an_alarm_that_returns_or_is_low_does_not_fire(demo: Demo, empty: str) -> None:
    now_ns = time.time_ns()
    raised = alarm("EXCESS_PRESSURE", AlarmState.ACTIVE_UNACK, now_ns - 9 * SECOND_NS)
    raised = replace(raised, priority=Priority.MEDIUM)
    write(demo.port, empty, raised)
    (labels,) = firing(demo.port, "myoguard-unsafe-use", empty) or [()]
    assert labels == (*raised.id, "EXCESS_PRESSURE")
    for state in (AlarmState.RTN_UNACK, AlarmState.UNKNOWN, AlarmState.CLEARED):
        after = replace(raised, state=state, changed_at_ns=now_ns)
        write(demo.port, empty, after)
        assert firing(demo.port, "myoguard-unsafe-use", empty) == set(), state
        now_ns += SECOND_NS // 100
    low = replace(raised, rule="OVERDWELL_ADVISORY", priority=Priority.LOW)
    write(demo.port, empty, low)
    assert firing(demo.port, "myoguard-unsafe-use", empty) == set()


def test_a_pipeline_that_falls_silent_fires_and_one_that_speaks_does_not(
    demo: Demo, empty: str
) -> None:
    now_ns = time.time_ns()
    speaks = [status(Counters(), now_ns - age * 10 * SECOND_NS) for age in range(30)]
    silent = [replace(each, pipeline="other") for each in speaks if each.t_ns < now_ns - 1.3e11]
    write(demo.port, empty, *speaks, *silent)
    found = firing(demo.port, "myoguard-pipeline-silent", empty)
    assert found is not None
    # A minute that has just begun is empty for one that speaks, too: hence the rule's 30 s.
    assert found - {("myoguard",)} == {("other",)}
    assert found == {("other",)} or time.time() % 60 < 15
    assert firing(demo.port, "myoguard-nothing-known", empty) == set()


def test_a_store_that_does_not_keep_up_fires(demo: Demo, empty: str) -> None:
    now_ns = time.time_ns()
    write(demo.port, empty, replace(status(Counters(), now_ns), spool_records=10_000))
    assert firing(demo.port, "myoguard-store-unreachable", empty) == set()
    write(demo.port, empty, replace(status(Counters(), now_ns + 1_000), spool_records=10_001))
    assert firing(demo.port, "myoguard-store-unreachable", empty) == {("myoguard",)}


def test_exposure_is_of_today_and_yesterdays_does_not_fire(demo: Demo, empty: str) -> None:
    now_ns = time.time_ns()
    day_ns = 86_400 * SECOND_NS
    midnight_ns = now_ns // day_ns * day_ns
    near = math.nextafter(limits.NEAR_LIMIT_M_S2, 9) + 1e-3
    for operator, t_ns, a8_m_s2 in (
        ("near", now_ns, near),
        ("far", now_ns, limits.NEAR_LIMIT_M_S2 - 1e-3),
        ("yesterday", midnight_ns - SECOND_NS, near),
    ):
        record = replace(exposure(operator, "today"), t_ns=t_ns, a8_m_s2=a8_m_s2)
        write(demo.port, empty, record)
    found = firing(demo.port, "myoguard-exposure", empty)
    assert found is not None
    assert {operator for _, operator in found} == {"near"}
