"""Alert rules for Grafana, as file provisioning wants them.

Grafana polls a store that is itself some seconds behind: these rules tell those who do not look.
The fast path is the pipeline's own alarms over MQTT.

Each query gives a number for good and for bad alike. "No data" then means that nobody can tell, and
keeps what was last known; that nobody can tell has rules of its own.
Queries say their time themselves, in InfluxQL, and hold no `$`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from grafana_foundation_sdk.builders import alerting, expr
from grafana_foundation_sdk.models import alerting as alerting_models
from grafana_foundation_sdk.models import dashboard as models

from dashboards import limits
from dashboards.influx import InfluxQuery, source_of
from pipeline.model import Priority
from pipeline.rules import HAV_LIMIT_M_S2, AlarmKind

INTERVAL: Final = "10s"  # the shortest Grafana evaluates at
LOOK_BACK_S: Final = 86_400
KEEP: Final = "KeepLast"
FIRE: Final = "Alerting"
# The pipeline says something of itself every 10 s; a minute without it is not a slow write.
# Engineering choice.
SILENT_S: Final = 60
# 2,000 guns make so many records in 5 s, 20 guns in 8 minutes: more than any healthy queue, and
# long before the spool's own bound. Engineering choice.
WAITING_RECORDS: Final = 10_000
USE_RULES: Final = limits.rules_of(AlarmKind.USE, Priority.MEDIUM, Priority.HIGH)


@dataclass(frozen=True, slots=True)
class AlertRule:
    """The last value of each series of `query`, over (gt) or under (lt) a value, every 10 s."""

    uid: str
    title: str
    query: str
    summary: str
    advice: str
    severity: str  # critical, warning
    threshold: tuple[Literal["gt", "lt"], float]
    lasting: str = "0s"
    no_data: str = KEEP
    no_answer: str = KEEP

    def to_json(self) -> dict[str, object]:
        return {
            "uid": self.uid,
            "title": self.title,
            "condition": "C",
            "data": [each.build() for each in self._steps()],
            "noDataState": self.no_data,
            "execErrState": self.no_answer,
            "for": self.lasting,
            "annotations": {"summary": self.summary, "description": self.advice},
            "labels": {"severity": self.severity, "source": "myoguard"},
            "isPaused": False,
        }

    def _steps(self) -> list[alerting.Query]:
        here = models.DataSourceRef(type_val="__expr__", uid="__expr__")
        last = expr.TypeReduce().ref_id("B").expression("A").reducer("last").datasource(here)
        worse = expr.TypeThreshold().ref_id("C").expression("B").datasource(here)
        kind, value = self.threshold
        over = expr.ExprTypeThresholdConditionsEvaluator().type(kind).params([value])
        worse.conditions([expr.ExprTypeThresholdConditions().evaluator(over)])
        source = source_of(self.query).uid or ""
        return [
            _step("A", source).model(InfluxQuery(self.query)),
            _step("B", "__expr__").model(last),
            _step("C", "__expr__").model(worse),
        ]


def _step(ref_id: str, source: str) -> alerting.Query:
    whole = alerting_models.RelativeTimeRange(from_val=LOOK_BACK_S, to=0)
    return alerting.Query(ref_id).datasource_uid(source).relative_time_range(whole)


RULES: Final = (
    AlertRule(
        uid="myoguard-unsafe-use",
        title="Unsafe use now",
        query=f'SELECT last("active") FROM "alarms" WHERE {USE_RULES}'
        " AND (\"priority\" = 'medium' OR \"priority\" = 'high') AND time > now() - 1d"
        ' GROUP BY "clinic", "device", "rule"',
        threshold=("gt", 0.5),
        severity="critical",
        summary="{{ .Labels.rule }} at {{ .Labels.clinic }}/{{ .Labels.device }}",
        advice="A use alarm of medium or high priority stands. What to do stands in docs/alarms.md;"
        " the page and MQTT have said so some seconds before this.",
    ),
    AlertRule(
        uid="myoguard-device-offline",
        title="Device offline in a session",
        query='SELECT last("active") FROM "alarms"'
        " WHERE (\"rule\" = 'DEVICE_OFFLINE' OR \"rule\" = 'NO_FRAMES')"
        " AND \"priority\" = 'medium' AND time > now() - 1d"
        ' GROUP BY "clinic", "device", "rule"',
        threshold=("gt", 0.5),
        lasting="30s",
        severity="warning",
        summary="{{ .Labels.clinic }}/{{ .Labels.device }} is not watched: {{ .Labels.rule }}",
        advice="A gun that is switched off between sessions is no news; this one went during one,"
        " or is silent while its motor ran. Check its battery and the wireless network.",
    ),
    AlertRule(
        uid="myoguard-pipeline-silent",
        title="Pipeline silent",
        query='SELECT count("messages") FROM "pipeline" WHERE time > now() - 1h'
        f' GROUP BY time({SILENT_S}s), "pipeline" fill(0)',
        threshold=("lt", 0.5),
        lasting="30s",  # a minute that has just begun is empty, too
        severity="critical",
        summary="Nothing has been written by pipeline {{ .Labels.pipeline }} for a minute",
        advice="It is down, or cannot reach InfluxDB. If it is down no gun is watched: look at it"
        " first. If it cannot write, it keeps everything and writes it later.",
    ),
    AlertRule(
        uid="myoguard-nothing-known",
        title="No data of any pipeline",
        query='SELECT count("messages") FROM "pipeline" WHERE time > now() - 1h'
        ' GROUP BY "pipeline"',
        threshold=("lt", 0.5),
        lasting="1m",
        no_data=FIRE,
        severity="critical",
        summary="No pipeline has written anything for an hour",
        advice="All other rules keep what they said last. See whether the pipeline runs, and where"
        " it writes to.",
    ),
    AlertRule(
        uid="myoguard-store-unreachable",
        title="Store unreachable",
        query='SELECT last("spool_records") FROM "pipeline" WHERE time > now() - 1h'
        ' GROUP BY "pipeline"',
        threshold=("gt", float(WAITING_RECORDS)),
        lasting="1m",
        no_answer=FIRE,
        severity="critical",
        summary="InfluxDB does not answer Grafana, or does not keep up {{ .Labels.pipeline }}",
        advice="Nothing is lost: the pipeline keeps what it cannot write. All other rules keep what"
        " they said last, so until InfluxDB answers nobody is told of anything new here.",
    ),
    AlertRule(
        uid="myoguard-exposure",
        title="Operator near the exposure limit",
        query='SELECT last("a8_m_s2") FROM "operators" WHERE time > now() - 1d'
        ' GROUP BY time(1d), "clinic", "operator" fill(0)',
        threshold=("gt", limits.NEAR_LIMIT_M_S2),
        severity="warning",
        summary="{{ .Labels.operator }} of {{ .Labels.clinic }} is near the day's vibration limit",
        advice=f"A(8) is over {limits.NEAR_LIMIT_M_S2:g} of {HAV_LIMIT_M_S2:g} m/s² (Directive"
        " 2002/44/EC). Share the remaining treatments, or use a gun that shakes less.",
    ),
)
