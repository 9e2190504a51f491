"""Adds, changes and disables users and their tokens; every change is audited and reaches open streams."""

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
from app.accounts.passwords import find_weakness
from app.accounts.user_changes import UserChange, apply_change
from app.audit import chain
from app.eventlog.append import NewEvent, append
from app.eventlog.audience import ROLES
from app.eventlog.event_types import TokenRevoked
from app.infra import concurrency
from app.infra.clock import utc_text

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
NAME_RULE = "a name is 1 to 64 letters, digits and . _ @ -, and begins with a letter or digit"
# Beacon's own actors in the audit and the history of rollouts.
RESERVED_NAMES = frozenset({"beacon", "guardrail", "plan", "unleash"})
# Lifetime of a token that is created without one.
DEFAULT_TOKEN_DAYS = 90.0
MAX_TOKEN_DAYS = 36_500
MAX_TOKENS_PER_USER = 50
# A hash deliberately takes a core for a tenth of a second; more at once would only slow down all of them.
MAX_CONCURRENT_HASHES = 2
HASH_WAIT_S = 5.0
_hashing = threading.BoundedSemaphore(MAX_CONCURRENT_HASHES)


class BadInput(ValueError):
    """The request is invalid; the text says what to do instead."""


class UnknownUserOrToken(BadInput):
    """There is no such user, or no such active token."""


class NameTaken(BadInput):
    """A user with this name exists."""


class TooManyTokens(BadInput):
    """The user has the maximum number of active tokens."""


class LastAdmin(BadInput):
    """The change would leave no enabled administrator, so nobody could undo it."""


def find(session: Session, name: str) -> User:
    return _require(session.scalar(_select(name)), name)


def find_for_change(session: Session, name: str) -> User:
    """Like `find`, and nobody else changes this user or their credentials before the end of the transaction.

    Without the lock, a token created during a password reset on PostgreSQL would outlive it.
    """
    return _require(session.scalar(_select(name).with_for_update(key_share=True)), name)


def can_still_log_in(session: Session, user: User) -> bool:
    """True if the user was neither disabled nor given another password since `user` was read; neither can happen
    before the end of this transaction."""
    now = session.scalar(_select(user.name).with_for_update(key_share=True))
    return now is not None and now.disabled_at is None and now.credential_generation == user.credential_generation


def _select(name: str) -> sa.Select[User]:
    return sa.select(User).where(User.name == name)


def _require(user: User | None, name: str) -> User:
    if user is None:
        raise UnknownUserOrToken(f"there is no user {name}; list users with: beacon user list")
    return user


def list_users(session: Session) -> list[User]:
    return list(session.scalars(sa.select(User).order_by(User.name)))


def find_name_problem(name: str) -> str | None:
    """Why a new user cannot have this name; None if they can."""
    if not NAME_PATTERN.fullmatch(name):
        return NAME_RULE
    if name.casefold() in RESERVED_NAMES:
        return f"{name} is a name that Beacon uses for what it does by itself; choose another one"
    return None


def list_reserved(session: Session) -> list[str]:
    """The enabled users with a reserved name, from before it was reserved. Everything works for them, but readers of
    the audit cannot tell them from Beacon."""
    query = sa.select(User.name).where(sa.func.lower(User.name).in_(RESERVED_NAMES), User.disabled_at.is_(None))
    return list(session.scalars(query.order_by(User.name)))


def add(session: Session, name: str, role: str, password: str, by: str) -> User:
    problem = find_name_problem(name)
    if problem:
        raise BadInput(problem)
    if role not in ROLES:
        raise BadInput(f"a role is one of {', '.join(ROLES)}")
    weak = find_weakness(password, name)
    if weak:
        raise BadInput(weak)
    return create_user(session, name, role, generate_password_hash(password), by)


def create_user(session: Session, name: str, role: str, password_hash: str, by: str) -> User:
    """Like `add`, for a caller that validated the input and hashed the password before the transaction."""
    if session.scalar(sa.select(User.id).where(User.name == name)):
        raise NameTaken(f"user {name} already exists")
    user = User(name=name, role=role, password_hash=password_hash, created_at=utc_text())
    session.add(user)
    try:
        session.flush()
    except IntegrityError as error:  # PostgreSQL: a concurrent transaction added the same name
        raise NameTaken(f"user {name} already exists") from error
    chain.record(session, chain.Entry(by, "user-add", name, after={"role": role}))
    return user


def disable(session: Session, name: str, by: str) -> None:
    """Disable the user: sessions and tokens stop working at once. The row stays, because the audit names it.

    This is for the command line, which may also disable the last administrator, because it can add another one.
    """
    user = find_for_change(session, name)
    if user.disabled_at:
        raise BadInput(f"{name} is already disabled")
    apply_change(session, user, UserChange(disabled=True), by)


def change(session: Session, name: str, wanted: UserChange, by: str) -> User:
    """Apply `wanted` to the user. Raises `UnknownUserOrToken`, or `LastAdmin` if no administrator would be left."""
    # Always locked in the same order, because two administrators may demote each other at the same time.
    enabled = sa.select(User.id).where(User.role == "admin", User.disabled_at.is_(None)).order_by(User.id)
    admins = list(session.scalars(enabled.with_for_update()))
    user = find_for_change(session, name)
    if admins == [user.id] and (wanted.disabled or wanted.role not in (None, "admin")):
        raise LastAdmin(f"{name} is the last enabled administrator; make someone else an admin first")
    apply_change(session, user, wanted, by)
    return user


def change_password(session: Session, name: str, password: str, by: str) -> None:
    """Set a new password. Raises `UnknownUserOrToken`, or `BadInput` if it is weak."""
    user = find_for_change(session, name)
    weak = find_weakness(password, name)
    if weak:
        raise BadInput(weak)
    apply_change(session, user, UserChange(password_hash=generate_password_hash(password)), by)


def add_token(session: Session, name: str, scopes: list[str], days: float | None, by: str) -> tuple[ApiToken, str]:
    """Create a token; return its row and its text. `days` defaults to `DEFAULT_TOKEN_DAYS`. Raises `BadInput`."""
    unknown = sorted(set(scopes) - set(tokens.SCOPES))
    if unknown or not scopes:
        raise BadInput(f"a scope is one of {', '.join(tokens.SCOPES)}" + (f", not {unknown[0]}" if unknown else ""))
    if days is not None and not 0 < days <= MAX_TOKEN_DAYS:  # also refuses NaN
        detail = f"without it a token expires in {DEFAULT_TOKEN_DAYS:.0f} days"
        raise BadInput(f"--days must be more than 0 and at most {MAX_TOKEN_DAYS}; {detail}")
    user = find_for_change(session, name)
    if tokens.count_active(session, user) >= MAX_TOKENS_PER_USER:
        raise TooManyTokens(
            f"{name} has {MAX_TOKENS_PER_USER} active tokens, which is the maximum; revoke one that is not used"
        )
    row, text = tokens.create(session, user, scopes, DEFAULT_TOKEN_DAYS if days is None else days)
    made = {"token": row.id, "scopes": row.scopes, "expiresAt": row.expires_at}
    chain.record(session, chain.Entry(by, "token-create", name, after=made))
    return row, text


def revoke_token(session: Session, token_id: int, by: str) -> None:
    row = session.get(ApiToken, token_id)
    if row is None or row.revoked_at:
        raise UnknownUserOrToken(f"there is no active token {token_id}; list tokens with: beacon token list")
    row.revoked_at = utc_text()
    chain.record(session, chain.Entry(by, "token-revoke", row.user.name, before={"token": token_id}))
    append(session, [NewEvent("control.token_revoked", TokenRevoked(token=token_id), "control")])


class TooBusy(Exception):
    """Too many passwords are being hashed at the moment; try again shortly."""


def verify_password(user: User | None, password: str) -> bool:
    """True if the password is right and the user is enabled; takes the same time if there is no such user.

    It may wait for seconds, so the caller must not hold a database connection. Raises `TooBusy`.
    """
    with _hashing_slot():
        # On a thread, because on the event loop it would block every stream of the worker.
        matches = bool(
            concurrency.run_in_thread(check_password_hash, user.password_hash if user else _dummy_hash(), password)
        )
    return matches and user is not None and user.disabled_at is None


def hash_password(password: str) -> str:
    """The hash to store for a new password. It may wait like `verify_password`. Raises `TooBusy`."""
    with _hashing_slot():
        return str(concurrency.run_in_thread(generate_password_hash, password))


@contextmanager
def _hashing_slot() -> Iterator[None]:
    if not _hashing.acquire(timeout=HASH_WAIT_S):
        raise TooBusy
    try:
        yield
    finally:
        _hashing.release()


@cache
def _dummy_hash() -> str:
    """A hash to compare with if there is no such user, so that the check takes the same time."""
    return generate_password_hash("nobody")
