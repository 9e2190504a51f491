"""Slows down password guessing: failed logins are counted in a table that all workers share.

Failures are counted by name and address together, by name, by address, and by known browser. The first few failures
of each are free; after that, each failure doubles the wait. The limit for an address is generous, so that one user's
mistakes do not lock out colleagues behind the same proxy. A known browser is counted on its own, so that somebody
else's guessing does not lock out its owner (OWASP: device cookies).
"""

import hashlib
import hmac
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.orm import Session

from app.accounts.models import LoginThrottle, User
from app.accounts.users import NAME_PATTERN
from app.audit import attempt_log
from app.db import db, insert_into, read, write
from app.infra.clock import utc_now

UNKNOWN_USER = "(no such user)"
# The weight of a failure halves every hour.
HALF_LIFE_S = 3_600.0
# After this time no possible count causes a wait any more.
FORGET_AFTER_S = 12 * HALF_LIFE_S


@dataclass(frozen=True, slots=True)
class ThrottlePolicy:
    """The first `free_failures` cause no wait; each one after that doubles it, up to `max_wait_s`."""

    free_failures: int
    max_wait_s: float

    def wait_s(self, failures: float) -> float:
        over = round(failures, 1) - self.free_failures  # rounded, so that failures of the last seconds count in full
        return 0.0 if over < 0 else min(self.max_wait_s, 2.0 ** min(over, 30.0))


POLICIES = {
    "name at address": ThrottlePolicy(free_failures=5, max_wait_s=900),
    # Guessing from many addresses, or a stranger who wants to lock the user out of a new browser.
    "name": ThrottlePolicy(free_failures=30, max_wait_s=60),
    # Guessing many names, or a whole company behind one proxy.
    "address": ThrottlePolicy(free_failures=100, max_wait_s=60),
    "browser": ThrottlePolicy(free_failures=10, max_wait_s=900),
}


class Throttled(Exception):
    """There were too many failures; the password was not checked. Try again after `wait_s`."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"wait {wait_s:.0f} s")
        self.wait_s = max(1, math.ceil(wait_s))


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """One login attempt and the keys that its outcome is counted under."""

    keys: tuple[tuple[str, str], ...]
    network: str


def start_attempt(name: str, address: str, browser: str | None) -> LoginAttempt:
    """Start a login attempt. `browser` is set if the browser is known for this name. Raises `Throttled`."""
    network = attempt_log.network_of(address)
    named = {"name at address": f"{name}\n{network}", "name": name, "address": network}
    counted = {"browser": browser} if browser is not None else named
    # Sorted, so that two attempts lock rows in the same order and cannot deadlock.
    attempt = LoginAttempt(tuple(sorted((kind, _hash_key(kind, value)) for kind, value in counted.items())), network)
    with read() as session:
        _raise_if_throttled(session.scalars(_select_rows(attempt.keys)).all())
    return attempt


def record_failure(attempt: LoginAttempt, name: str, *, is_known: bool) -> None:
    """Count the failure and audit it. An unknown name is not recorded: it may be a password in the wrong field."""
    now = utc_now().timestamp()
    with write() as session:
        session.execute(sa.delete(LoginThrottle).where(LoginThrottle.last_at < now - FORGET_AFTER_S))
        for row in _lock_or_create_rows(session, attempt.keys, now):
            row.failures, row.last_at = _remaining_failures(row, now) + 1, now
        target = name if is_known else UNKNOWN_USER
        attempt_log.record_attempt(session, attempt_log.Attempt("login-failed", "anonymous", target, attempt.network))


def record_success(attempt: LoginAttempt) -> None:
    """Forget this user's own failures here. Failures counted by name alone or by address alone stay.

    Raises `Throttled` if too many other attempts failed in the meantime: of many guesses sent in parallel, none
    succeeds once the limit is reached.
    """
    with write() as session:
        rows = _lock_rows(session, attempt.keys)
        _raise_if_throttled(rows)
        for row in rows:
            if row.kind in ("name at address", "browser"):
                session.delete(row)


def _raise_if_throttled(rows: Iterable[LoginThrottle]) -> None:
    now = utc_now().timestamp()
    wait_s = max(
        (POLICIES[row.kind].wait_s(_remaining_failures(row, now)) - _age_s(row, now) for row in rows), default=0.0
    )
    if wait_s > 0:
        raise Throttled(wait_s)


def record_throttled(attempts: attempt_log.AttemptRecorder, name: str, address: str) -> None:
    """Audit an attempt that was throttled; the same attempt is written at most once a second."""
    known = db.session().scalar(sa.select(User.name).where(User.name == name)) if NAME_PATTERN.fullmatch(name) else None
    db.session.remove()  # do not hold a pooled connection while the write waits
    attempts.record(
        attempt_log.Attempt("login-throttled", "anonymous", known or UNKNOWN_USER, attempt_log.network_of(address))
    )


def _remaining_failures(row: LoginThrottle, now: float) -> float:
    """The number of failures after decay."""
    return float(row.failures * 0.5 ** (_age_s(row, now) / HALF_LIFE_S))


def _age_s(row: LoginThrottle, now: float) -> float:
    """Seconds since the last failure. Absolute, so that a clock set back does not lengthen the wait."""
    return float(abs(now - row.last_at))


def _lock_or_create_rows(session: Session, keys: Sequence[tuple[str, str]], now: float) -> Sequence[LoginThrottle]:
    """Create the missing rows; return a row for each key, locked until the end of the transaction."""
    rows = [{"kind": kind, "key": key, "failures": 0.0, "last_at": now} for kind, key in keys]
    session.execute(insert_into(LoginThrottle).on_conflict_do_nothing(), rows)
    return _lock_rows(session, keys)


def _lock_rows(session: Session, keys: Sequence[tuple[str, str]]) -> Sequence[LoginThrottle]:
    """The existing rows for these keys, locked until the end of the transaction."""
    return session.scalars(_select_rows(keys).order_by(LoginThrottle.kind, LoginThrottle.key).with_for_update()).all()


def _select_rows(keys: Sequence[tuple[str, str]]) -> sa.Select[LoginThrottle]:
    return sa.select(LoginThrottle).where(sa.tuple_(LoginThrottle.kind, LoginThrottle.key).in_(keys))


def _hash_key(kind: str, value: str) -> str:
    """Keys are stored as hashes, because some names are passwords typed into the wrong field."""
    secret = str(current_app.secret_key or "").encode()
    return hmac.new(secret, f"{kind}\n{value}".encode(errors="replace"), hashlib.sha256).hexdigest()
