"""Why Beacon believes what it believes of a job: each verdict has its reasons, and what is not known is not claimed."""

import pytest

from app.reconciliation.job_belief import JobBelief, JobEvidence, explain_belief
from app.reconciliation.models import KnownJob, OpenItem
from app.sources.protocol import FinishedVisible

NOON, LATER = "2026-11-21T12:00:00.000Z", "2026-11-21T12:05:00.000Z"


def explain(
    *,
    known: KnownJob | None = None,
    kind: str = "",
    visible: FinishedVisible = 500.0,
    is_explained: bool = False,
) -> JobBelief:
    items = [OpenItem(id="i", service_id="mail", job_id="a", kind=kind, since=LATER, last_state="queued", queue="out")]
    return explain_belief(JobEvidence(known, items if kind else [], NOON, visible, is_explained))


def job(seen_at: str | None) -> KnownJob:
    return KnownJob(service_id="mail", job_id="a", state="running", queue="out", seen_at=seen_at)


def held(belief: JobBelief) -> list[bool | None]:
    return [condition.held for condition in belief.conditions]


def test_all_five_conditions_of_a_missing_job_held() -> None:
    belief = explain(kind="missing")
    assert (belief.verdict, held(belief)) == ("missing", [True] * 5)
    assert belief.conditions[0].detail == "queued in queue out"
    assert belief.conditions[1].detail == "since 2026-11-21 12:05:00 UTC"


@pytest.mark.parametrize(
    ("visible", "shown", "why"),
    [
        (500.0, True, "its lists show finished jobs for 500 s"),
        ("lookup", True, "asked by its id, it never heard of this job"),
        (None, False, "it cannot tell a finished job from one that vanished"),
    ],
)
def test_whether_the_service_would_show_it_depends_on_its_kind(visible: FinishedVisible, shown: bool, why: str) -> None:
    condition = explain(kind="missing", visible=visible).conditions[2]
    assert (condition.held, condition.detail) == (shown, why)


def test_an_unaccounted_job_is_not_called_missing() -> None:
    belief = explain(kind="unaccounted", visible=None)
    assert belief.verdict == "unaccounted"
    assert held(belief) == [True, True, False, True, True]


def test_what_an_event_or_a_command_explains_is_said() -> None:
    assert held(explain(kind="missing", is_explained=True))[-1] is False


def test_a_job_that_the_newest_poll_did_not_find_is_not_missing_yet() -> None:
    belief = explain(known=job(seen_at=NOON))
    assert (belief.verdict, held(belief)) == ("unseen", [True, True, True, None, True])
    assert belief.words == (
        "The newest poll did not find it. It was last seen running in queue out at 2026-11-21 12:00:00 UTC."
    )


def test_a_listed_job_needs_no_conditions() -> None:
    belief = explain(known=job(seen_at=None))
    assert (belief.verdict, belief.conditions) == ("listed", ())
    assert belief.words == "The newest poll of 2026-11-21 12:00:00 UTC found it running in queue out."


def test_an_extra_job_names_both_sides() -> None:
    belief = explain(kind="extra")
    assert (belief.verdict, held(belief)) == ("extra", [True, True])


def test_a_job_that_is_not_followed_is_no_finding() -> None:
    assert explain().verdict == "not-followed"
