"""Stores what each person's pages reported since the current stage of a rollout began.

Kept by person, so that people can be counted and none of them decides alone, whatever the number of workers, logins and
tabs. A person is a hash that is keyed with the deployment's secret.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import insert_into
from app.flags.document import Flag
from app.flags.error_baseline import REPORT_DELAY_S
from app.flags.models import WitnessRow
from app.rollout.client_reports import ClientReport
from app.rollout.evidence import CohortEvidence

WHOLE_STAGE = 0
# How much of one person is counted; `CohortEvidence` says how much of that one person can decide.
# Connects and deliveries.
MAX_OF_STAGE, MAX_OF_PERIOD = (200, 60), (15, 20)
# Working streams of one person that end this soon after each other were cut; one alone may have reached its lifetime.
CUT_WITHIN_S = 150.0
_ROWS_PER_STATEMENT = 500


@dataclass(slots=True)
class PersonReport:
    """The sum of one person's reports of one cohort. `slow` are those of the `delivered` that came too late."""

    attempts: int = 0
    failures: int = 0
    fallbacks: int = 0
    reconnects: int = 0
    delivered: int = 0
    slow: int = 0

    @classmethod
    def of(cls, report: ClientReport, max_lag_s: float) -> Self:
        one = report.scale_down()
        slow = sum(lag > max_lag_s * 1_000 for lag in one.lag_ms)
        return cls(one.attempts, one.failures, one.fallbacks, one.reconnects, len(one.lag_ms), slow)

    @property
    def has_connected(self) -> bool:
        """True if it tells of connects, not only of deliveries."""
        return bool(self.attempts or self.fallbacks or self.reconnects)

    def __iadd__(self, other: Self) -> Self:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self


Reports = Mapping[tuple[str, str], PersonReport]
"""By cohort and user name."""


def save_reports(
    session: Session, flag: Flag, since_ms: int, reports: Reports, now: float, window_s: float, secret: str
) -> None:
    """Add the reports to the stage that began at `since_ms`. Call it inside `db.write()`, after the lock of
    `client_reports.add_totals`.

    Reports from the first 40 s of somebody who was in the cohort before may tell of that time and do not count; those
    of the people who were just let in do.
    """
    people = {(hash_person(user, secret), cohort): report for (cohort, user), report in reports.items()}
    known = _load_rows(session, flag, sorted({person for person, _cohort in people}))
    period = int(now // window_s)
    rows: list[dict[str, object]] = []
    for (person, cohort), report in sorted(people.items(), key=lambda item: item[0]):
        mine = known.get((person, cohort), [])
        if now < since_ms / 1_000 + REPORT_DELAY_S and any(row.since_ms < since_ms for row in mine):
            continue
        cut_at = max((row.cut_at for row in mine), default=0.0)
        cuts = report.reconnects if report.reconnects > 1 or 0 < cut_at > now - CUT_WITHIN_S else 0
        bad = max(report.failures + cuts, report.fallbacks)
        # Polls are only compared with, over the whole stage; most of them exceed the limit and change nothing.
        wanted = ((WHOLE_STAGE, *MAX_OF_STAGE), (period, *MAX_OF_PERIOD))[: 1 if cohort == "polling" else 2]
        for which, most, most_delivered in wanted:
            row = next((row for row in mine if (row.since_ms, row.period) == (since_ms, which)), None)
            key = {"flag": flag, "since_ms": since_ms, "period": which, "cohort": cohort, "person": person}
            counters = {
                **_add(row, report, bad, most, most_delivered),
                "cut_at": now if report.reconnects else cut_at,
            }
            if row is None or any(getattr(row, name) != value for name, value in counters.items()):
                rows.append(key | counters)
    _upsert(session, rows)
    old = sa.and_(WitnessRow.period != WHOLE_STAGE, WitnessRow.period < period - 1)
    session.execute(sa.delete(WitnessRow).where(WitnessRow.flag == flag, old))


def load_cohort(session: Session, flag: Flag, since_ms: int, cohort: str, periods: Sequence[int]) -> CohortEvidence:
    """The evidence of a cohort in a stage: the whole of it, or of some periods of the guardrail's window."""
    row = WitnessRow
    sums = [
        sa.func.sum(column).label(name)
        for name, column in (
            ("connects", row.connects), ("failures", row.failures), ("delivered", row.delivered), ("slow", row.slow),
        )
    ]  # fmt: skip
    where = (row.flag == flag, row.since_ms == since_ms, row.cohort == cohort, row.period.in_(periods))
    by_person = sa.select(*sums).where(*where).group_by(row.person).subquery()
    people = by_person.c

    def count(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
        return sa.func.coalesce(sa.func.sum(sa.case((condition, 1), else_=0)), 0)

    def add(column: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
        return sa.func.coalesce(sa.func.sum(column), 0)

    totals = session.execute(
        sa.select(
            count(people.connects + people.delivered > 0),
            add(people.connects),
            add(people.failures),
            add(people.delivered),
            add(people.slow),
            count(people.failures > 0),
            count(people.slow > 0),
            sa.func.coalesce(sa.func.max(people.connects), 0),
        )
    ).one()
    worst = session.execute(
        sa.select(people.connects, people.failures).order_by(people.failures.desc(), people.connects).limit(1)
    ).first()
    number, connects, failures, delivered, slow, failing, slow_people, most = (int(number) for number in totals)
    worst_connects, worst_failures = (0, 0) if worst is None else (int(worst[0]), int(worst[1]))
    return CohortEvidence(
        number, connects, failures, delivered, slow, failing, slow_people, worst_connects, worst_failures, most
    )


def load_people(session: Session, flag: Flag) -> set[str]:
    """The hashes of everybody whose pages reported in this stage or the one before."""
    query = sa.select(WitnessRow.person).where(WitnessRow.flag == flag, WitnessRow.period == WHOLE_STAGE).distinct()
    return set(session.scalars(query))


def delete_before(session: Session, flag: Flag, since_ms: int) -> None:
    """Forget the people of the stages that began before. Call it inside `db.write()`."""
    session.execute(sa.delete(WitnessRow).where(WitnessRow.flag == flag, WitnessRow.since_ms < since_ms))


def hash_person(user: str, secret: str) -> str:
    return hmac.new(secret.encode(), f"rollout:{user}".encode(), hashlib.sha256).hexdigest()[:24]


class _KnownRow(NamedTuple):
    """A row that is stored already. Not the mapped object, which takes ten times as long to load."""

    person: str
    cohort: str
    since_ms: int
    period: int
    connects: int
    failures: int
    delivered: int
    slow: int
    cut_at: float


_COLUMNS = [getattr(WitnessRow, name) for name in _KnownRow._fields]


def _load_rows(session: Session, flag: Flag, people: Sequence[str]) -> dict[tuple[str, str], list[_KnownRow]]:
    """By person and cohort, of all stages."""
    found: dict[tuple[str, str], list[_KnownRow]] = {}
    for start in range(0, len(people), _ROWS_PER_STATEMENT):
        some = people[start : start + _ROWS_PER_STATEMENT]
        query = sa.select(*_COLUMNS).where(WitnessRow.flag == flag, WitnessRow.person.in_(some))
        for row in map(_KnownRow._make, session.execute(query)):
            found.setdefault((row.person, row.cohort), []).append(row)
    return found


def add_bounded(before: tuple[int, int], more: tuple[int, int], most: int) -> tuple[int, int]:
    """A number and how many of it were bad, after more of both. What exceeds `most` is left out in the same
    proportions, and there are never more bad ones than there are in all. Pure."""
    share = min(1.0, (most - before[0]) / max(1, more[0]))
    number = before[0] + round(more[0] * share)
    return number, min(number, before[1] + round(more[1] * share))


def _add(row: _KnownRow | None, report: PersonReport, bad: int, most: int, most_delivered: int) -> dict[str, int]:
    """The new counters of a row."""
    connects, lags = ((0, 0), (0, 0)) if row is None else ((row.connects, row.failures), (row.delivered, row.slow))
    connected, failed = add_bounded(connects, (report.attempts, bad), most)
    delivered, slow = add_bounded(lags, (report.delivered, report.slow), most_delivered)
    return {"connects": connected, "failures": failed, "delivered": delivered, "slow": slow}


def _upsert(session: Session, rows: Sequence[Mapping[str, object]]) -> None:
    if not rows:
        return
    insert = insert_into(WitnessRow)
    names = ("connects", "failures", "delivered", "slow", "cut_at")
    upsert = insert.on_conflict_do_update(
        index_elements=["flag", "since_ms", "period", "cohort", "person"],
        set_={name: insert.excluded[name] for name in names},
    )
    session.execute(upsert, list(rows))
