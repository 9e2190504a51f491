"""A fenced lease, held by one process of the whole deployment at a time.

Its holder may be stopped for minutes (a debugger, a paused machine) and then continue in the middle of a function as if
it still held the lease. So a variable is never trusted: every transaction under the lease begins with `guard`, which
the database checks against its own clock.
"""

import os
import secrets
import socket
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.db import Base, count_changed, insert_into, now_epoch, write

POLLER_LEASE = "poller"
LEASE_TTL_S = 10.0
LEASE_RENEW_EVERY_S = 3.0


class LeaseRow(Base):
    """`fence` grows whenever the holder changes and never decreases. `expires_at` is seconds since 1970."""

    __tablename__ = "lease"

    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    fence: Mapped[int]
    expires_at: Mapped[float]


class LeaseLost(Exception):
    """The lease has expired or another process holds it now: nothing may be written under it."""


@dataclass(frozen=True, slots=True)
class LeaseClaim:
    """The lease as it was acquired once. Work that begins under a claim ends under the same claim, or not at all."""

    name: str
    holder: str
    fence: int

    def guard(self, session: Session) -> None:
        """Run this as the first statement of every transaction under the lease. Raises `LeaseLost`.

        It is an UPDATE, which locks the row on PostgreSQL, so nobody can take over before the commit.
        """
        if not self.compare_and_set(session, fence=self.fence):
            raise LeaseLost(f"{self.holder} no longer holds the lease {self.name}")

    def compare_and_set(self, session: Session, **values: Any) -> bool:
        statement = (
            sa.update(LeaseRow)
            .where(
                LeaseRow.name == self.name,
                LeaseRow.holder == self.holder,
                LeaseRow.fence == self.fence,
                LeaseRow.expires_at > now_epoch(),
            )
            .values(**values)
        )
        return count_changed(session, statement) == 1


class Lease:
    """This process's handle on one named lease, with its claim while it holds the lease."""

    def __init__(self, name: str = POLLER_LEASE, ttl_s: float = LEASE_TTL_S, holder: str | None = None) -> None:
        self.name, self.ttl_s = name, ttl_s
        self.holder = holder or f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._claim: LeaseClaim | None = None

    def try_acquire(self) -> bool:
        """Acquire the lease if it is free or expired. One statement, so two processes cannot both succeed."""
        with write() as session:
            fence = session.execute(self._take()).scalar_one_or_none()
        self._claim = None if fence is None else LeaseClaim(self.name, self.holder, fence)
        return fence is not None

    def renew(self) -> bool:
        """Extend the lease by a whole TTL. If it was lost, drop the claim and return False."""
        with write() as session:
            mine = self._set(session, now_epoch() + self.ttl_s)
        if not mine:
            self._claim = None
        return mine

    def release(self) -> None:
        """Let another process acquire it at once. The row stays, so that its fence keeps growing."""
        with write() as session:
            self._set(session, 0.0)
        self._claim = None

    def claim(self) -> LeaseClaim:
        """Return the claim, for work that must not be finished under a later one. Raises `LeaseLost`."""
        claim = self._claim
        if claim is None:
            raise LeaseLost(f"{self.holder} does not hold the lease {self.name}")
        return claim

    def guard(self, session: Session) -> None:
        """`LeaseClaim.guard` for work of one transaction."""
        self.claim().guard(session)

    def _set(self, session: Session, expires_at: Any) -> bool:
        return self._claim is not None and self._claim.compare_and_set(session, expires_at=expires_at)

    def _take(self) -> sa.Executable:
        insert = insert_into(LeaseRow).values(
            name=self.name, holder=self.holder, fence=1, expires_at=now_epoch() + self.ttl_s
        )
        taken = {
            "holder": insert.excluded.holder,
            "fence": LeaseRow.fence + 1,
            "expires_at": insert.excluded.expires_at,
        }
        free = LeaseRow.expires_at <= now_epoch()
        return insert.on_conflict_do_update(index_elements=["name"], set_=taken, where=free).returning(LeaseRow.fence)
