"""The life cycle of an alarm: worked examples, then properties over every row of the table."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.alarms import (
    CHATTER_TRANSITIONS,
    ROUNDING_NS,
    SHELF_NS_MAX,
    UNKNOWN_AFTER_NS,
    UNSEEN_NS,
    ActionRefusedError,
    Occasion,
    Step,
    act,
    dump,
    load,
    step,
    suppress,
    to_alarm,
    unshelve,
)
from pipeline.model import ActionKind, AlarmAction, AlarmState, DeviceId, Priority
from pipeline.rules import ALARMS, AlarmKind, AlarmRow, Condition, Signal, Verdict

TRUE, FALSE, UNKNOWN = Verdict.TRUE, Verdict.FALSE, Verdict.UNKNOWN
S = 1_000_000_000
HOP = S // 4
GUN = DeviceId("clinic", "gun")
ACTIVE_STATES = {AlarmState.ACTIVE_UNACK, AlarmState.ACTIVE_ACK, AlarmState.UNKNOWN}


def row_of(priority, on_s=1.0, off_s=1.0):
    return AlarmRow(
        "R",
        AlarmKind.USE,
        Signal.FORCE,
        priority,
        on_delay_s=on_s,
        off_delay_s=off_s,
        unit="N",
        condition="c",
        advice="a.",
        source="s",
        latched=priority is Priority.HIGH,
    )


LOW, MEDIUM, HIGH = (row_of(priority) for priority in Priority)


class Bench:
    """One alarm on the bench: drives the machine hop by hop and keeps what it recorded."""

    def __init__(self, row=MEDIUM, session="s-1"):
        self.row, self.life, self.now_ns, self.records = row, None, 0, []
        self.occasion = Occasion(GUN, session, "calf_left", "op-1")

    def _take(self, taken: Step):
        self.life = taken.life
        self.records += [to_alarm(self.row, life, GUN, "v1") for life in taken.records]
        return self

    def hops(self, verdict, seconds, value=60.0, priority=None, hop_ns=HOP):
        condition = Condition(verdict, value, 50.0, priority)
        for _ in range(round(seconds * S / hop_ns)):
            self.now_ns += hop_ns
            self._take(step(self.row, self.life, condition, self.now_ns, self.occasion))
        return self

    def act(self, kind, until_ns=None, by="op-1"):
        action = AlarmAction(GUN, "R", kind, by, self.now_ns, "why", until_ns)
        return self._take(act(self.life, action, self.now_ns, received_at_ns=self.now_ns))

    def suppress(self, suppressed):
        return self._take(suppress(self.life, suppressed, self.now_ns)) if self.life else self

    def unshelve(self):
        return self._take(unshelve(self.life, self.now_ns)) if self.life else self

    @property
    def states(self):
        return [record.state.value for record in self.records]


# Raised, returned, acknowledged, reset.


def test_a_condition_must_hold_for_the_on_delay():
    bench = Bench().hops(TRUE, 1.0)
    assert bench.states == []
    bench.hops(TRUE, 0.25)
    assert bench.states == ["active_unack"]
    assert bench.records[0].raised_at_ns == bench.records[0].changed_at_ns == bench.now_ns


def test_a_delay_does_not_wait_for_a_hop_because_of_a_rounded_one():
    """A gun whose 400 samples take 0.2498 s; at 0.24 s it is a hop too early."""
    assert Bench().hops(TRUE, 1.249, hop_ns=249_800_000).states == ["active_unack"]
    assert Bench().hops(TRUE, 1.2, hop_ns=240_000_000).states == []


def test_a_false_hop_ends_the_waiting():
    bench = Bench().hops(TRUE, 1.0).hops(FALSE, 0.25)
    assert bench.life is None
    assert bench.hops(TRUE, 1.0).states == []


def test_no_delay_means_at_once():
    assert Bench(row_of(Priority.LOW, 0.0, 0.0)).hops(TRUE, 0.25).hops(FALSE, 0.25).states == [
        "active_unack",
        "cleared",
    ]


@pytest.mark.parametrize(
    ("row", "after_return"), [(LOW, "cleared"), (MEDIUM, "rtn_unack"), (HIGH, "latched")]
)
def test_what_a_return_leads_to_follows_from_the_priority(row, after_return):
    bench = Bench(row).hops(TRUE, 2).hops(FALSE, 1.0)
    assert bench.states == ["active_unack"]
    assert bench.hops(FALSE, 0.25).states == ["active_unack", after_return]


def test_acknowledged_before_the_return_it_clears_by_itself():
    bench = Bench().hops(TRUE, 2).act(ActionKind.ACK).hops(FALSE, 2)
    assert bench.states == ["active_unack", "active_ack", "cleared"]
    assert (bench.records[1].by, bench.records[1].note) == ("op-1", "why")


def test_acknowledged_after_the_return_it_clears():
    bench = Bench().hops(TRUE, 2).hops(FALSE, 2).act(ActionKind.ACK)
    assert bench.states == ["active_unack", "rtn_unack", "cleared"]


def test_high_stays_latched_until_reset_acknowledged_or_not():
    bench = Bench(HIGH).hops(TRUE, 2).act(ActionKind.ACK).hops(FALSE, 60)
    assert bench.states == ["active_unack", "active_ack", "latched"]
    with pytest.raises(ActionRefusedError, match="reset"):
        bench.act(ActionKind.ACK)
    assert bench.act(ActionKind.RESET).states[-1] == "cleared"


def test_a_reset_is_for_latched_alarms_only():
    bench = Bench(HIGH).hops(TRUE, 2)
    with pytest.raises(ActionRefusedError, match="acknowledge"):
        bench.act(ActionKind.RESET)


def test_coming_back_raises_the_count_of_the_same_alarm():
    bench = Bench().hops(TRUE, 2, value=60.0).hops(FALSE, 2).hops(TRUE, 2, value=55.0)
    first, _, again = bench.records
    assert again.state is AlarmState.ACTIVE_UNACK
    assert (first.count, again.count) == (1, 2)
    assert first.alarm_id == again.alarm_id
    assert again.raised_at_ns == again.changed_at_ns > first.raised_at_ns
    assert again.peak == 55.0  # of this occurrence


@pytest.mark.parametrize(("session", "same"), [("s-1", True), (None, False)])
def test_coming_back_after_cleared(session, same):
    bench = Bench(LOW, session).hops(TRUE, 2).hops(FALSE, 2).hops(TRUE, 2)
    first, cleared, again = bench.records
    assert cleared.state is AlarmState.CLEARED
    assert (first.alarm_id == again.alarm_id) is same
    assert again.count == (2 if same else 1)


def test_an_alarm_of_another_session_is_a_new_one_and_ends_the_old():
    bench = Bench().hops(TRUE, 2).hops(FALSE, 2)
    bench.occasion = bench.occasion._replace(session_id="s-2")
    bench.hops(TRUE, 2)
    first, returned, ended, raised = bench.records
    assert [record.session_id for record in bench.records] == ["s-1", "s-1", "s-1", "s-2"]
    assert (returned.state, ended.state) == (AlarmState.RTN_UNACK, AlarmState.CLEARED)
    assert ended.alarm_id == first.alarm_id != raised.alarm_id
    assert raised.count == 1
    assert "another session" in ended.note


def test_an_alarm_that_stands_outlives_its_session():
    bench = Bench().hops(TRUE, 2)
    bench.occasion = bench.occasion._replace(session_id=None)
    bench.hops(TRUE, 5).hops(FALSE, 2)
    assert [(r.state.value, r.session_id) for r in bench.records] == [
        ("active_unack", "s-1"),
        ("rtn_unack", "s-1"),
    ]


def test_the_priority_rises_within_an_occurrence_and_wants_a_new_acknowledgement():
    bench = Bench(replace(MEDIUM, latched=True)).hops(TRUE, 2).act(ActionKind.ACK)
    bench.hops(TRUE, 1, priority=Priority.HIGH).hops(TRUE, 1).hops(FALSE, 2)
    assert [(r.state.value, r.priority.value) for r in bench.records] == [
        ("active_unack", "medium"),
        ("active_ack", "medium"),
        ("active_unack", "high"),
        ("latched", "high"),
    ]


def test_the_peak_grows_without_a_record_and_shows_in_the_next():
    bench = Bench().hops(TRUE, 2, value=60.0).hops(TRUE, 1, value=71.0).hops(TRUE, 1, value=55.0)
    assert [(r.value, r.peak) for r in bench.records] == [(60.0, 60.0)]
    bench.hops(FALSE, 2, value=20.0)
    assert (bench.records[-1].value, bench.records[-1].peak) == (20.0, 71.0)


def test_where_small_is_bad_the_peak_is_the_smallest():
    bench = Bench(replace(MEDIUM, falling=True)).hops(TRUE, 2, value=6500.0)
    bench.hops(TRUE, 1, value=6300.0).hops(FALSE, 2, value=7000.0)
    assert bench.records[-1].peak == 6300.0


# Unknown, and what proves nothing.


def test_no_data_makes_an_alarm_unknown_and_never_clears_it():
    bench = Bench().hops(TRUE, 2).act(ActionKind.ACK).hops(UNKNOWN, 1.0)
    assert bench.states == ["active_unack", "active_ack"]  # a knock spoils a hop or two
    bench.hops(UNKNOWN, 3600, hop_ns=S)
    assert bench.states[2:] == ["unknown"]
    bench.hops(FALSE, 1.0)
    assert bench.states[2:] == ["unknown"]
    bench.hops(FALSE, 0.25)
    assert bench.states[2:] == ["unknown", "cleared"]


def test_unknown_ends_in_active_when_the_condition_still_holds():
    bench = Bench().hops(TRUE, 2).hops(UNKNOWN, 3).hops(TRUE, 0.25)
    assert bench.states == ["active_unack", "unknown", "active_unack"]
    assert bench.records[-1].count == 1  # the same occurrence


def test_unknown_can_be_acknowledged():
    bench = Bench().hops(TRUE, 2).hops(UNKNOWN, 3).act(ActionKind.ACK).hops(FALSE, 2)
    assert bench.states == ["active_unack", "unknown", "unknown", "cleared"]


def test_out_of_unknown_the_off_delay_begins_anew():
    bench = Bench().hops(TRUE, 2).hops(FALSE, 1.0).hops(UNKNOWN, 3).hops(FALSE, 1.0)
    assert bench.states == ["active_unack", "unknown"]
    assert bench.hops(FALSE, 0.25).states[2:] == ["rtn_unack"]


def test_a_true_hop_begins_the_off_delay_anew():
    bench = Bench().hops(TRUE, 2).hops(FALSE, 1.0).hops(TRUE, 0.25).hops(FALSE, 1.0)
    assert bench.states == ["active_unack"]


def test_unknown_hops_hold_the_delays_without_counting():
    bench = Bench().hops(TRUE, 0.75).hops(UNKNOWN, 10).hops(TRUE, 0.25)
    assert bench.states == []
    assert bench.hops(TRUE, 0.25).states == ["active_unack"]


def test_a_pause_in_the_steps_proves_nothing():
    bench = Bench().hops(TRUE, 0.5)
    bench.now_ns += 10 * S
    assert bench.hops(TRUE, 0.5).states == []
    bench.hops(TRUE, 0.75).hops(FALSE, 0.5)
    bench.now_ns += 10 * S
    assert bench.hops(FALSE, 0.5).states == ["active_unack"]


def test_a_clock_that_steps_back_loses_no_alarm():
    bench = Bench().hops(TRUE, 0.75)
    bench.now_ns -= 3600 * S
    assert bench.hops(TRUE, 1.5).states == ["active_unack"]


# Shelved and suppressed.


def test_shelving_hides_and_the_life_goes_on_beneath():
    bench = Bench().hops(TRUE, 2)
    bench.act(ActionKind.SHELVE, bench.now_ns + 60 * S)
    bench.hops(FALSE, 5).hops(TRUE, 5)
    assert bench.states == ["active_unack", "shelved"]
    assert bench.records[-1].until_ns == bench.records[-1].changed_at_ns + 60 * S
    bench.unshelve()
    assert bench.states[2:] == ["active_unack"]
    assert bench.records[-1].count == 2


def test_a_person_ends_the_shelving_and_it_is_bounded():
    bench = Bench().hops(TRUE, 2)
    bench.act(ActionKind.SHELVE, bench.now_ns + 1000 * SHELF_NS_MAX)
    assert bench.records[-1].until_ns == bench.now_ns + SHELF_NS_MAX
    assert bench.act(ActionKind.UNSHELVE).states[-1] == "active_unack"


@pytest.mark.parametrize("until_ns", [None, 0, 2 * S])
def test_shelving_needs_a_time_to_come(until_ns):
    with pytest.raises(ActionRefusedError, match="until_ns"):
        Bench().hops(TRUE, 2).act(ActionKind.SHELVE, until_ns)


def test_a_new_alarm_is_told_of_even_on_the_shelf():
    bench = Bench().hops(TRUE, 2).act(ActionKind.SHELVE, 600 * S).hops(FALSE, 2)
    bench.occasion = bench.occasion._replace(session_id="s-2")
    bench.hops(TRUE, 2)
    assert [(r.state.value, r.session_id) for r in bench.records[2:]] == [
        ("cleared", "s-1"),
        ("shelved", "s-2"),
    ]


def test_suppression_hides_until_it_ends():
    bench = Bench().hops(TRUE, 2).suppress(True).hops(UNKNOWN, 60)
    assert bench.states == ["active_unack", "suppressed"]
    assert bench.suppress(False).states[2:] == ["unknown"]


def test_suppression_begins_the_on_delay_of_a_returned_alarm_anew():
    bench = Bench().hops(TRUE, 2).hops(FALSE, 2).hops(TRUE, 1.0).suppress(True).suppress(False)
    assert bench.hops(TRUE, 1.0).states[-1] == "rtn_unack"
    assert bench.hops(TRUE, 0.25).states[-1] == "active_unack"


def test_what_is_seen_to_be_true_is_not_suppressed():
    bench = Bench(LOW).hops(TRUE, 2).hops(FALSE, 2).suppress(True).hops(TRUE, 2)
    assert bench.states == ["active_unack", "cleared", "active_unack"]


def test_suppression_forgets_what_was_never_raised():
    assert Bench().hops(TRUE, 0.5).suppress(True).life is None


# What is refused, chattering, names, the snapshot.


def test_what_was_never_raised_cannot_be_acted_on():
    for bench in (Bench(), Bench().hops(TRUE, 0.5)):
        with pytest.raises(ActionRefusedError, match="not been raised"):
            bench.act(ActionKind.ACK)


@pytest.mark.parametrize("kind", [ActionKind.ACK, ActionKind.UNSHELVE])
def test_asking_twice_changes_nothing(kind):
    bench = Bench().hops(TRUE, 2).act(ActionKind.ACK)
    count = len(bench.records)
    assert len(bench.act(kind).records) == count


def test_more_than_five_transitions_in_a_minute_is_chattering():
    bench = Bench()
    for _ in range(3):
        bench.hops(TRUE, 2).hops(FALSE, 2)
    assert [r.chattering for r in bench.records] == [False] * CHATTER_TRANSITIONS + [True]
    bench.hops(FALSE, 120).hops(TRUE, 2)
    assert bench.records[-1].chattering is False


def test_the_name_of_an_alarm_is_made_of_what_a_replay_knows():
    named = [
        Bench(session=session).hops(FALSE, begin).hops(TRUE, 2).records[0].alarm_id
        for session in ("s-1", "s-2", None)
        for begin in (1, 2, 1)
    ]
    assert named[0] == named[2]
    assert len(set(named)) == 6
    assert all(len(name) == 16 and int(name, 16) >= 0 for name in named)


def test_a_life_survives_the_snapshot():
    life = Bench().hops(TRUE, 2).act(ActionKind.SHELVE, 3600 * S).hops(UNKNOWN, 0.5).life
    assert load(json.loads(json.dumps(dump(life)))) == life


VERDICTS = st.sampled_from(list(Verdict))
HISTORY = st.lists(
    st.one_of(
        st.tuples(st.just("hops"), VERDICTS, st.integers(1, 24)),
        st.tuples(st.just("pause"), st.integers(-3600, 3600)),
        st.tuples(st.just("act"), st.sampled_from(list(ActionKind))),
        st.tuples(st.just("suppress"), st.booleans()),
        st.tuples(st.just("unshelve")),
        st.tuples(st.just("session"), st.sampled_from(["s-1", "s-2", None])),
        st.tuples(st.just("rise")),
    ),
    max_size=40,
)


# Properties.


class Witness(Bench):
    """A bench that keeps its own slow account of what the delays should have seen."""

    def __init__(self, row):
        super().__init__(row)
        self.history, self.priority = [], None

    def hops(self, verdict, seconds):
        for _ in range(round(seconds * S / HOP)):
            self.history.append((verdict, self.now_ns + HOP))
            before = self.life
            super().hops(verdict, 0.25, priority=self.priority)
            self.check(before)
        return self

    def check(self, before):
        was = before.state if before else None
        state = self.life.state if self.life else None
        if was in ACTIVE_STATES and state not in ACTIVE_STATES:
            assert self.seen_ns(FALSE) >= self.row.off_delay_ns
        if was not in ACTIVE_STATES and state in ACTIVE_STATES:
            assert self.seen_ns(TRUE) >= self.row.on_delay_ns - ROUNDING_NS
            assert state is AlarmState.ACTIVE_UNACK
        if was is AlarmState.UNKNOWN and state is not AlarmState.UNKNOWN:
            assert self.history[-1][0] is not UNKNOWN
        if state is AlarmState.UNKNOWN and was is not AlarmState.UNKNOWN:
            assert self.history[-1][0] is UNKNOWN

    def seen_ns(self, verdict):
        """How long the newest run of a verdict was seen, gaps and UNKNOWN left out."""
        run = []
        for each in reversed(self.history):
            if each[0] not in (verdict, UNKNOWN):
                break
            run.append(each)
        pairs = pairwise(reversed(run))
        return sum(
            t1 - t0 for (_, t0), (v1, t1) in pairs if v1 is verdict and 0 < t1 - t0 <= UNSEEN_NS
        )


def play(row, history):
    bench = Witness(row)
    for what, *args in history:
        if what == "hops":
            bench.hops(args[0], args[1] / 4)
        elif what == "pause":
            bench.now_ns += args[0] * S
        elif what == "suppress":
            bench.suppress(args[0])
        elif what == "unshelve":
            bench.unshelve()
        elif what == "session":
            bench.occasion = bench.occasion._replace(session_id=args[0])
        elif what == "rise":
            bench.priority = bench.row.priority_highest
        else:
            try:
                bench.act(args[0], bench.now_ns + 5 * S)
            except ActionRefusedError:
                continue
        if bench.life is not None:
            assert load(json.loads(json.dumps(dump(bench.life)))) == bench.life
    return bench


@given(st.sampled_from(list(ALARMS.values())), HISTORY)
@settings(max_examples=300, deadline=None)
def test_any_history_of_any_row_keeps_the_rules(row, history):
    bench = play(row, history)
    assert bench.records == play(row, history).records
    counts: dict[str, int] = {}
    for record in bench.records:
        assert record.count >= counts.get(record.alarm_id, 1)
        counts[record.alarm_id] = record.count
        assert record.peak is not None
        assert record.raised_at_ns != 0
    for before, after in pairwise(bench.records):
        changed = (before.state, before.count, before.priority, before.by)
        same = before.alarm_id == after.alarm_id
        assert not same or after.by or changed != (after.state, after.count, after.priority, None)


@pytest.mark.parametrize("row", ALARMS.values(), ids=lambda row: row.rule)
def test_every_row_is_raised_and_ends(row):
    bench = Bench(row).hops(TRUE, row.on_delay_s + 0.25)
    assert bench.states == ["active_unack"]
    bench.hops(FALSE, row.off_delay_s + 0.25)
    ends = {Priority.LOW: "cleared", Priority.MEDIUM: "rtn_unack", Priority.HIGH: "latched"}
    assert bench.states[1:] == [ends[row.priority]]
    assert bench.records[0].unit == row.unit


def test_every_state_is_reached_from_every_state_it_may_follow():
    """The whole graph of visible states, as this file's histories draw it."""
    ack, reset, shelve = ActionKind.ACK, ActionKind.RESET, ActionKind.SHELVE
    up, down, dark = ("hops", TRUE, 6), ("hops", FALSE, 6), ("hops", UNKNOWN, 6)
    histories = [
        [up, down, ("act", ack), up],
        [up, ("act", ack), down, up],
        [up, down, up],
        [up, ("act", ack), dark, up, dark, down],
        [up, dark, up, dark, down],
        [up, ("act", shelve), ("unshelve",)],
        [up, ("act", ack), ("act", shelve), ("unshelve",)],
        [up, ("suppress", True), ("suppress", False)],
        [up, ("suppress", True), dark, ("suppress", False)],
        [up, dark, ("suppress", True), up, ("suppress", False)],
        [up, down, ("act", reset), up],
        [up, ("act", ack), down, ("act", reset)],
        [up, down, up, dark, down],
    ]
    edges = set()
    for row in (LOW, MEDIUM, HIGH):
        for history in histories:
            states = play(row, history).states
            edges |= set(pairwise(["normal", *states]))
    assert edges >= {
        ("normal", "active_unack"),
        ("active_unack", "active_ack"),
        ("active_unack", "rtn_unack"),
        ("active_unack", "latched"),
        ("active_unack", "cleared"),
        ("active_unack", "unknown"),
        ("active_unack", "shelved"),
        ("active_unack", "suppressed"),
        ("active_ack", "cleared"),
        ("active_ack", "latched"),
        ("active_ack", "unknown"),
        ("active_ack", "shelved"),
        ("rtn_unack", "cleared"),
        ("rtn_unack", "active_unack"),
        ("latched", "cleared"),
        ("latched", "active_unack"),
        ("unknown", "active_unack"),
        ("unknown", "active_ack"),
        ("unknown", "rtn_unack"),
        ("unknown", "latched"),
        ("unknown", "cleared"),
        ("unknown", "suppressed"),
        ("cleared", "active_unack"),
        ("shelved", "active_unack"),
        ("shelved", "active_ack"),
        ("suppressed", "active_unack"),
        ("suppressed", "unknown"),
    }
    assert ("normal", "cleared") not in edges


def test_a_silence_of_two_steps_is_enough_to_be_unknown():
    bench = Bench().hops(TRUE, 2).hops(UNKNOWN, 0.25)
    bench.now_ns += UNKNOWN_AFTER_NS
    assert bench.hops(UNKNOWN, 0.25).states == ["active_unack", "unknown"]
