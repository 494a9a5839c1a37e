"""What Grafana is given: that it is what the code says, well formed, and true to the limits.

That each query is answered by a real engine is in test_dashboard_queries.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import grafana_asks as asks
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards import build, influx, limits
from pipeline import rules, sites
from pipeline.config.settings import PageSection
from pipeline.model import Priority

ROOT = Path(__file__).parent.parent
BOARDS = {each.uid: json.loads(build.as_json(each)) for each in build.boards()}
SESSION = BOARDS["myoguard-session"]
PAGE = "${page:raw}"
RULES = yaml.safe_load(build.files()["provisioning/alerting/rules.yaml"])["groups"][0]["rules"]
QUERIES = [asked for board in BOARDS.values() for asked in asks.queries(board)]
EVERY_QUERY = (
    [each.query for each in QUERIES]
    + [query for board in BOARDS.values() for query in asks.variables(board).values()]
    + [mark["query"] for board in BOARDS.values() for mark in asks.annotations(board)]
    + [rule["data"][0]["model"]["query"] for rule in RULES]
)


def test_what_is_committed_is_what_the_code_builds() -> None:
    built = build.files()
    found = {
        str(file.relative_to(build.HERE)): file.read_text(encoding="utf-8")
        for file in build.HERE.rglob("*")
        if file.is_file()
    }
    assert set(found) == set(built), "run `make dashboards`"
    for name, content in built.items():
        assert found[name] == content, f"{name} is not what is built: run `make dashboards`"


@pytest.mark.parametrize("uid", BOARDS)
def test_the_sdk_reads_a_dashboard_and_writes_the_same(uid: str) -> None:
    board = json.loads(json.dumps(BOARDS[uid]))
    for mark in asks.annotations(board):  # the SDK knows no words of InfluxDB in an annotation
        for word in ("query", "textColumn", "tagsColumn", "target"):
            assert mark.pop(word)
    again = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))
    for mark in asks.annotations(again):
        mark.pop("target", None)
    assert again == board


@pytest.mark.parametrize("uid", BOARDS)
def test_a_dashboard_is_well_formed(uid: str) -> None:
    board = BOARDS[uid]
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, f"{panel['title']} lies over another panel"
        taken |= cells
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        assert panel.get("fieldConfig", {}).get("defaults", {}).get("unit") or panel["type"] in (
            "table",
            "state-timeline",
        ), f"{panel['title']} has no unit"
    known = set(asks.variables(board)) | {"timeFilter", "__interval"}
    for asked in asks.queries(board):
        used = set(re.findall(r"\$(\w+)", asked.query))
        assert used <= known, f"{asked} uses {used - known}, which its dashboard has not"


def links(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["url"]] if isinstance(value.get("url"), str) else []
        return own + [url for each in value.values() for url in links(each)]
    return [url for each in value for url in links(each)] if isinstance(value, list) else []


def test_every_link_leads_to_a_dashboard_and_gives_its_variables() -> None:
    found = [url for board in BOARDS.values() for url in links(board["panels"])]
    found = [url for url in found if not url.startswith(PAGE)]
    assert len(found) >= 5
    for url in found:
        match = re.match(r"/d/([\w-]+)\?", url)
        assert match is not None, url
        assert match[1] in BOARDS, url
        given = set(re.findall(r"var-(\w+)=", url))
        assert given == set(asks.variables(BOARDS[match[1]])), url


def test_a_capture_is_opened_where_the_page_shows_it() -> None:
    (textbox,) = (each for each in SESSION["templating"]["list"] if each["type"] == "textbox")
    assert textbox["query"] == f"http://{PageSection().host}:{PageSection().port}"
    (url,) = (url for url in links(SESSION["panels"]) if url.startswith(PAGE))
    path = url.removeprefix(PAGE).replace("${__value.raw}", "{name}")
    path = re.sub(r"\$(\{\w+\})", r"\1", path)
    assert f'"{path}"' in (ROOT / "pipeline/page/review_views.py").read_text(encoding="utf-8")


def test_columns_that_a_link_reads_are_in_its_table() -> None:
    for board in BOARDS.values():
        for panel in board["panels"]:
            text = panel["targets"][0]["query"]
            for url in links(panel.get("fieldConfig", {})):
                for column in re.findall(r"__data\.fields\.(\w+)", url):
                    assert column == "Time" or f'"{column}"' in text, f"{panel['title']}: {column}"


def test_thresholds_are_the_limits_of_rules_and_sites() -> None:
    table = [sites.GENERAL, *sites.SITES.values()]
    known = {
        1.0,  # anything at all
        rules.HAV_ACTION_M_S2,
        rules.HAV_LIMIT_M_S2,
        rules.TENDON_STIFFNESS,
        rules.HOT_C,
        rules.SESSION_CONTACT_ADVISORY_S,
        *(site.force_limit_n for site in table),
        *(site.extreme_force_n for site in table),
        *(site.dwell_advisory_s for site in table),
        *(site.dwell_limit_s for site in table),
    }
    found = set(thresholds(BOARDS))
    assert {50.0, 100.0, 20.0, 30.0, 2.5, 5.0} <= found
    assert found <= known, f"{found - known} are typed, or the limits of nothing"


def thresholds(value: Any) -> list[float]:
    if isinstance(value, dict):
        own = [step["value"] for step in value.get("steps", ()) if step.get("value") is not None]
        return own + [each for part in value.values() for each in thresholds(part)]
    return [each for part in value for each in thresholds(part)] if isinstance(value, list) else []


@pytest.mark.parametrize("column", ["force_limit_n", "dwell_limit_s"])
def test_the_limit_that_is_drawn_is_that_of_the_site_whatever_its_side(column: str) -> None:
    drawn = list(limits.limits_of_sites(column))
    for site in (sites.GENERAL, *sites.SITES.values()):
        for name in (site.site, *(site.site + side for side in sites.SIDES)):
            found = [value for value, words in drawn if re.search(words[1:-1], name)]
            assert found == [getattr(site, column)], name


@pytest.mark.parametrize("kind", rules.AlarmKind)
def test_no_alarm_that_can_be_urgent_is_forgotten(kind: rules.AlarmKind) -> None:
    said = re.findall(r"\"rule\" = '(\w+)'", limits.rules_of(kind, Priority.MEDIUM, Priority.HIGH))
    assert len(said) > 3
    for row in rules.ALARMS.values():
        urgent = {row.priority, row.priority_highest} & {Priority.MEDIUM, Priority.HIGH}
        assert (row.rule in said) == (row.kind is kind and bool(urgent)), row.rule


# ------------------------------------------------------------------------- queries and their words


def words_of_the_model() -> dict[str, set[str]]:
    """Measurement -> its tags and fields, as docs/data-model.md says."""
    text = (ROOT / "docs" / "data-model.md").read_text(encoding="utf-8")
    overview = text.partition("\n## ")[0]
    found = {
        name: set(re.findall(r"`(\w+)`", tags))
        for name, tags in re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|", overview, re.MULTILINE)
    }
    for name, section in re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, re.M | re.S):
        for fields in re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE):
            found.setdefault(name, set()).update(re.findall(r"`([\w<>]+)`", fields))
    return found


def test_every_measurement_of_the_model_has_its_data_source() -> None:
    assert set(influx.SOURCE_OF) == set(words_of_the_model())


@pytest.mark.parametrize("query", sorted(set(EVERY_QUERY)))
def test_a_query_speaks_of_nothing_that_the_model_has_not(query: str) -> None:
    (measurement,) = set(re.findall(r'FROM "(\w+)"', query))
    own = set(re.findall(r'AS "([^"]+)"', query))
    said = set(re.findall(r'"([^"]+)"', query)) - own - {measurement}
    if "SHOW TAG VALUES" in query:
        said = {word for word in said if f'KEY = "{word}"' in query or f'"{word}" =~' in query}
    unknown = said - words_of_the_model()[measurement]
    assert not unknown, f"{measurement} has no {unknown}"


def test_queries_are_influxql_alone() -> None:
    assert len(EVERY_QUERY) > 60
    for query in EVERY_QUERY:
        assert re.match(r"(SELECT|SHOW TAG VALUES) ", query)


# ------------------------------------------------------------------------------------ provisioning


def test_provisioning_holds_names_of_secrets_and_compose_gives_them() -> None:
    text = "".join(v for k, v in build.files().items() if "contact" in k or "datasources" in k)
    asked = set(re.findall(r"\$(\w+)", text))
    assert {"INFLUX_TOKEN", "INFLUX_PASSWORD", "ALERT_WEBHOOK_URL"} <= asked
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    assert asked <= set(compose["services"]["grafana"]["environment"])
    mounted = [v.split(":") for v in compose["services"]["grafana"]["volumes"] if v[0] == "."]
    assert {there: here for here, there, _ in mounted} == {
        "/etc/grafana/provisioning": "./dashboards/grafana/provisioning",
        "/etc/grafana/dashboards": "./dashboards/grafana/dashboards",
    }


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["uid"])
def test_an_alert_rule_keeps_its_state_when_nothing_is_known(rule: Any) -> None:
    states = {"myoguard-nothing-known": "noDataState", "myoguard-store-unreachable": "execErrState"}
    for what in ("noDataState", "execErrState"):
        assert rule[what] == ("Alerting" if states.get(rule["uid"]) == what else "KeepLast")
    assert "$" not in json.dumps(rule), "Grafana would take it for a variable of its environment"
    assert [step["refId"] for step in rule["data"]] == ["A", "B", "C"]
    assert rule["condition"] == "C"
    assert rule["labels"]["severity"] in ("critical", "warning")


def test_every_alert_that_was_asked_for_is_there() -> None:
    assert [rule["title"] for rule in RULES] == [
        "Unsafe use now",
        "Device offline in a session",
        "Pipeline silent",
        "No data of any pipeline",
        "Store unreachable",
        "Operator near the exposure limit",
    ]
