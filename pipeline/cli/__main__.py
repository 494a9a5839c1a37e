"""`python -m pipeline.cli`, for where the command is not installed."""

from pipeline.cli import main

main()
