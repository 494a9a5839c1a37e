"""The whole fleet: messages in, records out; no I/O and no clock.

`Monitor` keeps order, time and bounds; `Gun` is what is remembered of one gun. Both are what the
log of messages made them: the same messages give the same records, in whatever pieces they come.
"""

from pipeline.monitor.fleet import Extractor, Monitor, SnapshotError
from pipeline.monitor.settings import ModelFacts, MonitorSettings

__all__ = ["Extractor", "ModelFacts", "Monitor", "MonitorSettings", "SnapshotError"]
