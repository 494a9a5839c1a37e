"""Shared fixtures: real servers on free loopback ports, started for a test and stopped by process id."""
