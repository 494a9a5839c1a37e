"""The table of body sites and a clinic's own numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model import UNKNOWN_SITE
from pipeline.sites import (
    GENERAL,
    SITES,
    SiteGroup,
    SiteOverrideError,
    SiteTable,
    base_name,
    with_overrides,
)

# ISO/TS 15066:2016 Table A.2, quasi-static [N], as detection.md quotes it.
ISO_CEILINGS_N = {65.0, 110.0, 130.0, 140.0, 150.0, 160.0, 180.0, 210.0, 220.0}
LARGE = {
    "quadriceps",
    "hamstrings",
    "gluteals",
    "calf",
    "upper_back",
    "lats",
    "pectoral",
    "deltoid",
}
NEVER = {
    "achilles",
    "patellar_tendon",
    "hamstring_tendon",
    "elbow_epicondyle",
    "neck_front",
    "spine",
    "abdomen",
    "armpit",
    "groin",
    "popliteal_fossa",
    "face",
}


@pytest.mark.parametrize("row", [*SITES.values(), GENERAL], ids=lambda row: row.site)
def test_every_row_is_sourced_and_in_order(row):
    assert row.source
    assert 0 < row.tendon_limit_n <= row.force_limit_n <= row.ceiling_n
    assert 0 < row.dwell_advisory_s < row.dwell_limit_s
    assert row.ceiling_n in ISO_CEILINGS_N
    assert row.force_limit_n < row.extreme_force_n <= row.ceiling_n
    assert row.never == (row.group in (SiteGroup.ATTACHMENT, SiteGroup.VULNERABLE))


def test_the_limits_are_those_of_the_contract():
    table = SiteTable()
    assert {site for site, row in SITES.items() if row.group is SiteGroup.LARGE_MUSCLE} == LARGE
    assert {site for site, row in SITES.items() if row.never} == NEVER
    for site in LARGE:
        row = table.limits(site)
        assert (row.force_limit_n, row.tendon_limit_n) == (50.0, 25.0)
        assert (row.dwell_advisory_s, row.dwell_limit_s) == (20.0, 30.0)
    for site in ("neck_extensors", "forearm", "shin", "foot", "upper_trapezius"):
        row = table.limits(site)
        assert row.force_limit_n == 25.0
        assert (row.dwell_advisory_s, row.dwell_limit_s) == (15.0, 20.0)


def test_a_side_does_not_matter_to_limits_but_stays_in_records():
    table = SiteTable()
    assert table.limits("calf_left") is table.limits("calf_right") is table.limits("calf")
    assert table.recorded_name("calf_left") == "calf_left"
    assert base_name("popliteal_fossa") == "popliteal_fossa"


@pytest.mark.parametrize("site", [None, "elbow", "calf_middle", "", "_left"])
def test_a_site_nobody_knows_gets_the_general_limits_and_is_unknown(site):
    table = SiteTable()
    assert table.limits(site) is GENERAL
    assert table.recorded_name(site) == UNKNOWN_SITE
    assert (GENERAL.force_limit_n, GENERAL.tendon_limit_n) == (50.0, 25.0)
    assert (GENERAL.dwell_advisory_s, GENERAL.dwell_limit_s) == (20.0, 30.0)


@pytest.mark.parametrize(
    ("site", "avoid", "no_go"),
    [
        (None, ("calf",), False),
        ("calf_left", (), False),
        ("calf_left", ("calf_left",), True),
        ("calf_left", ("calf_right",), False),
        ("calf_left", ("calf",), True),
        ("calf", ("calf_left",), True),  # the side is not said: it may be that one
        ("achilles_left", (), True),
        ("old_scar", ("old_scar",), True),  # a name of the clinic's own
        ("old_scar", (), False),
    ],
)
def test_where_contact_is_forbidden(site, avoid, no_go):
    assert SiteTable().is_no_go(site, avoid) is no_go


def test_a_clinic_sets_its_own_numbers_and_the_rest_stays():
    table = with_overrides(
        {
            "calf": {"force_limit_n": 40, "dwell_limit_s": 25.0},
            "hand": {"never": True},
            UNKNOWN_SITE: {"force_limit_n": 30.0},
        }
    )
    calf = table.limits("calf_left")
    assert (calf.force_limit_n, calf.tendon_limit_n, calf.dwell_limit_s) == (40.0, 25.0, 25.0)
    assert calf.source.startswith("the clinic's own: dwell_limit_s, force_limit_n")
    assert table.is_no_go("hand", ())
    assert table.limits(None).force_limit_n == 30.0
    assert table.limits("lats") is SITES["lats"]
    assert SiteTable().limits("calf").force_limit_n == 50.0  # the table itself is untouched


@pytest.mark.parametrize(
    ("site", "column", "value", "says"),
    [
        ("calf_left", "force_limit_n", 40.0, "no such site"),
        ("calf", "force_limit", 40.0, "no such column"),
        ("calf", "ceiling_n", 400.0, "cannot be changed"),
        ("calf", "force_limit_n", 131.0, "130 N or less"),
        ("calf", "force_limit_n", 20.0, "tendon_limit_n = 25.0: is over the force limit"),
        ("calf", "force_limit_n", 0.0, "above 0"),
        ("calf", "force_limit_n", math.nan, "above 0"),
        ("calf", "force_limit_n", True, "above 0"),
        ("calf", "force_limit_n", "40", "above 0"),
        ("calf", "dwell_advisory_s", 31.0, "30 s or less"),
        ("calf", "never", 1, "true or false"),
        ("spine", "never", False, "never treated"),
    ],
)
def test_a_wrong_override_is_named(site, column, value, says):
    with pytest.raises(SiteOverrideError, match=says) as caught:
        with_overrides({site: {column: value}})
    assert site in str(caught.value)


def test_all_faults_are_named_at_once():
    with pytest.raises(SiteOverrideError) as caught:
        with_overrides({"elbow": {}, "calf": {"never": 3, "colour": 1.0}, "lats": {}})
    assert [fault.site for fault in caught.value.faults] == ["elbow", "calf", "calf"]


@given(
    st.dictionaries(
        st.sampled_from(["calf", "spine", UNKNOWN_SITE, "elbow"]),
        st.dictionaries(
            st.sampled_from(["force_limit_n", "tendon_limit_n", "dwell_limit_s", "never", "x"]),
            st.one_of(st.floats(), st.booleans(), st.sampled_from(["", "40", None])),
        ),
    )
)
def test_any_override_is_refused_by_name_or_leaves_a_table_in_order(overrides):
    try:
        table = with_overrides(overrides)
    except SiteOverrideError:
        return
    for row in (*table.rows.values(), table.general):
        assert 0 < row.tendon_limit_n <= row.force_limit_n <= row.ceiling_n
        assert 0 < row.dwell_advisory_s <= row.dwell_limit_s
