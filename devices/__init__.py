"""Simulated massage guns: physics, scripted sessions with ground truth, a fleet over MQTT."""
