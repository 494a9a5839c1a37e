"""What the fuzzer does with any bytes, done with what it begins with."""

from __future__ import annotations

from fuzz.decoders import KINDS, check, seeds


def test_every_kind_has_a_seed_and_every_seed_holds() -> None:
    given = list(seeds())
    assert {seed[0] for seed in given} == set(range(KINDS))
    for seed in given:
        check(seed)
