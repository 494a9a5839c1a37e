"""InfluxQL for Grafana: the query model the SDK does not have, sources, variables, annotations.

InfluxQL alone, which InfluxDB 1, 2 and 3 share. Measurements are those of docs/data-model.md. Two
data sources, because features and the pipeline's own figures may be kept for less long.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Self

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog import builder, runtime, variants
from grafana_foundation_sdk.models import dashboard as models

PLUGIN: Final = "influxdb"
SHORT: Final = "myoguard"  # data source of `influx.bucket`
LONG: Final = (
    "myoguard-long"  # of `influx.bucket_long`, or of the same bucket where that is not set
)
SOURCE_OF: Final[Mapping[str, str]] = {
    "features": SHORT,
    "pipeline": SHORT,
    "features_1m": LONG,
    "alarms": LONG,
    "sessions": LONG,
    "devices": LONG,
    "operators": LONG,
}

# What a query is narrowed to by the variables above a dashboard. "All" is the regular expression .*
OF_CLINIC: Final = '"clinic" =~ /^$clinic$/'
OF_GUN: Final = f'{OF_CLINIC} AND "device" =~ /^$device$/'
OF_SESSION: Final = f"{OF_GUN} AND \"session\" = '$session'"
IN_TIME: Final = "$timeFilter"


def source_of(query: str) -> models.DataSourceRef:
    """The data source that holds the measurement a query reads; KeyError for one nobody writes."""
    (measurement,) = set(re.findall(r'FROM "(\w+)"', query))
    return models.DataSourceRef(type_val=PLUGIN, uid=SOURCE_OF[measurement])


class InfluxQuery(variants.Dataquery, builder.Builder[variants.Dataquery]):
    """One InfluxQL query of a panel or of an alert rule; its own builder, as it has nothing to add.

    `alias` names the series ($tag_device, $col); as a table, rows come as the engine gives them.
    """

    def __init__(
        self, query: str, *, alias: str = "", table: bool = False, ref_id: str = "A"
    ) -> None:
        self.query = query
        self.alias = alias
        self.table = table
        self.ref_id = ref_id

    def build(self) -> Self:
        return self

    def to_json(self) -> dict[str, object]:
        return {
            "refId": self.ref_id,
            "datasource": source_of(self.query),
            "query": self.query,
            "rawQuery": True,
            "resultFormat": "table" if self.table else "time_series",
            "alias": self.alias,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return cls(
            data["query"],
            alias=data["alias"],
            table=data["resultFormat"] == "table",
            ref_id=data["refId"],
        )


runtime.register_dataquery_variant(runtime.DataqueryConfig(PLUGIN, InfluxQuery.from_json))


def variable(
    name: str, label: str, query: str, *, every: bool, newest_first: bool = False
) -> build.QueryVariable:
    """A choice above the dashboard, filled by a query; `every` offers all of them at once."""
    chosen = (
        build.QueryVariable(name)
        .label(label)
        .query({"query": query, "refId": name})
        .datasource(source_of(query))
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(
            models.VariableSort.ALPHABETICAL_DESC
            if newest_first
            else models.VariableSort.NATURAL_ASC
        )
        .include_all(every)
    )
    return chosen.all_value(".*") if every else chosen


def clinic(*, every: bool = True) -> build.QueryVariable:
    query = 'SHOW TAG VALUES FROM "devices" WITH KEY = "clinic"'
    return variable("clinic", "Clinic", query, every=every)


def device(*, every: bool = True) -> build.QueryVariable:
    query = f'SHOW TAG VALUES FROM "devices" WITH KEY = "device" WHERE {OF_CLINIC}'
    return variable("device", "Gun", query, every=every)


def session() -> build.QueryVariable:
    """Those of the time shown; one that still runs is there after its first full minute."""
    query = f'SELECT distinct("session") FROM "features_1m" WHERE {OF_GUN} AND {IN_TIME}'
    return variable("session", "Session", query, every=False, newest_first=True)


def page() -> build.TextBoxVariable:
    """Where MyoGuard's own page is, for links to it: whoever looks knows, the pipeline does not."""
    return build.TextBoxVariable("page").label("Page").default_value("http://127.0.0.1:8080")


class _AnnotationQuery(models.AnnotationQuery):
    """The SDK's annotation with the words that InfluxDB's data source wants, in both its places.

    Grafana takes them from `target`, and makes one of what stands beside it where there is none;
    an annotation without `query` empties every panel of its dashboard.
    """

    def __init__(self, name: str, query: str, *, text: str, tags: str, color: str) -> None:
        super().__init__(name=name, datasource=source_of(query), icon_color=color)
        self.words: dict[str, object] = {"query": query, "textColumn": text, "tagsColumn": tags}

    def to_json(self) -> dict[str, object]:
        target = {**self.words, "refId": "Anno", "rawQuery": True, "fromAnnotations": True}
        return {**super().to_json(), **self.words, "target": target}


class Annotation(builder.Builder[models.AnnotationQuery]):
    """Marks over every chart of a dashboard, from a query."""

    def __init__(self, name: str, query: str, *, text: str, tags: str, color: str) -> None:
        self._made = _AnnotationQuery(name, query, text=text, tags=tags, color=color)

    def build(self) -> models.AnnotationQuery:
        return self._made


def alarm_marks(narrowed: str) -> Annotation:
    """A mark where an alarm was raised."""
    return Annotation(
        "Alarms raised",
        'SELECT "value", "unit", "alarm_id", "rule", "priority", "device" FROM "alarms"'
        f" WHERE \"state\" = 'active_unack' AND {narrowed} AND {IN_TIME}",
        text="rule",
        tags="priority,device",
        color="orange",
    )
