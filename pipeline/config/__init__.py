"""The settings of one deployment: a TOML file and the environment in, frozen, checked values out.

`settings` holds every key, `loading` reads and checks them once, `faults` says what is wrong with
them, `explaining` where each came from, `reference` writes docs/configuration.md. May import
`sites` and what is further in; knows nothing of what is done with a value. What the environment
says (`MYOGUARD_BROKER__URL`) wins over the file, the file over the defaults. Relative paths in the
file are relative to the file.
"""

from pipeline.config.explaining import Explained, explain
from pipeline.config.faults import ConfigError, Fault
from pipeline.config.loading import load
from pipeline.config.settings import (
    BrokerSection,
    CalibrationSection,
    InfluxSection,
    MetricsSection,
    MonitorSection,
    PageSection,
    ProfileSection,
    PublishSection,
    Settings,
    SiteLimits,
    StoreSection,
)

__all__ = [
    "BrokerSection",
    "CalibrationSection",
    "ConfigError",
    "Explained",
    "Fault",
    "InfluxSection",
    "MetricsSection",
    "MonitorSection",
    "PageSection",
    "ProfileSection",
    "PublishSection",
    "Settings",
    "SiteLimits",
    "StoreSection",
    "explain",
    "load",
]
