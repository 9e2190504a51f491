"""`/api/rollout/{flag}`: where a flag stands, and the percentage and the kill switch as people set them."""

from typing import Annotated, Any, Self

from flask import Blueprint, Response, current_app, jsonify, request
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from app.accounts.access import actor, require
from app.db import db, write
from app.errors import Problem
from app.rollout import store
from app.rollout.flags import Flag, Flags
from app.rollout.store import MAX_REASON, Expected, Standing

bp = Blueprint("rollout", __name__)


def _storable(text: str) -> str:
    """Neither half a surrogate pair nor NUL, which no database takes."""
    if "\0" in text or any("\ud800" <= sign <= "\udfff" for sign in text):
        raise ValueError("expected text without NUL and unpaired surrogates")
    return text


def _members(given: object) -> object:
    """A bare number means the percentage."""
    return {"percentage": given} if isinstance(given, int) and not isinstance(given, bool) else given


Percentage = Annotated[int, Field(ge=0, le=100)]
_Worded = StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_REASON)
Reason = Annotated[str, _Worded, AfterValidator(_storable)]


class Seen(BaseModel):
    """What the caller saw before deciding; what is left out may have changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    percentage: Percentage | None = None
    enabled: bool | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.percentage is None and self.enabled is None:
            raise ValueError("expected percentage, enabled or both")
        return self


class Setting(BaseModel):
    """What `PUT /api/rollout/{flag}` takes: `percentage`, `enabled` or both; what is left out or null stays."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    percentage: Percentage | None = None
    enabled: bool | None = None
    reason: Reason
    expected: Annotated[Seen, BeforeValidator(_members)] | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.percentage is None and self.enabled is None:
            raise ValueError("expected percentage, enabled or both")
        return self


@bp.get("/api/rollout/<flag>")
@require("viewer", scope=("read", "rollout"))
def standing(flag: str) -> Response:
    """`{flag, enabled, percentage, mode, workers, actor, changedAt, override?}`.

    `actor` and `changedAt` are null for a flag that nobody touched yet. `workers` is null: who follows is not
    counted. `override` is `on` or `off` where `BEACON_FLAG_…` decides for everyone, whatever the rollout says.
    """
    named = _named(flag)
    return jsonify(_shown(named, store.standing(db.session(), named)))


@bp.put("/api/rollout/<flag>")
@require("product", scope="rollout")
def change(flag: str) -> Response:
    """Where the flag stands now; every worker follows within a second.

    `enabled: false` is the kill switch: the percentage is kept for turning on again. `expected` is the percentage
    that the caller saw, or `{percentage?, enabled?}`: `409`, with where it stands as `current`, once that has changed.
    """
    named, wanted = _named(flag), Setting.model_validate(request.get_json())
    seen = wanted.expected
    expected = None if seen is None else Expected(seen.percentage, seen.enabled)
    try:
        with write() as session:
            store.change(session, named, actor().name, wanted.reason, wanted.percentage, wanted.enabled, expected)
            now = store.standing(session, named)
    except store.Moved as error:
        raise _moved(named, error.now) from error
    return jsonify(_shown(named, now))


def _named(flag: str) -> Flag:
    try:
        return store.flag_named(flag)
    except store.BadRollout as error:
        raise Problem(404, "No such flag", f"The flags are {', '.join(Flag)}.") from error


def _moved(flag: Flag, now: Standing) -> Problem:
    state = "on" if now.rollout.enabled else "switched off"
    detail = f"{flag} is at {now.rollout.percentage} % and {state} by now: look again, then decide."
    return Problem(409, "Changed meanwhile", detail, current=_shown(flag, now))


def _shown(flag: Flag, now: Standing) -> dict[str, Any]:
    shown = {
        "flag": flag,
        "enabled": now.rollout.enabled,
        "percentage": now.rollout.percentage,
        "mode": "embedded",
        "workers": None,
        "actor": now.actor,
        "changedAt": now.changed_at,
    }
    flags: Flags = current_app.extensions["beacon_flags"]
    override = flags.overrides.get(flag)
    return shown if override is None else {**shown, "override": "on" if override else "off"}
