"""Hears alarms as any console would, in a process of its own: python -m benchmarks.ears URL

Until stdin ends; then it prints, as JSON, when each alarm of RULES that was raised came [ns], and
the sample time at which its delay ended. paho, QoS 1.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any, Final
from urllib.parse import urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

RULES: Final = frozenset({"EXCESS_PRESSURE", "EXTREME_PRESSURE", "TENDON_PROXIMITY"})


def main(url: str) -> None:
    heard: list[tuple[int, int]] = []

    def on_message(_client: Any, _userdata: Any, message: Any) -> None:
        now_ns = time.time_ns()
        alarm = json.loads(message.payload)
        is_raised = alarm["changed_at_ns"] == alarm["raised_at_ns"]
        if alarm["rule"] in RULES and is_raised and not message.retain:
            heard.append((now_ns, alarm["raised_at_ns"]))

    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="ears")
    client.on_message = on_message
    client.on_connect = lambda *_: client.subscribe("massage/v1/+/+/alarm/+", 1)
    parts = urlsplit(url)
    client.connect(parts.hostname or "127.0.0.1", parts.port or 1883)
    client.loop_start()
    sys.stdin.read()
    client.loop_stop()
    print(json.dumps(heard))


if __name__ == "__main__":
    main(sys.argv[1])
