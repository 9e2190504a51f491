"""How many attempts to connect failed before a rollout began: kept, as what browsers report is deleted after a week."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.flags.document import Flag
from app.flags.models import BaselineRow, ReportRow
from app.infra.clock import parse_utc

# A report that comes so long after a change may still tell of what was before it: a page sends one every 33 s, and it
# waits for the next flush.
REPORT_DELAY_S = 40.0
# So much of what was reported before the rollout began is what it is compared with.
BASELINE_MINUTES = 60
# Fewer attempts than these do not take the place of what is kept.
MIN_BASELINE_ATTEMPTS = 30


def record_baseline(session: Session, flag: Flag, now: float, free_since: float) -> None:
    """Inside `db.write()`, with the first increase, made `now`; in the place of the rollout before.

    Nobody was in from `free_since` on (both by the database's clock, in seconds since 1970): what was reported before
    is of a rollout, and one that was taken back for five minutes would be compared with its own failures. Where too
    little was reported since then, what is kept stays.
    """
    first = int(now // 60)
    oldest = max(first - BASELINE_MINUTES, int((free_since + REPORT_DELAY_S) // 60) + 1)
    attempts, failures = _count_between(session, oldest, first)
    kept = session.get(BaselineRow, flag)
    if kept is None or not kept.attempts or attempts >= MIN_BASELINE_ATTEMPTS:
        minutes = {"from_minute": oldest, "until_minute": first}
        session.merge(BaselineRow(flag=flag, attempts=attempts, failures=failures, **minutes))


def load_failure_rate(session: Session, flag: Flag, began: str | None, enough: int = 1) -> float | None:
    """Of all attempts; None of fewer than `enough` of them, or where nobody knows. What was reported late is still
    found; of a rollout that began before anything was kept, by `began`."""
    row = session.get(BaselineRow, flag)
    if row is None:
        attempts, failures = (0, 0) if began is None else _count_before(session, began)
    elif row.attempts:
        attempts, failures = row.attempts, row.failures
    else:
        attempts, failures = _count_between(session, row.from_minute, row.until_minute)
    return failures / attempts if attempts >= max(1, enough) else None


def count_attempts(session: Session, *minutes: sa.ColumnElement[bool]) -> tuple[int, int]:
    """Attempts in these minutes, and how many of them failed."""
    sums = sa.select(sa.func.sum(ReportRow.attempts), sa.func.sum(ReportRow.failures))
    attempts, failures = session.execute(sums.where(*minutes)).one()
    return int(attempts or 0), int(failures or 0)


def _count_before(session: Session, at: str) -> tuple[int, int]:
    first = int(parse_utc(at).timestamp() // 60)
    return _count_between(session, first - BASELINE_MINUTES, first)


def _count_between(session: Session, oldest: int, end: int) -> tuple[int, int]:
    return count_attempts(session, ReportRow.minute >= oldest, ReportRow.minute < end)
