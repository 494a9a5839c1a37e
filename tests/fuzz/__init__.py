"""Fuzzing of all that is decoded, for as long as asked: `make fuzz ARGS="--seconds 600"`."""
