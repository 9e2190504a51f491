"""Client of Unleash's Admin API: reads and changes a flag's gradual rollout, and reads who changed it last.

A change is a JSON Patch whose `test` operations contain the values that were read, so that a change by somebody else is
detected. Only the percentage is patched: a PUT would delete the constraints and variants that it does not repeat.
"""

import math
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from app.flags import document
from app.flags.document import Flag
from app.flags.provider import ChangeRefused, TooLate
from app.infra import bounded_http
from app.infra.bounded_http import HttpResponse, RequestLimits

ADMIN_TIMEOUT_S = 3.0
# For the whole request, including the response body: a person waits for it.
ADMIN_DEADLINE_S = 5.0
# Short, because a change, perhaps a kill switch, waits until its author is known.
AUTHOR_TIMEOUT_S = 1.0
MAX_ADMIN_RESPONSE_BYTES = 8 * 1024 * 1024


class UnleashUnavailable(ChangeRefused):
    """Unleash did not respond, so the outcome is unknown: the change may have been made."""

    def __init__(self, sentence: str, link: str) -> None:
        super().__init__(sentence, "unleash-away", link, 503)


class PatchTestFailed(Exception):
    """The flag no longer has the values that were read; nothing was changed."""


@dataclass(frozen=True, slots=True)
class AdminFlagState:
    """The state of a flag in Unleash. `why_not`: why Beacon cannot set its percentage."""

    enabled: bool
    percentage: float | None
    strategy: str | None
    raw: str | None
    why_not: str | None


class AdminClient:
    """One environment of one Unleash. Methods raise `ChangeRefused`, or `UnleashUnavailable` without a response.

    Methods that change something raise `TooLate` and send nothing after `not_after` (a `time.monotonic` value).
    """

    def __init__(self, url: str, token: str, environment: str) -> None:
        self._url, self._token, self._environment = url, token, environment

    @property
    def has_token(self) -> bool:
        return bool(self._token)

    def build_flag_link(self, project: str, flag: Flag) -> str:
        """The URL of the flag's page in Unleash."""
        return f"{self._url}/projects/{quote(project, safe='')}/features/{quote(flag, safe='')}"

    def read_flag(self, project: str, flag: Flag) -> AdminFlagState:
        found = self._call("GET", project, flag, "")
        strategies = found.get("strategies") or []
        now = document.read_strategies(bool(found.get("enabled")), strategies)
        if now.why is not None:
            return AdminFlagState(now.enabled, None, None, None, now.why)
        (strategy,) = strategies
        raw = strategy["parameters"]["rollout"]
        return AdminFlagState(now.enabled, now.percentage, str(strategy["id"]), raw, None)

    def set_percentage(
        self, project: str, flag: Flag, current: AdminFlagState, percentage: float, not_after: float = math.inf
    ) -> None:
        """Raises `PatchTestFailed` if the flag no longer has the values in `current`."""
        patch = [
            {"op": "test", "path": "/name", "value": "flexibleRollout"},
            {"op": "test", "path": "/parameters/rollout", "value": current.raw},
            {"op": "replace", "path": "/parameters/rollout", "value": f"{percentage:g}"},
        ]
        self._call("PATCH", project, flag, f"/strategies/{current.strategy}", patch, not_after)

    def switch(self, project: str, flag: Flag, not_after: float = math.inf, *, on: bool) -> None:
        """Switch the environment on or off: the kill switch. The strategies are kept."""
        self._call("POST", project, flag, "/on" if on else "/off", None, not_after)

    def find_last_change(self, flag: Flag) -> tuple[str, str] | None:
        """Who last changed the flag in this environment, and when; None if it cannot be read."""
        try:
            limits = RequestLimits(AUTHOR_TIMEOUT_S, AUTHOR_TIMEOUT_S, MAX_ADMIN_RESPONSE_BYTES)
            found = self._request("GET", f"/api/admin/events/{quote(flag, safe='')}", limits)
            events = found.json()["events"] if found.ok else []
            mine = [event for event in events if event.get("environment") in (None, self._environment)]
            return str(mine[0]["createdBy"]), str(mine[0]["createdAt"])
        except (bounded_http.RequestFailed, ValueError, LookupError, TypeError, AttributeError):
            return None

    def _call(
        self, method: str, project: str, flag: Flag, end: str, body: Any = None, not_after: float = math.inf
    ) -> dict[str, Any]:
        link = self.build_flag_link(project, flag)
        if not self._token:
            raise ChangeRefused(
                "Beacon has no admin token of Unleash (BEACON_UNLEASH_ADMIN_TOKEN): change it there.",
                "unleash-no-token",
                link,
            )
        place = f"{quote(project, safe='')}/features/{quote(flag, safe='')}/environments/{self._quoted_environment}"
        try:
            limits = RequestLimits(ADMIN_TIMEOUT_S, ADMIN_DEADLINE_S, MAX_ADMIN_RESPONSE_BYTES)
            found = self._request(method, f"/api/admin/projects/{place}{end}", limits, body, not_after)
            if found.ok:
                return dict(found.json()) if found.text else {}
        except bounded_http.SendDeadlinePassed:
            raise TooLate(link) from None
        except bounded_http.RequestFailed as error:
            raise UnleashUnavailable("Unleash does not respond. Check the flag before you retry.", link) from error
        except (ValueError, TypeError) as error:
            raise UnleashUnavailable(
                "Unleash's response cannot be read. Check the flag before you retry.", link
            ) from error
        raise self._to_error(found, flag, link)

    def _to_error(self, found: HttpResponse, flag: Flag, link: str) -> Exception:
        """Unleash responds with 500 if a `test` failed, and names the permission if an approval is needed."""
        text, environment = found.text[:10_000], self._environment
        if "TEST_OPERATION_FAILED" in text or "Test operation failed" in text:
            return PatchTestFailed()
        if found.status == 401:
            return ChangeRefused("Unleash rejects BEACON_UNLEASH_ADMIN_TOKEN: correct it.", "unleash-bad-token", link)
        if found.status == 403 and "SKIP_CHANGE_REQUEST" in text:
            sentence = f"Changes in {environment} need an approval in Unleash: request the change there."
            return ChangeRefused(sentence, "unleash-approval", link)
        if found.status == 403:
            sentence = f"BEACON_UNLEASH_ADMIN_TOKEN may not change {flag} in {environment}."
            return ChangeRefused(sentence, "unleash-forbidden", link)
        if found.status == 404:
            sentence = f"Unleash has no {flag} in {environment}, or its rollout was just removed."
            return ChangeRefused(sentence, "unleash-missing", link, 409)
        return UnleashUnavailable(f"Unleash responded with {found.status}. Check the flag before you retry.", link)

    @property
    def _quoted_environment(self) -> str:
        return quote(self._environment, safe="")

    def _request(
        self, method: str, path: str, limits: RequestLimits, body: Any = None, not_after: float = math.inf
    ) -> HttpResponse:
        headers = {"Authorization": self._token, "Accept": "application/json"}
        with bounded_http.open_connections() as pools:
            return bounded_http.send_request(pools, method, self._url + path, headers, limits, body, not_after)
