"""`POST /audit/client-error`: errors in browsers. They are logged and counted, but not stored."""

import logging
import re
from collections import Counter

from flask import request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict, Field

from app.components import components
from app.infra.rate_limits import UserRateLimit
from app.web.audit import bp
from app.web.auth import actor_or_none
from app.web.csrf import exempt_from_csrf
from app.web.request_body import limit_body

log = logging.getLogger(__name__)


MAX_BODY_BYTES = 16 * 1024
MAX_REPORTS_PER_SENDER, MAX_REPORTS_PER_WORKER = 2, 20
# The parts of a page, as named by `static/js/telemetry/error_report.js`. They are label values of a metric, so no
# others are allowed.
PAGE_PARTS = ("script", "promise", "swap", "stream", "display", "load", "other")

_QUERY = re.compile(r"[?#][^\s)'\"]*")


class ClientErrorReport(BaseModel):
    """An error that a page reports; unknown members are ignored."""

    model_config = ConfigDict(extra="ignore")

    message: str = Field(min_length=1, max_length=4_000)
    where: str = Field(default="other", max_length=100)
    stack: str = Field(default="", max_length=12_000)
    page: str = Field(default="", max_length=2_000)


class ClientErrors:
    """Counts the reports to this worker by part of the page, and limits their rate."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._sender = UserRateLimit(MAX_REPORTS_PER_SENDER, "error reports")
        self._everyone = UserRateLimit(MAX_REPORTS_PER_WORKER, "error reports together")

    def check_rate(self, sender: str) -> None:
        """Limit the reports, so that pages failing in a loop do not fill the log. Raises `Problem` 429."""
        self._sender.hit(sender)
        self._everyone.hit("")

    def record(self, report: ClientErrorReport, user: str) -> None:
        part = report.where if report.where in PAGE_PARTS else "other"
        self.counts[part] += 1
        log.warning(
            "client error user=%s where=%s page=%s message=%r stack=%r",
            user or "-",
            part,
            repr(strip_queries(report.page[:200]))[1:-1],
            strip_queries(report.message[:300]),
            strip_queries(report.stack[:2_000]),
        )


def strip_queries(text: str) -> str:
    """Remove query strings and fragments from URLs, because they contain what a user searched for."""
    return _QUERY.sub("", text)


@bp.post("/audit/client-error")
@exempt_from_csrf
@limit_body(MAX_BODY_BYTES)
def report_client_error() -> ResponseReturnValue:
    """Accept a report from anyone, because the login page can fail too. Anonymous senders are limited by address."""
    errors = components().client_errors
    who = actor_or_none()
    errors.check_rate(f"user {who.name}" if who else f"address {request.remote_addr}")
    errors.record(ClientErrorReport.model_validate(request.get_json()), who.name if who else "")
    return "", 204
