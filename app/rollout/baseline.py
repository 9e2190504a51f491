"""How many attempts to connect failed before a rollout began: kept, as what browsers report is deleted after a week."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.clock import parse_utc
from app.rollout.configuration import Flag
from app.rollout.models import BaselineRow, ReportRow

# So much of what was reported before the rollout began is what it is compared with.
BEFORE_MINUTES = 60


def keep(session: Session, flag: Flag, at: str) -> None:
    """Inside `db.write()`, with the first increase, made `at`; in the place of the rollout before."""
    attempts, failures = _before(session, at)
    session.merge(BaselineRow(flag=flag, attempts=attempts, failures=failures))


def share(session: Session, flag: Flag, began: str | None) -> float | None:
    """Of all attempts; None where nobody tried, or nobody knows. What was reported late is still found by `began`."""
    row = session.get(BaselineRow, flag)
    if row is not None and row.attempts:
        return row.failures / row.attempts
    attempts, failures = (0, 0) if began is None else _before(session, began)
    return failures / attempts if attempts else None


def counted(session: Session, *minutes: sa.ColumnElement[bool]) -> tuple[int, int]:
    """Attempts in these minutes, and how many of them failed."""
    sums = sa.select(sa.func.sum(ReportRow.attempts), sa.func.sum(ReportRow.failures))
    attempts, failures = session.execute(sums.where(*minutes)).one()
    return int(attempts or 0), int(failures or 0)


def _before(session: Session, at: str) -> tuple[int, int]:
    first = int(parse_utc(at).timestamp() // 60)
    return counted(session, ReportRow.minute >= first - BEFORE_MINUTES, ReportRow.minute < first)
