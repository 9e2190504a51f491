"""`POST /audit/client-error`: what broke in somebody's page. Logged and counted; nothing of it is kept."""

import logging
import re
from collections import Counter
from collections.abc import Mapping

from flask import Flask, current_app, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict, Field

from app.infra.rate_limits import UserRateLimit
from app.web.audit import bp
from app.web.auth import actor_or_none
from app.web.csrf import changes_nothing
from app.web.request_body import limit_body

log = logging.getLogger(__name__)


MAX_BODY_BYTES = 16 * 1024
PER_SENDER, PER_WORKER = 2, 20
# The parts of a page, as `static/js/report.js` names them: the metric's label, so nothing else gets into it.
PARTS = ("script", "promise", "swap", "stream", "display", "load", "other")

_QUERY = re.compile(r"[?#][^\s)'\"]*")


class Report(BaseModel):
    """What a page says about a failure of its own; further members are ignored."""

    model_config = ConfigDict(extra="ignore")

    message: str = Field(min_length=1, max_length=4_000)
    where: str = Field(default="other", max_length=100)
    stack: str = Field(default="", max_length=12_000)
    page: str = Field(default="", max_length=2_000)


class ClientErrors:
    """How many were reported to this worker by part of the page, and how often one may report."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._sender = UserRateLimit(PER_SENDER, "error reports")
        self._everyone = UserRateLimit(PER_WORKER, "error reports together")

    def admit(self, sender: str) -> None:
        """Raises `Problem` 429. A page that fails in a loop, or many that do, must not fill the log."""
        self._sender.hit(sender)
        self._everyone.hit("")

    def note(self, report: Report, user: str) -> None:
        part = report.where if report.where in PARTS else "other"
        self.counts[part] += 1
        log.warning(
            "client error user=%s where=%s page=%s message=%r stack=%r",
            user or "-",
            part,
            repr(without_query(report.page[:200]))[1:-1],
            without_query(report.message[:300]),
            without_query(report.stack[:2_000]),
        )


def without_query(text: str) -> str:
    """Addresses without what a person searched for."""
    return _QUERY.sub("", text)


def counted(app: Flask) -> Mapping[str, float]:
    """By part of the page, for the metrics."""
    errors: ClientErrors = app.extensions["beacon_client_errors"]
    return errors.counts


@bp.post("/audit/client-error")
@changes_nothing
@limit_body(MAX_BODY_BYTES)
def report_client_error() -> ResponseReturnValue:
    """Anyone may: the login page can break too. Anonymous senders count by address, which is not kept."""
    errors: ClientErrors = current_app.extensions["beacon_client_errors"]
    who = actor_or_none()
    errors.admit(f"user {who.name}" if who else f"address {request.remote_addr}")
    errors.note(Report.model_validate(request.get_json()), who.name if who else "")
    return "", 204
