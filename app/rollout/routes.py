"""`/api/rollout/{flag}`: where a flag stands, and the percentage and the kill switch as people set them."""

from typing import Annotated, Any, Self

from flask import Blueprint, Response, current_app, jsonify, request
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from app.accounts.access import actor, require
from app.clock import parse_utc, utc_now
from app.db import db
from app.errors import Problem, retry_after
from app.rollout import held, store, watch
from app.rollout.configuration import Flag
from app.rollout.flags import Flags
from app.rollout.online import online
from app.rollout.preview import MAX_NAMES, preview
from app.rollout.provider import Moved, Refused, View, provider
from app.rollout.store import MAX_REASON, Expected

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
    """`{flag, enabled, percentage, mode, workers, actor, changedAt, override?, note?, whyNot?, link?}`.

    `actor` and `changedAt` are null for a flag that nobody touched yet. `workers` is `{holding, total}`: how many of
    those that run hold what is shown; null where none runs. `override` is `on` or `off` where `BEACON_FLAG_…` decides
    for everyone, whatever the rollout says. With Unleash `percentage` is null where no single number says it; `whyNot`
    is why it can be changed only there, at `link`; `note` what is wrong with the way there.
    """
    which = named(flag)
    return jsonify(_shown(which, provider().view(db.session(), which)))


@bp.put("/api/rollout/<flag>")
@require("product", scope="rollout")
def change(flag: str) -> Response:
    """Where the flag stands now; every worker follows within a second.

    `enabled: false` is the kill switch: the percentage is kept for turning on again. `expected` is the percentage
    that the caller saw, or `{percentage?, enabled?}`: `409`, with where it stands as `current`, once that has changed.
    """
    which, wanted = named(flag), Setting.model_validate(request.get_json())
    seen = wanted.expected
    expected = None if seen is None else Expected(seen.percentage, seen.enabled)
    _check_guardrail(which, wanted)
    try:
        now = provider().change(which, actor().name, wanted.reason, wanted.percentage, wanted.enabled, expected)
    except Moved as error:
        raise _moved(which, error.now) from error
    except Refused as error:
        raise _refused(error) from error
    return jsonify(_shown(which, now))


@bp.get("/api/rollout/<flag>/preview")
@require("product", scope=("read", "rollout"))
def who_would_switch(flag: str) -> Response:
    """`{flag, percentage, enabled, online, comes, goes, comesTotal, goesTotal}` for `percentage=` (and `enabled=`).

    Of the people online now (streaming, or polling in the last minute), by name: who would be in and is not, who is in
    and would not be. At most 200 names each way; the totals are of all.
    """
    which = named(flag)
    percentage = _asked_percentage()
    kept = provider().view(db.session(), which).nominal.enabled
    enabled = {"true": True, "false": False}.get(request.args.get("enabled", ""), kept)
    db.session.remove()  # asking takes many turns of the loop, and connections are few
    people = online().everybody()
    found = preview(current_app.extensions["beacon_flags"], which, people, percentage, enabled)
    return jsonify(
        flag=which,
        percentage=percentage,
        enabled=enabled,
        online=found.online,
        comes=found.comes[:MAX_NAMES],
        goes=found.goes[:MAX_NAMES],
        comesTotal=len(found.comes),
        goesTotal=len(found.goes),
    )


def _check_guardrail(flag: Flag, wanted: Setting) -> None:
    """While it holds, nothing grows; taking back is always possible."""
    session = db.session()
    now, why = provider().view(session, flag).nominal, watch.blocked_by(session, flag)
    grows = (wanted.percentage or 0) > (now.percentage or 0) or (wanted.enabled is True and not now.enabled)
    if why is not None and grows:
        detail = f"The guardrail lets {flag} not grow now: {why}."
        raise Problem(409, "Held by the guardrail", detail, reason="guardrail")


def _asked_percentage() -> int:
    text = request.args.get("percentage", "")
    if not (text.isascii() and text.isdecimal() and len(text) <= 3 and int(text) <= 100):
        wanted = "a whole number from 0 to 100"
        raise Problem(400, "Bad percentage", f"percentage is {wanted}.", errors={"percentage": wanted})
    return int(text)


def named(flag: str) -> Flag:
    try:
        return store.flag_named(flag)
    except store.BadRollout as error:
        raise Problem(404, "No such flag", f"The flags are {', '.join(Flag)}.") from error


def _moved(flag: Flag, now: View) -> Problem:
    state = "on" if now.nominal.enabled else "switched off"
    where = now.nominal.why or f"at {now.nominal.percentage} %"
    by = f", changed by {now.actor} {_ago(now.changed_at)}" if now.actor and now.changed_at else ""
    detail = f"{flag} is {where} and {state} by now{by}: look again, then decide."
    return Problem(409, "Changed meanwhile", detail, current=_shown(flag, now))


def _refused(error: Refused) -> Problem:
    members: dict[str, Any] = {"reason": error.reason, **({"link": error.link} if error.link else {})}
    headers = retry_after(1, 5) if error.status == 503 else None
    return Problem(error.status, "Not changed", str(error), headers=headers, **members)


def _ago(at: str) -> str:
    minutes = int((utc_now() - parse_utc(at)).total_seconds() // 60)
    if minutes < 1:
        return "less than a minute ago"
    if minutes == 1:
        return "a minute ago"
    return f"{minutes} minutes ago" if minutes < 120 else f"on {at[:16].replace('T', ' at ')} UTC"


def _shown(flag: Flag, now: View) -> dict[str, Any]:
    found = held.holding(db.session(), flag, now.nominal)
    source = provider()
    shown = {
        "flag": flag,
        "enabled": now.nominal.enabled,
        "percentage": now.nominal.percentage,
        "mode": source.mode,
        "workers": None if found is None else {"holding": found.holding, "total": found.total},
        "actor": now.actor,
        "changedAt": now.changed_at,
    }
    more = {"note": source.note(), "whyNot": now.why_not, "link": now.link}
    shown |= {name: value for name, value in more.items() if value is not None}
    flags: Flags = current_app.extensions["beacon_flags"]
    override = flags.overrides.get(flag)
    return shown if override is None else {**shown, "override": "on" if override else "off"}
