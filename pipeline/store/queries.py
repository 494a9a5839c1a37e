"""What the reader asks, in SQL; may import `rows` only.

Named parameters carry all that is asked for. `{where}` in a statement stands for those of its
conditions that are asked, so that the planner can choose an index by them.
"""

# ruff: noqa: S608 - statements are put together from the column names of the nouns, never from input

from __future__ import annotations

from collections.abc import Sequence

from pipeline.store import rows


def _names(table: str, columns: Sequence[str]) -> str:
    return ", ".join(f"{table}.{column}" for column in columns)


_IN_CLINIC = "(:clinic IS NULL OR gun.clinic = :clinic)"


def _closed_and_open(closed: str, still_open: str, columns: Sequence[str]) -> str:
    """One gun's rows of both tables in a span; the condition stands where it can use their keys."""
    names = ", ".join(columns)
    gun = "(SELECT gun FROM gun WHERE clinic = :clinic AND device = :device)"
    span = f"WHERE gun = {gun} AND t_ns >= :from_ns AND t_ns < :to_ns"
    return f"SELECT {names} FROM {closed} {span} UNION ALL SELECT {names} FROM {still_open} {span}"


_THE_SECONDS = _closed_and_open("features", "second_open", rows.SECOND_COLUMNS)
_THE_MINUTES = _closed_and_open("rollup_1min", "minute_open", rows.MINUTE.columns)
GUNS = f"""
SELECT gun.clinic, gun.device,
  status.gun IS NOT NULL, {_names("status", rows.STATUS.columns)},
  latest.gun IS NOT NULL, {_names("latest", rows.SECOND_COLUMNS)}
FROM gun
LEFT JOIN device_status AS status ON status.gun = gun.gun
LEFT JOIN latest_second AS latest ON latest.gun = gun.gun
WHERE {_IN_CLINIC} ORDER BY gun.clinic, gun.device"""
SECONDS = f"{_THE_SECONDS} ORDER BY t_ns LIMIT :limit"
_WORST = "max(contact_force_n_max), max(stiffness_max), max(dwell_s_max), max(accel_rms_g_max)"
# A hop that ends on a second is the last of the second before: hence t_ns - 1.
SECOND_POINTS = f"""
SELECT (t_ns - 1) / :span_ns * :span_ns AS start_ns, sum(hops), sum(contact_hops),
  sum(iif(motor <> 'off', hops, 0)),
  total(contact_force_n * contact_hops),
  total(iif(motor <> 'off', percussion_hz * hops, 0)),
  total(iif(motor <> 'off', a_hv_m_s2 * a_hv_m_s2 * hops, 0)), {_WORST}
FROM ({_THE_SECONDS})
GROUP BY start_ns ORDER BY start_ns"""
MINUTE_POINTS = f"""
SELECT t_ns / :span_ns * :span_ns AS start_ns, sum(hops), sum(contact_hops), sum(running_hops),
  total(contact_force_n_sum), total(percussion_hz_sum), total(a_hv_m2_s4_sum), {_WORST}
FROM ({_THE_MINUTES})
GROUP BY start_ns ORDER BY start_ns"""
_ALARM_COLUMNS = f"alarm.position, gun.clinic, gun.device, {_names('alarm', rows.ALARM.columns)}"
CURRENT_ALARMS = f"""
SELECT {_ALARM_COLUMNS} FROM alarm_current AS current
JOIN alarm_transition AS alarm ON alarm.position = current.position
JOIN gun ON gun.gun = alarm.gun
WHERE {_IN_CLINIC} ORDER BY alarm.position DESC"""
ALARM_HISTORY = f"""
SELECT {_ALARM_COLUMNS} FROM alarm_transition AS alarm JOIN gun ON gun.gun = alarm.gun
WHERE {{where}} ORDER BY alarm.position DESC LIMIT :limit"""
ALARM_CONDITIONS = {
    "clinic": "gun.clinic = :clinic",
    "device": "gun.device = :device",
    "rule": "alarm.rule = :rule",
    "priority": "alarm.priority = :priority",
    "state": "alarm.state = :state",
    "session_id": "alarm.session_id = :session_id",
    "operator": "alarm.operator = :operator",
    "from_ns": "alarm.changed_at_ns >= :from_ns",
    "to_ns": "alarm.changed_at_ns < :to_ns",
    "before": "alarm.position < :before",
}
SESSIONS = f"""
SELECT gun.clinic, gun.device, {_names("session", rows.SESSION.columns)}
FROM session JOIN gun ON gun.gun = session.gun
WHERE {{where}} ORDER BY session.started_at_ns DESC LIMIT :limit"""
SESSION_CONDITIONS = {
    "clinic": "gun.clinic = :clinic",
    "device": "gun.device = :device",
    "session_id": "session.session_id = :session_id",
    "operator": "session.operator = :operator",
    "client": "session.client = :client",
    "from_ns": "session.started_at_ns >= :from_ns",
    "to_ns": "session.started_at_ns < :to_ns",
}
EXPOSURES = f"""
SELECT {", ".join(rows.EXPOSURE.columns)} FROM operator_exposure
WHERE {{where}} ORDER BY day DESC, clinic, operator LIMIT :limit"""
EXPOSURE_CONDITIONS = {
    "clinic": "clinic = :clinic",
    "operator": "operator = :operator",
    "from_day": "day >= :from_day",
    "to_day": "day <= :to_day",
}
DEAD_LETTERS = f"""
SELECT {", ".join(rows.DEAD_LETTER.columns)} FROM dead_letter
ORDER BY position DESC LIMIT :limit"""
# Of the tables that have a row for every line spooled: a minute may come in two parts.
SPOOLED_ROWS = """
SELECT (SELECT count(*) FROM features), (SELECT count(*) FROM alarm_transition),
  (SELECT count(*) FROM session WHERE ended_at_ns IS NOT NULL)"""
SIZES = """
SELECT (SELECT count(*) FROM gun),
  (SELECT coalesce(max(position) - min(position) + 1, 0) FROM dead_letter)"""
