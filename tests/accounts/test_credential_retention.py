"""What is long over is deleted, and nothing that works or that the audit still has to tell."""

from datetime import timedelta

import pytest
import sqlalchemy as sa
from flask import Flask

from app.accounts import credential_retention
from app.accounts.models import ApiToken, LoginSession
from app.db import db, read, write
from app.infra.clock import utc_now, utc_text
from app.web import idle_logins
from tests.support.cast import ALICE, bearer, logged_in, make_token


def days_ago(days: float) -> str:
    return utc_text(utc_now() - timedelta(days=days))


def count(app: Flask, table: type) -> int:
    with app.app_context(), read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(table)) or 0


def prune(app: Flask) -> None:
    with app.app_context():
        credential_retention.prune()


@pytest.mark.parametrize(
    ("values", "left"),
    [
        ({"ended_at": None}, 3),
        ({"ended_at": days_ago(29)}, 3),
        ({"ended_at": days_ago(31)}, 0),
        ({"expires_at": days_ago(31)}, 3),
    ],
)
def test_logins_go_a_month_after_they_ended(
    cast: Flask, monkeypatch: pytest.MonkeyPatch, values: dict[str, str | None], left: int
) -> None:
    monkeypatch.setattr(credential_retention, "BATCH_ROWS", 2)
    for _ in range(3):
        logged_in(cast, ALICE)
    with cast.app_context(), write() as session:
        session.execute(db.update(LoginSession).values(**values))
    prune(cast)
    assert count(cast, LoginSession) == left


def test_one_that_expired_while_nothing_ran_is_audited_before_it_goes(cast: Flask) -> None:
    logged_in(cast, ALICE)
    with cast.app_context():
        with write() as session:
            session.execute(db.update(LoginSession).values(expires_at=days_ago(400)))
        credential_retention.prune()
        assert idle_logins.end_idle_logins() == 1


@pytest.mark.parametrize(
    ("values", "left"),
    [
        ({"revoked_at": days_ago(89)}, 3),
        ({"revoked_at": days_ago(91)}, 1),
        ({"expires_at": days_ago(91)}, 1),
        ({"expires_at": None}, 3),
    ],
)
def test_tokens_go_ninety_days_after_they_ended(cast: Flask, values: dict[str, str | None], left: int) -> None:
    for _ in range(3):
        make_token(cast, ALICE, "read")
    with cast.app_context(), write() as session:
        session.execute(db.update(ApiToken).values(**values))
    prune(cast)
    assert count(cast, ApiToken) == left


def test_no_token_gets_the_id_of_one_that_was_deleted(cast: Flask) -> None:
    ids = [make_token(cast, ALICE, "read")[0] for _ in range(3)]
    with cast.app_context(), write() as session:
        session.execute(db.update(ApiToken).values(revoked_at=days_ago(400)))
    prune(cast)
    again, text = make_token(cast, ALICE, "read")
    assert again not in ids
    prune(cast)
    assert cast.test_client().get("/api/events", headers=bearer(text)).status_code == 200
