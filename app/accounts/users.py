"""Users and tokens as an administrator changes them; every change is audited and reaches open streams."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from werkzeug.security import check_password_hash, generate_password_hash

from app.accounts import tokens
from app.accounts.models import ApiToken, User
from app.accounts.passwords import weakness
from app.accounts.user_changes import Change, apply
from app.audit import chain
from app.eventlog.append import NewEvent, append
from app.eventlog.audience import ROLES
from app.eventlog.event_types import TokenRevoked
from app.infra import concurrency
from app.infra.clock import utc_text

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
NAME_RULE = "a name is 1 to 64 letters, digits and . _ @ -, and begins with a letter or digit"
# Of a token for which nobody named another time.
TOKEN_DAYS = 90.0
MAX_TOKEN_DAYS = 36_500
MAX_TOKENS = 50
# Hashing takes a core for a tenth of a second, on purpose: more at once would only slow all of them.
HASHES_AT_ONCE = 2
HASH_WAIT_S = 5.0
_hashing = threading.BoundedSemaphore(HASHES_AT_ONCE)


class BadInput(ValueError):
    """What was asked for cannot be done; the text says what to do instead."""


class Unknown(BadInput):
    """There is no such user, or no such live token."""


class Taken(BadInput):
    """There is a user of this name already."""


class TooManyTokens(BadInput):
    """The user has as many live tokens as anybody may have."""


class LastAdmin(BadInput):
    """Nobody would be left who could undo it."""


def find(session: Session, name: str) -> User:
    user: User | None = session.scalar(sa.select(User).where(User.name == name))
    if user is None:
        raise Unknown(f"there is no user {name}; beacon user list shows them")
    return user


def everyone(session: Session) -> list[User]:
    return list(session.scalars(sa.select(User).order_by(User.name)))


def add(session: Session, name: str, role: str, password: str, by: str) -> User:
    if not NAME.fullmatch(name):
        raise BadInput(NAME_RULE)
    if role not in ROLES:
        raise BadInput(f"a role is one of {', '.join(ROLES)}")
    weak = weakness(password, name)
    if weak:
        raise BadInput(weak)
    return enrol(session, name, role, generate_password_hash(password), by)


def enrol(session: Session, name: str, role: str, password_hash: str, by: str) -> User:
    """Like `add`, for whoever has checked what was given and hashed the password before the transaction."""
    if session.scalar(sa.select(User.id).where(User.name == name)):
        raise Taken(f"there is a user {name} already")
    user = User(name=name, role=role, password_hash=password_hash, created_at=utc_text())
    session.add(user)
    try:
        session.flush()
    except IntegrityError as error:  # on PostgreSQL two may ask at once
        raise Taken(f"there is a user {name} already") from error
    chain.record(session, chain.Entry(by, "user-add", name, after={"role": role}))
    return user


def disable(session: Session, name: str, by: str) -> None:
    """The user's sessions and tokens stop working at once; the row stays, because the audit names it.

    For the command line, where also the last administrator may go: whoever sits there can add another.
    """
    user = find(session, name)
    if user.disabled_at:
        raise BadInput(f"{name} is disabled already")
    apply(session, user, Change(disabled=True), by)


def change(session: Session, name: str, wanted: Change, by: str) -> User:
    """Make `wanted` of the user; raises `Unknown`, and `LastAdmin` rather than leave nobody who administers."""
    # Locked in one order by everyone: two administrators may be about to demote each other.
    enabled = sa.select(User.id).where(User.role == "admin", User.disabled_at.is_(None)).order_by(User.id)
    admins = list(session.scalars(enabled.with_for_update()))
    user = find(session, name)
    if admins == [user.id] and (wanted.disabled or wanted.role not in (None, "admin")):
        raise LastAdmin(f"{name} is the last enabled administrator; make someone else an admin first")
    apply(session, user, wanted, by)
    return user


def add_token(session: Session, name: str, scopes: list[str], days: float | None, by: str) -> tuple[ApiToken, str]:
    """Its row and its text. Without `days` it lives for `TOKEN_DAYS`; each way to refuse it is a `BadInput`."""
    unknown = sorted(set(scopes) - set(tokens.SCOPES))
    if unknown or not scopes:
        raise BadInput(f"a scope is one of {', '.join(tokens.SCOPES)}" + (f", not {unknown[0]}" if unknown else ""))
    if days is not None and not 0 < days <= MAX_TOKEN_DAYS:  # refuses NaN too
        detail = f"without it a token expires in {TOKEN_DAYS:.0f} days"
        raise BadInput(f"--days is more than 0 and at most {MAX_TOKEN_DAYS}; {detail}")
    user = find(session, name)
    if tokens.count_live(session, user) >= MAX_TOKENS:
        raise TooManyTokens(f"{name} has {MAX_TOKENS} live tokens, which is the most: revoke one that is not used")
    row, text = tokens.create(session, user, scopes, TOKEN_DAYS if days is None else days)
    made = {"token": row.id, "scopes": row.scopes, "expiresAt": row.expires_at}
    chain.record(session, chain.Entry(by, "token-create", name, after=made))
    return row, text


def revoke_token(session: Session, token_id: int, by: str) -> None:
    row = session.get(ApiToken, token_id)
    if row is None or row.revoked_at:
        raise Unknown(f"there is no live token {token_id}; beacon token list shows them")
    row.revoked_at = utc_text()
    chain.record(session, chain.Entry(by, "token-revoke", row.user.name, before={"token": token_id}))
    append(session, [NewEvent("control.token_revoked", TokenRevoked(token=token_id), "control")])


class TooBusy(Exception):
    """Too many passwords are being checked at once: ask again in a moment."""


def verify_password(user: User | None, password: str) -> bool:
    """True for the right password of a user who is not disabled; takes as long when there is no such user.

    It may wait for seconds: the caller holds no database connection meanwhile. Raises `TooBusy`.
    """
    with _turn():
        # On the event loop it would hold up every stream of the worker.
        matches = bool(
            concurrency.run_in_thread(check_password_hash, user.password_hash if user else _nobody(), password)
        )
    return matches and user is not None and user.disabled_at is None


def hash_password(password: str) -> str:
    """What is kept of a new password. It may wait like `verify_password`, and raises `TooBusy` too."""
    with _turn():
        return str(concurrency.run_in_thread(generate_password_hash, password))


@contextmanager
def _turn() -> Iterator[None]:
    if not _hashing.acquire(timeout=HASH_WAIT_S):
        raise TooBusy
    try:
        yield
    finally:
        _hashing.release()


@cache
def _nobody() -> str:
    """A hash to compare with when there is no such user, so that the answer takes as long."""
    return generate_password_hash("nobody")
