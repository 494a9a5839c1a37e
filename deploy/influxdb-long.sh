#!/bin/bash
# Run by the InfluxDB image once, after its own setup: the bucket that is kept for long.
set -euo pipefail
influx bucket create --org "$DOCKER_INFLUXDB_INIT_ORG" --name "$BUCKET_LONG" --retention "$BUCKET_LONG_RETENTION"
