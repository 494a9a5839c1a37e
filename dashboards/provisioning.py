"""What Grafana reads at its start: data sources, where dashboards lie, alert rules, whom to tell.

Addresses and secrets come from Grafana's environment; the files hold their names alone.
"""

from __future__ import annotations

from typing import Any, Final

from dashboards.alerts import INTERVAL, RULES
from dashboards.influx import LONG, PLUGIN, SHORT

FOLDER: Final = "MyoGuard"
# Where docker-compose.yml mounts what lies beside `provisioning`.
DASHBOARDS_PATH: Final = "/etc/grafana/dashboards"
CONTACT: Final = "Clinic"


def data_sources() -> dict[str, object]:
    return {
        "apiVersion": 1,
        "prune": True,
        "datasources": [
            _source(SHORT, "MyoGuard", "$INFLUX_DATABASE", default=True),
            _source(LONG, "MyoGuard, long", "$INFLUX_DATABASE_LONG", default=False),
        ],
    }


def _source(uid: str, name: str, database: str, *, default: bool) -> dict[str, object]:
    """User and password for InfluxDB 1, the token for 2 and 3; the other is ignored."""
    return {
        "uid": uid,
        "name": name,
        "type": PLUGIN,
        "access": "proxy",
        "url": "$INFLUX_URL",
        "user": "$INFLUX_USER",
        "isDefault": default,
        "editable": False,
        "jsonData": {
            "dbName": database,
            "httpMode": "POST",
            "timeInterval": "1s",  # features have a point a second
            "httpHeaderName1": "Authorization",
        },
        "secureJsonData": {
            "password": "$INFLUX_PASSWORD",
            "httpHeaderValue1": "Token $INFLUX_TOKEN",
        },
    }


def providers() -> dict[str, object]:
    return {
        "apiVersion": 1,
        "providers": [
            {
                "name": "myoguard",
                "type": "file",
                "folder": FOLDER,
                "disableDeletion": True,
                "allowUiUpdates": False,
                "options": {"path": DASHBOARDS_PATH},
            }
        ],
    }


def alert_rules() -> dict[str, object]:
    group = {"orgId": 1, "name": "myoguard", "folder": FOLDER, "interval": INTERVAL}
    return {"apiVersion": 1, "groups": [{**group, "rules": list(RULES)}]}


def contact_points() -> dict[str, object]:
    def receiver(kind: str, settings: dict[str, Any]) -> dict[str, object]:
        return {"uid": f"myoguard-{kind}", "type": kind, "settings": settings}

    receivers = [
        receiver("email", {"addresses": "$ALERT_EMAIL", "singleEmail": True}),
        receiver("webhook", {"url": "$ALERT_WEBHOOK_URL", "httpMethod": "POST"}),
    ]
    return {
        "apiVersion": 1,
        "contactPoints": [{"orgId": 1, "name": CONTACT, "receivers": receivers}],
    }


def policies() -> dict[str, object]:
    """One message for what comes together in a clinic; what is critical waits for no other."""
    return {
        "apiVersion": 1,
        "policies": [
            {
                "orgId": 1,
                "receiver": CONTACT,
                "group_by": ["alertname", "clinic"],
                "group_wait": "30s",
                "group_interval": "1m",
                "repeat_interval": "4h",
                "routes": [
                    {
                        "receiver": CONTACT,
                        "object_matchers": [["severity", "=", "critical"]],
                        "group_wait": "1s",
                        "group_interval": "10s",
                        "repeat_interval": "1h",
                    }
                ],
            }
        ],
    }
