"""Run atheris (libFuzzer) over the decoders.

    python -m fuzz [--seconds 60] [--corpus DIR]

It goes on from what earlier runs found in DIR, by itself `var/fuzz`. What fails is left there as
`crash-…`, and said again by `--again FILE`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pipeline.wire"], enable_loader_override=False):
    from fuzz.decoders import check, seeds, words

LENGTH_MAX = 16_384  # most bounds of the contract lie below it
MEMORY_MB_MAX = 2_048
INPUT_S_MAX = 5  # an input that takes longer is a finding


def main() -> None:
    parser = argparse.ArgumentParser(prog="fuzz")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", type=Path, default=Path("var/fuzz"))
    parser.add_argument("--again", type=Path)
    asked = parser.parse_args()
    if asked.again is not None:
        check(asked.again.read_bytes())
        return
    asked.corpus.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        begin, dictionary = Path(name) / "seeds", Path(name) / "words"
        begin.mkdir()
        for at, seed in enumerate(seeds()):
            (begin / str(at)).write_bytes(seed)
        dictionary.write_text("".join(f'"{word}"\n' for word in words()), encoding="utf-8")
        options = (
            f"-max_total_time={asked.seconds}",
            f"-max_len={LENGTH_MAX}",
            f"-rss_limit_mb={MEMORY_MB_MAX}",
            f"-timeout={INPUT_S_MAX}",
            f"-artifact_prefix={asked.corpus}/",
            f"-dict={dictionary}",
        )
        atheris.Setup([sys.argv[0], *options, str(asked.corpus), str(begin)], check)
        atheris.Fuzz()


main()
