"""Guessing passwords is slow on every worker at once, because failures are counted in a table."""

from datetime import timedelta

import sqlalchemy as sa

from app.accounts.models import FailedLogin, User
from app.accounts.people import NAME
from app.audit import gather
from app.clock import utc_now, utc_text
from app.db import db, write

WINDOW_MINUTES = 5
MAX_PER_NAME = 20
MAX_PER_ADDRESS = 60
NOBODY = "(no such user)"


def is_blocked(name: str, address: str) -> bool:
    since = _minute(WINDOW_MINUTES)
    recent = sa.select(sa.func.coalesce(sa.func.sum(FailedLogin.count), 0)).where(FailedLogin.minute >= since)
    session = db.session()
    by_name = session.scalar(recent.where(FailedLogin.name == name, FailedLogin.address == address)) or 0
    by_address = session.scalar(recent.where(FailedLogin.address == address)) or 0
    return by_name >= MAX_PER_NAME or by_address >= MAX_PER_ADDRESS


def note_failure(name: str, address: str, *, is_known: bool) -> None:
    """Count it, and let the audit know. A name that is nobody's may be a password typed into the wrong field: it is
    not told."""
    key = {"name": name[:64], "address": address, "minute": _minute(0)}
    with write() as session:
        session.execute(sa.delete(FailedLogin).where(FailedLogin.minute < _minute(60)))
        row = session.get(FailedLogin, tuple(key.values()))
        if row is None:
            session.add(FailedLogin(**key, count=1))
        else:
            row.count += 1
        gather.note(
            session, gather.Attempt("login-failed", "anonymous", name if is_known else NOBODY, gather.network(address))
        )


def note_blocked(attempts: gather.Attempts, name: str, address: str) -> None:
    """That somebody goes on guessing, though nothing is checked any more; written at most once a second."""
    known = db.session().scalar(sa.select(User.name).where(User.name == name)) if NAME.fullmatch(name) else None
    db.session.remove()  # writing may have to wait, and connections are few
    attempts.note(gather.Attempt("login-throttled", "anonymous", known or NOBODY, gather.network(address)))


def _minute(ago: int) -> str:
    return utc_text(utc_now() - timedelta(minutes=ago))[:16]
