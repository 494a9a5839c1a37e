"""Receives every frame with paho and drops it: python -m benchmarks.peers.null PORT"""

from __future__ import annotations

import sys
from itertools import count
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

TELEMETRY = "massage/v1/+/+/telemetry"
taken = count(1)


def on_message(_client: paho.Client, _userdata: Any, _message: paho.MQTTMessage) -> None:
    n = next(taken)
    if n % 100 == 0:
        print("count", n, flush=True)


client = paho.Client(CallbackAPIVersion.VERSION2, client_id="null")
client.on_message = on_message
client.on_connect = lambda *_: client.subscribe(TELEMETRY, 1)
client.on_subscribe = lambda *_: print("count", 0, flush=True)
client.connect("127.0.0.1", int(sys.argv[1]))
client.loop_forever()
