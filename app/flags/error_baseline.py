"""The connection error rate before a rollout: stored, because client reports are deleted after a week."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.flags.document import Flag
from app.flags.models import BaselineRow, ReportRow
from app.infra.clock import parse_utc

# How long after a change a report may still describe the time before it: a page sends one every 33 s, and the report
# waits for the next flush.
REPORT_DELAY_S = 40.0
# Length of the period before the rollout that serves as the baseline.
BASELINE_MINUTES = 60
# A new baseline with fewer attempts does not replace the stored one.
MIN_BASELINE_ATTEMPTS = 30


def record_baseline(session: Session, flag: Flag, now: float, free_since: float) -> None:
    """Store the baseline with the first increase, made at `now`. Call it inside `db.write()`.

    The flag was at 0 since `free_since` (both by the database's clock, in seconds since 1970). Earlier reports belong
    to the previous rollout: without this limit, a rollout that was taken back for five minutes would be compared with
    its own failures. If too little was reported since then, the stored baseline stays.
    """
    first = int(now // 60)
    oldest = max(first - BASELINE_MINUTES, int((free_since + REPORT_DELAY_S) // 60) + 1)
    attempts, failures = _count_between(session, oldest, first)
    kept = session.get(BaselineRow, flag)
    if kept is None or not kept.attempts or attempts >= MIN_BASELINE_ATTEMPTS:
        minutes = {"from_minute": oldest, "until_minute": first}
        session.merge(BaselineRow(flag=flag, attempts=attempts, failures=failures, **minutes))


def load_failure_rate(session: Session, flag: Flag, began: str | None, enough: int = 1) -> float | None:
    """The share of attempts that failed; None if unknown or if there were fewer than `enough` attempts.

    If the stored baseline is empty, its minutes are counted again, because reports may have come late. If there is no
    stored baseline, the hour before `began` is used."""
    row = session.get(BaselineRow, flag)
    if row is None:
        attempts, failures = (0, 0) if began is None else _count_before(session, began)
    elif row.attempts:
        attempts, failures = row.attempts, row.failures
    else:
        attempts, failures = _count_between(session, row.from_minute, row.until_minute)
    return failures / attempts if attempts >= max(1, enough) else None


def count_attempts(session: Session, *minutes: sa.ColumnElement[bool]) -> tuple[int, int]:
    """The attempts in these minutes, and how many of them failed."""
    sums = sa.select(sa.func.sum(ReportRow.attempts), sa.func.sum(ReportRow.failures))
    attempts, failures = session.execute(sums.where(*minutes)).one()
    return int(attempts or 0), int(failures or 0)


def _count_before(session: Session, at: str) -> tuple[int, int]:
    first = int(parse_utc(at).timestamp() // 60)
    return _count_between(session, first - BASELINE_MINUTES, first)


def _count_between(session: Session, oldest: int, end: int) -> tuple[int, int]:
    return count_attempts(session, ReportRow.minute >= oldest, ReportRow.minute < end)
