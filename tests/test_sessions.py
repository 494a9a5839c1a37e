"""Sessions: what consoles say, what adds up, and the advice at the start."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model import (
    DeviceId,
    Features,
    MotorState,
    Quality,
    SessionContext,
    SessionEvent,
    SessionEventKind,
)
from pipeline.sessions import (
    ALWAYS,
    EVENT_WAIT_NS,
    SUMMARY_EVERY_NS,
    WAITING_MAX,
    Schedule,
    Session,
    guidance,
    start_speed_hz,
)

GUN = DeviceId("clinic", "gun")
S = 1_000_000_000
HOP = S // 4
START, SITE, END = SessionEventKind

HOP_OF_CONTACT = Features(
    id=GUN,
    t_ns=0,
    motor=MotorState.RUNNING,
    contact=True,
    quality=Quality.GOOD,
    percussion_hz=30.0,
    contact_force_n=20.0,
    contact_force_n_sd=1.0,
    stiffness=0.1,
    dwell_s=3.0,
    motion_deg_s=2.0,
    accel_rms_g=2.0,
    crest=2.0,
    kurtosis=2.0,
    current_a=1.0,
    current_ripple_a=0.1,
    h1=0.8,
    h2_4=0.1,
    h_sub=0.0,
    a_hw_x_m_s2=1.0,
    a_hw_y_m_s2=1.0,
    a_hw_z_m_s2=3.0,
    a_hv_m_s2=3.3,
    set_percussion_hz=30.0,
)


def say(kind, t_s, session="s-1", **more):
    return SessionEvent(GUN, session, kind, round(t_s * S), **more)


class Console:
    """Feeds a Schedule: events and hops arrive when they happen, unless told otherwise."""

    def __init__(self):
        self.schedule, self.summaries = Schedule(GUN), []

    def tell(self, event, received_s=None):
        received_ns = event.t_ns if received_s is None else round(received_s * S)
        self.summaries += self.schedule.expect(event, received_ns)
        return self

    def hop(self, t_s, received_s=None):
        received_ns = round((t_s if received_s is None else received_s) * S)
        self.summaries += self.schedule.advance(round(t_s * S), received_ns)
        return self

    @property
    def open_id(self):
        session = self.schedule.session
        return session and session.session_id


def test_an_event_applies_to_the_samples_taken_after_it():
    console = Console().tell(say(START, 10.0, site="calf_left"))
    assert console.hop(9.9, received_s=10.2).open_id is None
    assert console.hop(10.0, received_s=10.3).open_id is None
    assert console.hop(10.25, received_s=10.4).open_id == "s-1"


def test_an_event_waits_two_seconds_at_most_whatever_the_guns_clock_says():
    console = Console().tell(say(START, 10.0))
    assert console.hop(3.0, received_s=11.9).open_id is None
    assert console.hop(3.1, received_s=12.0).open_id == "s-1"
    assert console.schedule.due_ns is None


def test_an_event_applies_without_any_samples():
    console = Console().tell(say(START, 10.0))
    due_ns = console.schedule.due_ns
    assert due_ns == 10 * S + EVENT_WAIT_NS
    assert console.schedule.advance(None, due_ns - 1) == []
    (summary,) = console.schedule.advance(None, due_ns)
    assert (summary.session_id, summary.ended_at_ns, summary.contact_s) == ("s-1", None, 0.0)


def test_start_site_end():
    console = Console().tell(say(START, 1, site="calf_left", operator="op", client="c-1"))
    session = console.hop(2).schedule.session
    assert (session.site, session.operator, session.client) == ("calf_left", "op", "c-1")
    console.tell(say(SITE, 3, site="lats")).hop(4)
    assert (session.site, session.operator) == ("lats", "op")
    console.tell(say(END, 5)).hop(6)
    assert console.open_id is None
    assert [(s.session_id, s.started_at_ns, s.ended_at_ns) for s in console.summaries] == [
        ("s-1", S, None),
        ("s-1", S, 5 * S),
    ]


def test_a_new_start_ends_the_session_before():
    console = Console().tell(say(START, 1)).hop(2).tell(say(START, 3, "s-2")).hop(4)
    assert console.open_id == "s-2"
    assert [(s.session_id, s.ended_at_ns) for s in console.summaries] == [
        ("s-1", None),
        ("s-1", 3 * S),
        ("s-2", None),
    ]


def test_a_site_of_a_session_never_started_starts_it():
    assert Console().tell(say(SITE, 1, site="lats")).hop(2).schedule.session.site == "lats"


def test_what_is_said_twice_happens_once():
    story = [
        say(START, 1, site="calf"),
        say(SITE, 2, site="lats"),
        say(END, 3),
        say(START, 4, "s-2", site="shin"),
        say(SITE, 5, "s-2", site="foot"),
    ]
    console = Console()
    for event in story:
        console.tell(event).hop(event.t_ns / S + 0.5)
    told = len(console.summaries)
    for event in story:
        console.tell(event, received_s=7)
    console.hop(8)
    assert (console.open_id, console.schedule.session.site) == ("s-2", "foot")
    assert len(console.summaries) == told == 3


def test_an_older_site_told_again_does_not_come_back():
    console = Console().tell(say(START, 1)).tell(say(SITE, 2, site="calf"))
    console.tell(say(SITE, 3, site="lats")).tell(say(SITE, 2, site="calf")).hop(6)
    assert console.schedule.session.site == "lats"


def test_the_same_name_may_begin_again_after_its_end():
    console = Console().tell(say(START, 1)).tell(say(END, 2)).tell(say(START, 3)).hop(4)
    assert console.open_id == "s-1"
    assert console.schedule.session.started_at_ns == 3 * S


def test_the_end_of_another_session_is_ignored():
    assert Console().tell(say(START, 1)).tell(say(END, 2, "s-9")).hop(3).open_id == "s-1"


def test_an_idle_session_is_closed_at_its_last_sample():
    console = Console().tell(say(START, 1)).hop(2)
    console.schedule.session.observe(replace(HOP_OF_CONTACT, t_ns=9 * S), "calf", None)
    (summary,) = console.schedule.close_idle()
    assert summary.ended_at_ns == 9 * S
    assert console.schedule.close_idle() == []


def test_waiting_is_bounded():
    console = Console()
    for number in range(WAITING_MAX + 3):
        console.tell(say(START, 10.0 + number, f"s-{number}"), received_s=10.0)
    assert console.open_id == "s-2"
    console.hop(100)
    assert console.open_id == f"s-{WAITING_MAX + 2}"


def session_of(*hops, start_hz=None):
    session = Session("s-1", started_at_ns=0)
    for number, (site, changes) in enumerate(hops, 1):
        session.observe(replace(HOP_OF_CONTACT, t_ns=number * HOP, **changes), site, start_hz)
    return session


def test_what_adds_up_in_a_session():
    session = session_of(
        ("calf_left", {"contact_force_n": 9.9}),
        ("calf_left", {"contact_force_n": 10.0, "dwell_s": 12.0}),
        ("lats", {"contact_force_n": 150.0}),
        ("lats", {"contact": False, "contact_force_n": 0.0}),
        ("lats", {"quality": Quality.BAD, "contact_force_n": 999.0}),
    )
    session.count_alarm("OVERDWELL")
    session.count_alarm("OVERDWELL")
    summary = session.summary(GUN, 0, None)
    assert summary.contact_s == 0.75
    assert summary.contact_s_by_site == {"calf_left": 0.5, "lats": 0.25}
    assert summary.force_histogram_s == (0.25, 0.25, *[0.0] * 8, 0.25)
    assert sum(summary.force_histogram_s) == summary.contact_s
    assert summary.contact_force_n_mean == pytest.approx((9.9 + 10 + 150) / 3)
    assert (summary.contact_force_n_max, summary.dwell_s_max) == (150.0, 12.0)
    assert summary.alarms_by_rule == {"OVERDWELL": 2}


def test_a_summary_is_due_once_a_minute_of_contact():
    session = session_of(("calf", {}))
    session.summary(GUN, HOP, None)
    assert not session.summary_due(HOP + SUMMARY_EVERY_NS)  # nothing has been added
    session.observe(replace(HOP_OF_CONTACT, t_ns=2 * HOP), "calf", None)
    assert not session.summary_due(HOP + SUMMARY_EVERY_NS - 1)
    assert session.summary_due(HOP + SUMMARY_EVERY_NS)


FAST = {"set_percussion_hz": 40.0}


@pytest.mark.parametrize(
    ("hops", "excess"),
    [
        ([("c", {})], 0.0),
        ([("c", {"set_percussion_hz": 35.0})], 0.0),  # the second-lowest is allowed
        ([("c", FAST)], 40.0 / 35.0),
        ([("c", {}), ("c", FAST)], 0.0),  # only the first contact is judged by its speed
        ([("c", FAST | {"contact": False}), ("c", {})], 0.0),  # in air
        ([("c", {"contact_force_n": 33.0})], 1.1),
        ([("c", {})] * 39 + [("c", {"contact_force_n": 45.0})], 1.5),
        ([("c", {})] * 41 + [("c", {"contact_force_n": 45.0})], 0.0),  # 10 s are over
    ],
)
def test_started_too_strong(hops, excess):
    session = session_of(*hops, start_hz=35.0)
    assert session.start_excess_at(len(hops) * HOP) == pytest.approx(excess)


def test_started_too_strong_is_over_after_ten_seconds():
    session = session_of(("c", FAST), start_hz=35.0)
    assert session.start_excess_at(HOP + 10 * S - 1) > 1.0
    assert session.start_excess_at(HOP + 10 * S) == 0.0


@pytest.mark.parametrize(
    ("speeds", "strongest"),
    [([], None), ([30.0, 40.0], None), ([40.0, 30.0, 35.0, 30.0], 35.0)],
)
def test_the_strongest_speed_to_begin_with(speeds, strongest):
    assert start_speed_hz(speeds) == strongest


@pytest.mark.parametrize(
    ("context", "says"),
    [
        (SessionContext(hours_since_hard_run=3.0), "hard run"),
        (SessionContext(hours_to_race=60.0), "3 to 5 days before the race"),
        (SessionContext(hours_to_race=100.0), "No deep work"),
        (SessionContext(modality="deep_tissue"), "no hard workout for 12 to 24 h"),
    ],
)
def test_guidance_follows_from_the_context(context, says):
    advice = guidance(context)
    assert says in advice[0]
    assert len(advice) == 1 + len(ALWAYS)
    assert advice[1:] == ALWAYS


@pytest.mark.parametrize(
    "context",
    [
        None,
        SessionContext(),
        SessionContext(hours_since_hard_run=48.0, hours_to_race=400.0, modality="relaxing"),
        SessionContext(hours_since_hard_run=-1.0, hours_to_race=-1.0),
    ],
)
def test_guidance_without_a_reason_is_the_general_one(context):
    assert guidance(context) == ALWAYS
    assert guidance(context, ("achilles_left",))[0] == "Keep off: achilles left."


EVENTS = st.builds(
    say,
    st.sampled_from(list(SessionEventKind)),
    st.integers(0, 20),
    st.sampled_from(["s-1", "s-2", "s-3"]),
    site=st.sampled_from(["calf", "lats", None]),
    avoid=st.sampled_from([(), ("calf",)]),
    context=st.sampled_from([None, SessionContext(3.0, None, "deep_tissue")]),
)
STORY = st.lists(st.one_of(EVENTS, st.integers(1, 8)), max_size=40)


def play(story, snapshot_at=None):
    """Hops pass between events; before one of the steps the schedule goes through a snapshot."""
    console, now = Console(), 0.0
    for number, step in enumerate(story):
        if number == snapshot_at:
            copy = Schedule(GUN)
            copy.load(json.loads(json.dumps(console.schedule.dump())))
            console.schedule = copy
        if isinstance(step, SessionEvent):
            console.tell(step, received_s=now)
            continue
        for _ in range(step):
            now += 0.25
            console.hop(now)
            if console.schedule.session is not None:
                hop = replace(HOP_OF_CONTACT, t_ns=round(now * S))
                console.schedule.session.observe(hop, "calf", 25.0)
    return console


@given(STORY, st.integers(0, 40))
@settings(max_examples=200, deadline=None)
def test_any_story_survives_a_snapshot_and_opens_and_closes_in_turn(story, snapshot_at):
    whole, split = play(story), play(story, snapshot_at)
    assert split.summaries == whole.summaries
    assert split.schedule.dump() == whole.schedule.dump()
    is_open = False
    for summary in whole.summaries:
        assert is_open == (summary.ended_at_ns is not None)
        is_open = not is_open
    assert is_open == (whole.open_id is not None)
