"""MyoGuard's pipeline: one ordered log of MQTT messages in, records out (see docs/architecture.md)."""
