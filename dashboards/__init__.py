"""Grafana dashboards and alert rules as typed code, and what they generate, under `grafana/`.

Thresholds come from `pipeline.rules` and `pipeline.sites`. Beside them only `pipeline.model` is
known here, and the pipeline knows nothing of this.
"""
