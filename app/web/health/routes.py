"""`/healthz`: the process answers. `/readyz`: it can take traffic, with the state of each part."""

from typing import Any

from flask import jsonify
from flask.typing import ResponseReturnValue

from app.background import get_background
from app.components import components
from app.web.health import bp


@bp.get("/healthz")
def healthz() -> ResponseReturnValue:
    return jsonify(status="ok")


@bp.get("/readyz")
def readyz() -> ResponseReturnValue:
    now = get_background()
    parts = {
        "database": components().readiness.database_state(),
        "log": "degraded" if now.is_degraded() else "ok" if now.started else "not started",
        "streams": "draining" if now.hub.draining else "ok",
    }
    ready = all(state == "ok" for state in parts.values())
    # Without Unleash the known flags stay in force: reported, but no reason to refuse traffic.
    provider = components().provider
    if provider.mode != "embedded":
        parts["flags"] = provider.describe_problem() or "ok"
    answer: dict[str, Any] = {"status": "ready" if ready else "not ready", "parts": parts}
    if now.wal is not None:  # the holder is only in the log, because this endpoint is public
        answer["wal"] = {"bytes": now.wal.state.size, "ageS": round(now.wal.state.age_s)}
    return jsonify(answer), 200 if ready else 503
