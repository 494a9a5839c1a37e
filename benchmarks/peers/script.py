"""What a user would write in an afternoon: paho, scipy and influxdb-client, one frame at a time.

    python -m benchmarks.peers.script MQTT_PORT INFLUX_URL

Of each frame the RMS, the vibration weighted for the hand, the percussion frequency and the current
become a point; an alarm is published when the current is high. No order, no gaps, no force,
no sessions, no state that would survive. influxdb-client batches the points in a thread of its own.
"""

from __future__ import annotations

import json
import struct
import sys
from itertools import count
from typing import Any

import numpy as np
import paho.mqtt.client as paho
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write.point import Point
from influxdb_client.client.write_api import WriteOptions
from influxdb_client.domain.write_precision import WritePrecision
from paho.mqtt.enums import CallbackAPIVersion
from scipy import signal

TELEMETRY = "massage/v1/+/+/telemetry"
HEADER = struct.Struct("<4sHHIIQfHHffHhI")
CURRENT_A_MAX = 6.0

taken = count(1)
filters: dict[float, Any] = {}
influx = InfluxDBClient(sys.argv[2], token="none", org="-")  # noqa: S106  # it wants one
points = influx.write_api(write_options=WriteOptions(batch_size=1000, flush_interval=1000))


def on_message(client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
    *_, clinic, device, _ = message.topic.split("/")
    head = HEADER.unpack_from(message.payload)
    t0_ns, rate_hz, samples, g_per_lsb, a_per_lsb = head[5], head[6], head[7], head[9], head[10]
    lsb = np.frombuffer(message.payload, "<i2", samples * 4, head[1]).reshape(-1, 4)
    accel_m_s2 = lsb[:, :3] * (g_per_lsb * 9.80665)
    if rate_hz not in filters:
        band_hz = (16.0, min(1250.0, 0.45 * rate_hz))
        filters[rate_hz] = signal.butter(2, band_hz, "bandpass", fs=rate_hz, output="sos")
    weighted = signal.sosfilt(filters[rate_hz], accel_m_s2, axis=0)
    hz, power = signal.welch(accel_m_s2[:, 2], rate_hz, nperseg=samples)
    current_a = float(lsb[:, 3].mean() * a_per_lsb)
    point = Point("features").tag("clinic", clinic).tag("device", device)
    point.field("rms_m_s2", float(np.sqrt(np.mean(accel_m_s2**2))))
    point.field("a_hw_m_s2", float(np.sqrt(np.mean(weighted**2))))
    point.field("percussion_hz", float(hz[np.argmax(power)]))
    point.field("current_a", current_a)
    points.write("bench", "-", point.time(t0_ns // 1000, WritePrecision.US))
    if current_a > CURRENT_A_MAX:
        client.publish(f"alarms/{clinic}/{device}", json.dumps({"current_a": current_a}), 1)
    n = next(taken)
    if n % 100 == 0:
        print("count", n, flush=True)


client = paho.Client(CallbackAPIVersion.VERSION2, client_id="script")
client.on_message = on_message
client.on_connect = lambda *_: client.subscribe(TELEMETRY, 1)
client.on_subscribe = lambda *_: print("count", 0, flush=True)
client.connect("127.0.0.1", int(sys.argv[1]))
client.loop_forever()
