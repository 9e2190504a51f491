"""How old an answer is by its service's own word: one that arrives now may hold the figures of an hour ago. Pure."""

from datetime import timedelta

from app.reconciliation.types import CheckEvidence, Observation

# An age in words changes seldom: every new reason is an event.
_AGE_STEPS = (
    *((timedelta(minutes=minutes), f"{minutes} min") for minutes in (1, 2, 5, 10, 20, 30)),
    *((timedelta(hours=hours), f"{hours} h") for hours in (1, 2, 6, 12)),
    (timedelta(days=1), "a day"),
    (timedelta(days=7), "a week"),
)


def explain_wrong_age(heard: Observation, evidence: CheckEvidence) -> str | None:
    """Why the figures of this answer say nothing of now, to follow "the service …"; None where they do.

    A service may keep its figures for a moment, and its clock may differ from Beacon's: both within `fresh_for`.
    """
    as_of, fresh_for = heard.look.as_of, evidence.fresh_for
    if as_of is None or fresh_for is None:
        return None
    if (age := heard.began - as_of) > fresh_for:
        return f"answers with figures that are more than {_format_age(age, fresh_for)} old"
    if (ahead := as_of - heard.ended) > fresh_for:
        early = _format_age(ahead, fresh_for)
        return f"dates its figures more than {early} ahead of Beacon's clock, so nobody knows how old they are"
    return None


def _format_age(span: timedelta, fresh_for: timedelta) -> str:
    return next((words for step, words in reversed(_AGE_STEPS) if span >= step), f"{fresh_for.total_seconds():g} s")
