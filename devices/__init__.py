"""Simulated massage guns: physics, scripted sessions with ground truth, and a fleet that publishes them."""
