"""`/api/rollout/{flag}`: where a flag stands, and the percentage and the kill switch as people set them."""

from typing import Annotated, Self

from flask import Response, current_app, jsonify, request
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from app.db import db
from app.flags.embedded import MAX_REASON_LENGTH, ExpectedState
from app.flags.provider import current_provider
from app.infra.problems import Problem
from app.rollout import changes_history, client_metrics, flag_changes
from app.rollout.flag_changes import require_flag
from app.rollout.online_users import online_users
from app.rollout.preview import MAX_LISTED_NAMES, preview_switches
from app.web.auth import actor, require
from app.web.rollout import bp

# Of the history in one answer; the audit has all of it.
MAX_HISTORY_ENTRIES = 500


def _reject_unstorable(text: str) -> str:
    """Neither half a surrogate pair nor NUL, which no database takes."""
    if "\0" in text or any("\ud800" <= sign <= "\udfff" for sign in text):
        raise ValueError("expected text without NUL and unpaired surrogates")
    return text


def _wrap_percentage(given: object) -> object:
    """A bare number means the percentage."""
    return {"percentage": given} if isinstance(given, int) and not isinstance(given, bool) else given


Percentage = Annotated[int, Field(ge=0, le=100)]
_ReasonLength = StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_REASON_LENGTH)
Reason = Annotated[str, _ReasonLength, AfterValidator(_reject_unstorable)]


class ExpectedBody(BaseModel):
    """What the caller saw before deciding; what is left out may have changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    percentage: Percentage | None = None
    enabled: bool | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.percentage is None and self.enabled is None:
            raise ValueError("expected percentage, enabled or both")
        return self


class RolloutBody(BaseModel):
    """What `PUT /api/rollout/{flag}` takes: `percentage`, `enabled` or both; what is left out or null stays."""

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


@bp.get("/api/rollout/<flag>")
@require("viewer", scope=("read", "rollout"))
def get_flag(flag: str) -> Response:
    """`{flag, enabled, percentage, mode, workers, inForce?, actor, changedAt, override?, outcome?, note?, whyNot?,
    link?}`.

    `actor` and `changedAt` are null for a flag that nobody touched yet. `workers` is `{holding, total}`: how many of
    those that run hold what is shown; null where none runs. `inForce`, where one runs, is `[{enabled, percentage,
    workers}]`: what they hold. `outcome` says who is in where switch and percentage do not. `override` is `on` or `off`
    where `BEACON_FLAG_…` decides for everyone, whatever the rollout says. With Unleash `percentage` is null where no
    single number says it; `whyNot` is why it can be changed only there, at `link`; `note` what is wrong with the way
    there.
    """
    which = require_flag(flag)
    return jsonify(flag_changes.flag_as_json(which, current_provider().view(db.session(), which)))


@bp.put("/api/rollout/<flag>")
@require("product", scope="rollout")
def put_flag(flag: str) -> Response:
    """Where the flag stands now; every worker follows within a second.

    `enabled: false` is the kill switch: the percentage is kept for turning on again. `expected` is the percentage
    that the caller saw, or `{percentage?, enabled?}`: `409`, with where it stands as `current`, once that has changed.
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

    Of the people online now (streaming, or polling in the last minute, as a page or as a program), by name: who would
    be in and is not, who is in and would not be. At most 200 names each way; the totals are of all. They and the names
    are null where nobody can say: no flags are known yet, or no single percentage says who is in. `outcome` says who
    will be in where switch and percentage alone do not.
    """
    which = require_flag(flag)
    percentage = _parse_whole_number("percentage", 0, 100)
    now = current_provider().view(db.session(), which)
    enabled = {"true": True, "false": False}.get(request.args.get("enabled", ""), now.state.enabled)
    outcome = flag_changes.describe_special_outcome(which, now, percentage, enabled)
    db.session.remove()  # asking takes many turns of the loop, and connections are few
    people = online_users().list_all()
    found = preview_switches(current_app.extensions["beacon_flags"], which, people, percentage, enabled)
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

    Of each minute in which a cohort reported: `{at, reports, attempts, failures, fallbacks, reconnects, helloP95S,
    lagP95S}`, oldest first; seconds, null where none was measured. A minute that is not there is not known. `changes`
    are `{at, actor, percentage, enabled}`: the moments to look at.
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
    (50, 1 to 500). `before` and `after` are `{enabled, percentage}`, null where the entry is about the plan."""
    which = require_flag(flag)
    found = changes_history.load_entries(
        db.session(), which, _parse_whole_number("limit", 1, MAX_HISTORY_ENTRIES, changes_history.DEFAULT_ENTRIES)
    )
    return jsonify(flag=which, data=[entry.as_json() for entry in found])


def _parse_whole_number(name: str, least: int, most: int, usual: int | None = None) -> int:
    """Raises the 400 `Problem` where it is none, or is missing and there is no usual one."""
    text = request.args.get(name, "" if usual is None else str(usual))
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(most)) and least <= int(text) <= most):
        wanted = f"a whole number from {least} to {most}"
        raise Problem(400, f"Bad {name}", f"{name} is {wanted}.", errors={name: wanted})
    return int(text)
