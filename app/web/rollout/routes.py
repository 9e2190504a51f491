"""API of a flag's rollout, `/api/rollout/{flag}`: state, changes, preview, evidence and history."""

from dataclasses import asdict
from typing import Annotated, Any, Self

from flask import Response, jsonify, request
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from app.components import components
from app.db import db
from app.flags.change_log import RolloutChange
from app.flags.document import Flag
from app.flags.embedded import MAX_REASON_LENGTH, ExpectedState
from app.flags.provider import FlagView, current_provider
from app.infra.problems import Problem
from app.rollout import changes_history, client_metrics, flag_changes
from app.rollout.flag_changes import require_flag
from app.rollout.online_users import online_users
from app.rollout.preview import MAX_LISTED_NAMES, preview_switches
from app.web.auth import actor, require
from app.web.rollout import bp

# Limit of history entries in one response; the audit log has all of them, until its retention deletes them.
MAX_HISTORY_ENTRIES = 500


def _reject_unstorable(text: str) -> str:
    """Reject NUL and unpaired surrogates, which databases do not store."""
    if "\0" in text or any("\ud800" <= sign <= "\udfff" for sign in text):
        raise ValueError("expected text without NUL and unpaired surrogates")
    return text


def _wrap_percentage(given: object) -> object:
    """A bare number means the percentage."""
    return {"percentage": given} if isinstance(given, int | float) and not isinstance(given, bool) else given


Percentage = Annotated[int, Field(ge=0, le=100)]
# In Unleash a flag may be at 12.5 %.
SeenPercentage = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
_ReasonLength = StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_REASON_LENGTH)
Reason = Annotated[str, _ReasonLength, AfterValidator(_reject_unstorable)]


class ExpectedBody(BaseModel):
    """The state that the caller saw before deciding; omitted fields are not compared."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    percentage: SeenPercentage | None = None
    enabled: bool | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.percentage is None and self.enabled is None:
            raise ValueError("expected percentage, enabled or both")
        return self


class RolloutBody(BaseModel):
    """The body of `PUT /api/rollout/{flag}`: `percentage`, `enabled` or both; omitted or null fields stay."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    percentage: Percentage | None = None
    enabled: bool | None = None
    reason: Reason
    expected: Annotated[ExpectedBody, BeforeValidator(_wrap_percentage)] | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.percentage is None and self.enabled is None:
            raise ValueError("expected percentage, enabled or both")
        return self


@bp.get("/api/rollout")
@require("viewer", scope=("read", "rollout"))
def list_flags() -> Response:
    """`{data: [{flag, owner, purpose, default, removeBy, stale, …}]}`: every declared flag with its state, as
    `GET /api/rollout/{flag}` returns it."""
    view = current_provider().view
    return jsonify(data=[_declared_as_json(flag, view(db.session(), flag)) for flag in Flag])


@bp.get("/api/rollout/<flag>")
@require("viewer", scope=("read", "rollout"))
def get_flag(flag: str) -> Response:
    """`{flag, enabled, percentage, mode, workers, inForce?, people?, actor, changedAt, override?, outcome?, note?,
    whyNot?, link?}`.

    `actor` and `changedAt` are null for a flag that was never changed. `workers` is `{holding, total}`: how many of the
    running workers have loaded this state; null if none runs. `inForce`, if one runs, is `[{enabled, percentage,
    workers}]`: what they have loaded. `people` is `{online, letIn, streaming}`: how many are online, how many of them
    all rules together let in, and how many stream; missing before a configuration is loaded. `outcome` describes who is
    in if switch and percentage do not. `override` is `on` or `off` if `BEACON_FLAG_…` decides for everyone, regardless
    of the rollout. With Unleash, `percentage` is null if no single number describes it; `whyNot` is why it can only be
    changed there, at `link`; `note` is a problem with the connection to Unleash.
    """
    which = require_flag(flag)
    said = flag_changes.flag_as_json(which, current_provider().view(db.session(), which))
    db.session.remove()  # who is in takes many turns of the event loop, and connections are few
    people = flag_changes.count_people()
    return jsonify(said if people is None else {**said, "people": people})


@bp.put("/api/rollout/<flag>")
@require("product", scope="rollout")
def put_flag(flag: str) -> Response:
    """Change the flag and return its new state; every worker follows within a second.

    `enabled: false` is the kill switch: the percentage is kept for switching on again. `expected` is the percentage
    that the caller saw, or `{percentage?, enabled?}`: `409`, with the state as `current`, if that has changed.
    """
    which, wanted = require_flag(flag), RolloutBody.model_validate(request.get_json())
    seen = wanted.expected
    expected = None if seen is None else ExpectedState(seen.percentage, seen.enabled)
    now = flag_changes.change_flag(which, actor().name, wanted.reason, wanted.percentage, wanted.enabled, expected)
    return jsonify(flag_changes.flag_as_json(which, now))


@bp.get("/api/rollout/<flag>/preview")
@require("product", scope=("read", "rollout"))
def get_preview(flag: str) -> Response:
    """`{flag, percentage, enabled, online, comes, goes, comesTotal, goesTotal, outcome?}` for `percentage=` (and
    `enabled=`).

    Lists the users online now (streaming, or polling in the last minute, as a page or as a program) who would be let in
    and those who would be excluded. At most 200 names each way; the totals count all. Names and totals are null if
    unknown: no configuration is loaded yet, or no single percentage describes the flag. `outcome` describes who will be
    in if switch and percentage alone do not.
    """
    which = require_flag(flag)
    percentage = _parse_whole_number("percentage", 0, 100)
    now = current_provider().view(db.session(), which)
    enabled = {"true": True, "false": False}.get(request.args.get("enabled", ""), now.state.enabled)
    outcome = flag_changes.describe_special_outcome(which, now, percentage, enabled)
    db.session.remove()  # the preview takes many turns of the event loop, and connections are few
    people = online_users().list_all()
    found = preview_switches(components().flags, which, people, percentage, enabled)
    return jsonify(
        flag=which,
        percentage=percentage,
        enabled=enabled,
        online=len(people),
        comes=None if found is None else found.comes[:MAX_LISTED_NAMES],
        goes=None if found is None else found.goes[:MAX_LISTED_NAMES],
        comesTotal=None if found is None else len(found.comes),
        goesTotal=None if found is None else len(found.goes),
        **({} if outcome is None else {"outcome": outcome}),
    )


@bp.get("/api/rollout/<flag>/evidence")
@require("viewer", scope=("read", "rollout"))
def get_evidence(flag: str) -> Response:
    """`{flag, minutes, cohorts: {streaming: […], polling: […]}, changes: […]}` of the last `minutes=` (60, 1 to 1,440).

    For each minute in which a cohort reported: `{at, reports, attempts, failures, fallbacks, reconnects, helloP95S,
    lagP95S}`, oldest first; times in seconds, null if none was measured. A missing minute is unknown. `changes` are
    `{at, actor, percentage, enabled}`: the changes of the flag in this period.
    """
    which = require_flag(flag)
    return jsonify(
        client_metrics.load_metrics(
            db.session(), which, _parse_whole_number("minutes", 1, client_metrics.MAX_MINUTES, 60)
        ).as_json()
    )


@bp.get("/api/rollout/<flag>/history")
@require("viewer", scope=("read", "rollout"))
def get_history(flag: str) -> Response:
    """`{flag, data: [{at, actor, action, reason, before, after, failed?, steps?}]}`, newest first, at most `limit=`
    (50, 1 to 500). `before` and `after` are `{enabled, percentage}`, null for entries of the plan."""
    which = require_flag(flag)
    found = changes_history.load_entries(
        db.session(), which, _parse_whole_number("limit", 1, MAX_HISTORY_ENTRIES, changes_history.DEFAULT_ENTRIES)
    )
    return jsonify(flag=which, data=[_entry_as_json(entry) for entry in found])


def _declared_as_json(flag: Flag, view: FlagView) -> dict[str, Any]:
    return {**flag_changes.flag_as_json(flag, view), **flag_changes.definition_as_json(flag)}


def _entry_as_json(entry: RolloutChange) -> dict[str, Any]:
    """`failed` and `steps` only if there are any."""
    said = {"at": entry.at, "actor": entry.actor, "action": entry.action, "reason": entry.reason}
    ends = {
        name: None if end is None else asdict(end) for name, end in (("before", entry.before), ("after", entry.after))
    }
    more = {"failed": entry.failed, "steps": entry.steps}
    return {**said, **ends, **{name: value for name, value in more.items() if value}}


def _parse_whole_number(name: str, least: int, most: int, usual: int | None = None) -> int:
    """Raises the 400 `Problem` if the parameter is invalid, or missing without a default."""
    text = request.args.get(name, "" if usual is None else str(usual))
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(most)) and least <= int(text) <= most):
        wanted = f"a whole number from {least} to {most}"
        raise Problem(400, f"Bad {name}", f"{name} is {wanted}.", errors={name: wanted})
    return int(text)
