"""What Grafana would ask InfluxDB for a dashboard: its queries, variables and macros filled in.

Nothing here renders anything; `Asked` is a query as the engine gets it, and what its panel makes of
the answer.

    PYTHONPATH=tests python -m grafana_asks PORT [DATABASE]

asks the InfluxDB on a port of this machine what Session review would, of the newest session that is
over, and prints the answers: what a demo left there, without a Grafana.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from influx_engine import influxql

from dashboards import build, session

Json = dict[str, Any]
INTERVAL = "10s"


@dataclass(frozen=True)
class Asked:
    """One query of a dashboard, and the names its panel expects in the answer."""

    board: str
    panel: str
    query: str
    table: bool
    tags: frozenset[str]  # that the name of its series is made of
    columns: frozenset[str]  # that its table has words for

    def __str__(self) -> str:
        return f"{self.board}: {self.panel}"


def queries(board: Json) -> Iterator[Asked]:
    for panel in board["panels"]:
        columns = {
            each["matcher"]["options"]
            for each in panel.get("fieldConfig", {}).get("overrides", ())
            if each["matcher"]["id"] == "byName"
        }
        for number, target in enumerate(panel["targets"]):
            yield Asked(
                board=board["uid"],
                panel=f"{panel['title']} {'ABCDEFGH'[number]}",
                query=target["query"],
                table=target["resultFormat"] == "table",
                tags=frozenset(re.findall(r"\$tag_(\w+)", target["alias"])),
                columns=frozenset(columns),
            )


def variables(board: Json) -> dict[str, str]:
    """Name -> query of those that ask, in the order in which they depend on each other."""
    asking = [each for each in board["templating"]["list"] if each["type"] == "query"]
    return {each["name"]: each["query"]["query"] for each in asking}


def annotations(board: Json) -> list[Json]:
    return list(board.get("annotations", {}).get("list") or ())


def filled(query: str, chosen: Mapping[str, str], since_ms: int, until_ms: int) -> str:
    """The query with Grafana's macros and the variables' values in place."""
    values = {
        "timeFilter": f"time >= {since_ms}ms and time <= {until_ms}ms",
        "__interval": INTERVAL,
        **chosen,
    }
    for name, value in values.items():
        query = re.sub(rf"\${name}\b", lambda _, value=value: value, query)
    left = re.findall(r"\$\w+", query)
    assert not left, f"nobody gives {left} in {query}"
    return query


def show_newest_session(port: int, database: str) -> None:
    newest = 'SELECT * FROM "sessions" ORDER BY time DESC LIMIT 1'
    (over,) = influxql(port, newest, database)
    chosen = {name: over[name] for name in ("clinic", "device", "session")}
    print(*(f"{name} {value}" for name, value in chosen.items()), sep=", ")
    for asked in queries(json.loads(build.as_json(session.review()))):
        words = filled(asked.query, chosen, over["time"] // 1000 - 60_000, time.time_ns() // 10**6)
        rows = [
            {name: value for name, value in row.items() if value is not None}
            for row in influxql(port, words, database)
        ]
        fullest = max(rows, key=len, default="")  # of a chart, the first that is no gap
        print(f"{asked.panel:35} {len(rows):4} rows {fullest}")


if __name__ == "__main__":
    show_newest_session(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "myoguard")
