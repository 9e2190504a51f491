"""What becomes a notification, and what does not: rules alone, without a database."""

from datetime import UTC, datetime

import pytest

from app.notifications import notice_text
from app.notifications.alert_state import AlertTransition, DiscrepancyAlert, PollStatus, advance_alert

NOW = datetime(2026, 11, 21, 12, 12, 0, tzinfo=UTC)


def at(second: int) -> str:
    return f"2026-11-21T12:00:{second:02d}.000Z"


def happened(*statuses: str) -> list[str | None]:
    """One poll every five seconds."""
    alert: DiscrepancyAlert | None = None
    told = []
    for place, status in enumerate(statuses):
        done = advance_alert(alert, PollStatus("mail", status, at(5 * place), f"e{place}"))
        alert = done.alert
        told.append(done.outcome)
    return told


D, V, S = "discrepancy", "verified", "stale"


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([D, V, V], [None, None, None]),
        ([D, D, V], [None, None, None]),
        ([D, D, D], [None, None, "opened"]),
        ([D, D, D, D, D], [None, None, "opened", None, None]),
        ([D, D, D, V, V], [None, None, "opened", "recovered", None]),
        ([D, D, S, D, D, D], [None, None, None, None, None, "opened"]),
        ([D, D, D, S, D, D, D], [None, None, "opened", None, None, None, None]),
        ([D, D, D, S, V], [None, None, "opened", None, "recovered"]),
        ([D, V, D, V, D, V], [None] * 6),
        ([V, S, V], [None] * 3),
    ],
)
def test_three_polls_in_a_row_and_the_end_of_what_was_told(statuses: list[str], expected: list[str | None]) -> None:
    assert happened(*statuses) == expected


def test_the_same_poll_counts_once_and_a_late_one_not_at_all() -> None:
    alert = DiscrepancyAlert("mail", "e1", at(0), at(10), polls=2)
    for checked_at in (at(10), "2026-11-21T12:00:10Z", at(5)):
        assert advance_alert(alert, PollStatus("mail", D, checked_at)) == AlertTransition(alert)


def test_a_discrepancy_keeps_its_cause_however_often_it_changes() -> None:
    first = advance_alert(None, PollStatus("mail", D, at(0), "e0")).alert
    second = advance_alert(first, PollStatus("mail", D, at(5), "e1")).alert
    third = advance_alert(second, PollStatus("mail", D, at(10), "e2"))
    assert third.alert is not None
    notice = notice_text.discrepancy_notice(third.alert, "Mail", {"status": D})
    assert (notice.cause, notice.service, notice.severity) == ("discrepancy:e0", "mail", "critical")


def test_both_sides_and_a_few_ids_are_named() -> None:
    details = {"expected": 14, "actual": 9, "missingJobIds": ["a", "b", "c", "d", "e"]}
    notice = notice_text.discrepancy_notice(
        DiscrepancyAlert("m/ail", "e0", at(0), at(0)), "Mail", {"status": D, "discrepancyDetails": details}
    )
    assert notice.title == "Mail: discrepancy for 3 polls"
    assert notice.body == "Beacon knows 14 jobs, Mail reports 9. Missing: a, b, c and 2 more."
    assert notice.link == "/services/m%2Fail#open-items"


def test_where_both_sides_agree_the_findings_have_their_own_sentences() -> None:
    details = {"expected": 3, "actual": 3, "missingJobIds": []}
    findings = [{"kind": "orphaned", "jobIds": ["a"]}, {"kind": "duplicate", "jobIds": ["b", "c"]}]
    payload = {"status": D, "discrepancyDetails": details, "findings": findings}
    body = notice_text.discrepancy_notice(DiscrepancyAlert("m", "e", at(0), at(0)), "Mail", payload).body
    assert body == "1 running on a dead worker, 2 in two states at once."


def test_the_end_says_how_long_it_took() -> None:
    notice = notice_text.recovery_notice(
        DiscrepancyAlert("mail", "e0", at(0), at(30), 3, is_reported=True), "Mail", NOW
    )
    assert (notice.cause, notice.title) == ("recovery:e0", "Mail is verified again")
    assert notice.body == "The discrepancy lasted 12 min."


SET_BY_HAND = {"cause": "manual", "kind": "set"}


def test_a_message_and_a_change_of_the_rollout() -> None:
    message = notice_text.message_notice({"id": "f1", "severity": "warning", "text": "Deploy at 3", "actor": "bob"})
    assert (message.cause, message.severity, message.title) == ("flash:f1", "warning", "Message from bob")
    change = {
        "flag": "enable_sse_streaming",
        "enabled": True,
        "percentage": 25,
        "actor": "pia",
        "reason": "looks well",
        **SET_BY_HAND,
    }
    on, off = (
        notice_text.rollout_notice(change, "1", "/rollout"),
        notice_text.rollout_notice({**change, "enabled": False}, "2", None),
    )
    assert (on.title, on.severity) == ("enable_sse_streaming is on for 25 %", "info")
    assert (off.title, off.severity) == ("enable_sse_streaming is switched off", "warning")
    assert (on.body, on.link, off.link, message.link) == ("pia: looks well", "/rollout", None, None)


def test_a_change_of_the_rollout_says_who_is_in_by_all_rules() -> None:
    change = {"flag": "sse", "enabled": True, "percentage": 100, "actor": "pia", "reason": "all", **SET_BY_HAND}
    nobody = {**change, "outcome": "parent checkout is off: nobody is in"}
    assert notice_text.rollout_notice(nobody, "1", None).title == "sse is on (parent checkout is off: nobody is in)"
    ruled = notice_text.rollout_notice(change, "1", None, override=False).title
    assert ruled == "sse is on for 100 %; the setting decides: off for everybody"


@pytest.mark.parametrize(
    ("cause", "kind", "severity", "title"),
    [
        ("guardrail", "held", "warning", "The guardrail holds sse at 50 %"),
        ("guardrail", "set", "warning", "The guardrail rolled sse back to 50 %"),
        ("guardrail", "released", "info", "The guardrail no longer holds sse"),
        ("plan", "paused", "warning", "The plan for sse is paused at 50 %"),
        ("plan", "ended", "info", "The plan for sse has ended"),
        ("plan", "set", "info", "sse is on for 50 %"),
        ("manual", "set", "info", "sse is on for 50 %"),
        ("unleash", "set", "info", "sse is on for 50 %"),
        ("unleash", "conditions", "info", "sse is on for 50 %"),
    ],
)
@pytest.mark.parametrize("said", ["pia: looks well", "guardrail: holds: my own words", "plan: paused: my own words"])
def test_a_change_is_classified_by_its_fields_and_never_by_who_says_what(
    cause: str, kind: str, severity: str, title: str, said: str
) -> None:
    actor, reason = said.split(": ", 1)
    change = {"flag": "sse", "enabled": True, "percentage": 50, "actor": actor, "reason": reason}
    notice = notice_text.rollout_notice({**change, "cause": cause, "kind": kind}, "1", "/rollout")
    assert (notice.severity, notice.title, notice.body) == (severity, title, said)
