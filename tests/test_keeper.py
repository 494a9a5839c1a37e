"""How far apart checkpoints are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.app.keeper import CHECKPOINT_S, CHECKPOINT_S_MAX, CHECKPOINT_SHARE, seconds_apart

SECONDS = st.floats(0.0, 100.0)


def test_a_small_fleet_is_stored_every_second() -> None:
    assert seconds_apart(0.02, again_s=0.0) == CHECKPOINT_S


@given(took_s=SECONDS, again_s=st.just(0.0) | st.floats(0.5, 100.0))
def test_checkpoints_take_no_more_than_their_share_until_they_are_as_rare_as_they_may_be(
    took_s: float, again_s: float
) -> None:
    apart_s = seconds_apart(took_s, again_s)
    assert CHECKPOINT_S <= apart_s <= CHECKPOINT_S_MAX
    rarest_s = max(CHECKPOINT_S, min(CHECKPOINT_S_MAX, again_s / 2 or CHECKPOINT_S_MAX))
    assert took_s <= CHECKPOINT_SHARE * apart_s * (1 + 1e-9) or apart_s == rarest_s


@given(took_s=SECONDS, again_s=st.floats(2.0 * CHECKPOINT_S, 100.0))
def test_what_is_not_acknowledged_is_not_sent_again_for_being_late(
    took_s: float, again_s: float
) -> None:
    assert seconds_apart(took_s, again_s) <= again_s / 2
