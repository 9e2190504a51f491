"""Changes to a user: each one is audited, ends login sessions where needed, and reaches open streams."""

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.accounts import tokens
from app.accounts.models import LoginSession, User
from app.audit import chain
from app.eventlog.append import NewEvent, append
from app.eventlog.event_types import UserChanged
from app.infra.clock import utc_text


@dataclass(frozen=True, slots=True)
class UserChange:
    """The new values of a user; None leaves a value as it is."""

    role: str | None = None
    password_hash: str | None = None
    disabled: bool | None = None


def apply_change(session: Session, user: User, wanted: UserChange, by: str) -> None:
    """Apply the change; call it last inside `db.write()`. Values that do not change are not audited.

    A new role, a new password and disabling end the user's streams on every worker. The latter two also end the login
    sessions and revoke the API tokens, so that a stolen token does not work again once the user is enabled. A new role
    keeps the tokens, because they never allow more than the role does.
    """
    entries = [
        *_change_role(user, wanted, by),
        *_change_password(user, wanted, by),
        *_change_disabled(user, wanted, by),
    ]
    done = {entry.action_type for entry in entries}
    if done & {"user-password", "user-disable"}:
        _end_logins(session, user)
        user.credential_generation += 1
        entries += _revoke_tokens(session, user, by)
    for entry in entries:
        chain.record(session, entry)
    if done - {"user-enable"}:
        append(session, [NewEvent("control.user_changed", UserChanged(user=user.name), "control")])


def _change_role(user: User, wanted: UserChange, by: str) -> Iterator[chain.Entry]:
    if wanted.role is not None and wanted.role != user.role:
        yield chain.Entry(by, "user-role", user.name, before={"role": user.role}, after={"role": wanted.role})
        user.role = wanted.role


def _change_password(user: User, wanted: UserChange, by: str) -> Iterator[chain.Entry]:
    if wanted.password_hash is not None:
        user.password_hash = wanted.password_hash
        yield chain.Entry(by, "user-password", user.name)


def _change_disabled(user: User, wanted: UserChange, by: str) -> Iterator[chain.Entry]:
    was = user.disabled_at is not None
    if wanted.disabled is None or wanted.disabled == was:
        return
    user.disabled_at = utc_text() if wanted.disabled else None
    action = "user-disable" if wanted.disabled else "user-enable"
    yield chain.Entry(by, action, user.name, before={"disabled": was}, after={"disabled": wanted.disabled})


def _revoke_tokens(session: Session, user: User, by: str) -> Iterator[chain.Entry]:
    for token_id in tokens.revoke_all(session, user):
        yield chain.Entry(by, "token-revoke", user.name, before={"token": token_id})


def _end_logins(session: Session, user: User) -> None:
    live = sa.update(LoginSession).where(LoginSession.user_id == user.id, LoginSession.ended_at.is_(None))
    session.execute(live.values(ended_at=utc_text()))
