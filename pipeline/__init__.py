"""MyoGuard's pipeline: MQTT messages in, in one ordered log, records out (docs/architecture.md)."""
