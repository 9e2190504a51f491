"""Checks the age of an answer by the service's own time: a new answer may hold figures from an hour ago. Pure."""

from datetime import timedelta

from app.reconciliation.types import CheckEvidence, Observation

# Ages are rounded to these steps, so that they change rarely: every new reason is an event.
_AGE_STEPS = (
    *((timedelta(minutes=minutes), f"{minutes} min") for minutes in (1, 2, 5, 10, 20, 30)),
    *((timedelta(hours=hours), f"{hours} h") for hours in (1, 2, 6, 12)),
    (timedelta(days=1), "a day"),
    (timedelta(days=7), "a week"),
)


def explain_wrong_age(observation: Observation, evidence: CheckEvidence) -> str | None:
    """Why the figures of this answer are not current, to follow "the service …"; None if they are.

    A service may cache its figures briefly, and its clock may differ from Beacon's: both are accepted within
    `fresh_for`.
    """
    as_of, fresh_for = observation.look.as_of, evidence.fresh_for
    if as_of is None or fresh_for is None:
        return None
    if (age := observation.began - as_of) > fresh_for:
        return f"answers with figures that are more than {_format_age(age, fresh_for)} old"
    if (ahead := as_of - observation.ended) > fresh_for:
        early = _format_age(ahead, fresh_for)
        return f"dates its figures more than {early} ahead of Beacon's clock, so their age is unknown"
    return None


def _format_age(span: timedelta, fresh_for: timedelta) -> str:
    return next((words for step, words in reversed(_AGE_STEPS) if span >= step), f"{fresh_for.total_seconds():g} s")
