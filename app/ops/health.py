"""`/healthz`: the process answers. `/readyz`: it can take traffic, with the state of each part."""

import sqlalchemy as sa
from flask import Blueprint, current_app, jsonify
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import SQLAlchemyError

from app import trouble
from app.db import db
from app.lifecycle import live

bp = Blueprint("health", __name__)


@bp.get("/healthz")
def healthz() -> ResponseReturnValue:
    return jsonify(status="ok")


@bp.get("/readyz")
def readyz() -> ResponseReturnValue:
    now = live()
    parts = {
        "database": _database(),
        "log": "degraded" if now.is_degraded() else "ok" if now.started else "not started",
        "streams": "draining" if now.hub.draining else "ok",
    }
    ready = all(state == "ok" for state in parts.values())
    # Known flags go on without Unleash: said, but no reason to take no traffic.
    provider = current_app.extensions["beacon_rollout"]
    if provider.mode != "embedded":
        parts["flags"] = provider.note() or "ok"
    return jsonify(status="ready" if ready else "not ready", parts=parts), 200 if ready else 503


def _database() -> str:
    """A standby answers every look, and takes nothing."""
    try:
        db.session.execute(sa.text("SELECT 1 FROM event_floor"))
        if db.engine.dialect.name == "postgresql" and db.session.scalar(sa.text("SHOW transaction_read_only")) == "on":
            return "read-only"
    except SQLAlchemyError as error:
        return trouble.of(error).state
    return "ok"
