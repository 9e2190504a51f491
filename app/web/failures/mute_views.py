"""`POST /failures/{group}/mute`: mutes one cause for everybody, from JSON or from a form, and unmutes it."""

from datetime import timedelta

from flask import jsonify, redirect, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict, field_validator

from app.db import write
from app.failures import mutes
from app.infra.clock import Moment, utc_now, utc_text
from app.infra.problems import Problem
from app.notifications.request_models import parse_body
from app.web.auth import actor, require
from app.web.failures import bp
from app.web.failures.group_view import mute_to_json
from app.web.listing import wants_data
from app.web.page_address import local_path

MAX_MUTE = timedelta(days=30)
# The choices of the form, in minutes; programs may give any moment.
MUTE_CHOICES = ((60, "1 hour"), (1_440, "1 day"), (10_080, "1 week"))


class GroupMuteRequest(BaseModel):
    """Until when the cause is muted; null unmutes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    until: Moment | None

    @field_validator("until")
    @classmethod
    def _check_end(cls, until: Moment | None) -> Moment | None:
        if until is not None and until > utc_now() + MAX_MUTE:
            raise ValueError(f"expected a moment within {MAX_MUTE.days} days")
        return until


@bp.post("/failures/<group_id>/mute")
@require("operator", scope="command")
def mute(group_id: str) -> ResponseReturnValue:
    """`{until}`; answers `{group, muted}`, where `muted` is null or `{until, by}`. Forms give `minutes`."""
    wanted = GroupMuteRequest.model_validate(parse_body(minutes="until"))
    try:
        with write() as session:
            group = mutes.mute_group(session, group_id, actor().name, wanted.until)
    except mutes.UnknownGroup as error:
        raise Problem(404, "No such failure", "Beacon knows no failures with this cause.") from error
    if not wants_data() and not request.is_json:
        return redirect(local_path(request.form.get("next", ""), f"/failures/{group.id}"), 303)
    return jsonify(group=group.id, muted=mute_to_json(group) if mutes.is_muted(group, utc_text()) else None)
