"""Unleash's Admin API: the one gradual rollout of a flag, looked at and moved, and who moved it last.

A change is a JSON Patch whose `test` names what was looked at, so that somebody else's change is noticed. Only the
percentage is touched: a PUT would wipe the constraints and variants that it does not repeat.
"""

import math
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests

from app.flags import document
from app.flags.document import Flag
from app.flags.provider import ChangeRefused, TooLate
from app.flags.unleash import unleash_http
from app.flags.unleash.unleash_http import UnleashResponse

ADMIN_TIMEOUT_S = 3.0
# From the question to the end of the answer: somebody waits for it.
ADMIN_DEADLINE_S = 5.0
# Who did it is good to know, and what they did, a kill perhaps, waits for the answer.
AUTHOR_TIMEOUT_S = 1.0
MAX_ADMIN_RESPONSE_BYTES = 8 * 1024 * 1024


class UnleashUnavailable(ChangeRefused):
    """Unleash did not answer, so nobody knows: the change may have been made."""

    def __init__(self, sentence: str, link: str) -> None:
        super().__init__(sentence, "unleash-away", link, 503)


class PatchTestFailed(Exception):
    """It no longer stands where it was looked at; nothing was changed."""

    __test__ = False  # no test class, whatever its name


@dataclass(frozen=True, slots=True)
class AdminFlagState:
    """Where a flag stands in Unleash. `why_not`: why Beacon cannot set its percentage."""

    enabled: bool
    percentage: float | None
    strategy: str | None
    raw: str | None
    why_not: str | None


class AdminClient:
    """One environment of one Unleash. Every method raises `Refused`, or `Away` where it does not answer.

    What changes something is not asked after `not_after` (of `time.monotonic`) any more, and raises `Late`.
    """

    def __init__(self, url: str, token: str, environment: str) -> None:
        self._url, self._token, self._environment = url, token, environment

    @property
    def has_token(self) -> bool:
        return bool(self._token)

    def build_flag_link(self, project: str, flag: Flag) -> str:
        """Unleash's own page of the flag."""
        return f"{self._url}/projects/{quote(project, safe='')}/features/{quote(flag, safe='')}"

    def read_flag(self, project: str, flag: Flag) -> AdminFlagState:
        found = self._call("GET", project, flag, "")
        strategies = found.get("strategies") or []
        percentage, why = document.read_percentage(strategies)
        if why is not None:
            return AdminFlagState(bool(found.get("enabled")), None, None, None, why)
        (strategy,) = strategies
        raw = strategy["parameters"]["rollout"]
        return AdminFlagState(bool(found.get("enabled")), percentage, str(strategy["id"]), raw, None)

    def set_percentage(
        self, project: str, flag: Flag, look: AdminFlagState, percentage: float, not_after: float = math.inf
    ) -> None:
        """Raises `TestFailed` where it no longer stands as looked at."""
        patch = [
            {"op": "test", "path": "/name", "value": "flexibleRollout"},
            {"op": "test", "path": "/parameters/rollout", "value": look.raw},
            {"op": "replace", "path": "/parameters/rollout", "value": f"{percentage:g}"},
        ]
        self._call("PATCH", project, flag, f"/strategies/{look.strategy}", patch, not_after)

    def switch(self, project: str, flag: Flag, not_after: float = math.inf, *, on: bool) -> None:
        """The environment on or off: the kill switch. What the strategy holds is kept."""
        self._call("POST", project, flag, "/on" if on else "/off", None, not_after)

    def find_last_change(self, flag: Flag) -> tuple[str, str] | None:
        """Who changed the flag last in this environment, and when; None where that cannot be read."""
        try:
            patience = unleash_http.Timeouts(AUTHOR_TIMEOUT_S, AUTHOR_TIMEOUT_S, MAX_ADMIN_RESPONSE_BYTES)
            found = self._request("GET", f"/api/admin/events/{quote(flag, safe='')}", patience)
            events = found.json()["events"] if found.ok else []
            mine = [event for event in events if event.get("environment") in (None, self._environment)]
            return str(mine[0]["createdBy"]), str(mine[0]["createdAt"])
        except (requests.RequestException, ValueError, LookupError, TypeError, AttributeError):
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
            patience = unleash_http.Timeouts(ADMIN_TIMEOUT_S, ADMIN_DEADLINE_S, MAX_ADMIN_RESPONSE_BYTES)
            found = self._request(method, f"/api/admin/projects/{place}{end}", patience, body, not_after)
            if found.ok:
                return dict(found.json()) if found.text else {}
        except unleash_http.SendDeadlinePassed:
            raise TooLate(link) from None
        except requests.RequestException as error:
            raise UnleashUnavailable("Unleash does not answer; look again before you repeat it.", link) from error
        except (ValueError, TypeError) as error:
            raise UnleashUnavailable(
                "Unleash's answer cannot be read; look again before you repeat it.", link
            ) from error
        raise self._to_error(found, flag, link)

    def _to_error(self, found: UnleashResponse, flag: Flag, link: str) -> Exception:
        """Unleash says 500 where a `test` failed, and names the permission where an approval is needed."""
        text, environment = found.text[:10_000], self._environment
        if "TEST_OPERATION_FAILED" in text or "Test operation failed" in text:
            return PatchTestFailed()
        if found.status == 401:
            return ChangeRefused("Unleash refuses BEACON_UNLEASH_ADMIN_TOKEN: correct it.", "unleash-bad-token", link)
        if found.status == 403 and "SKIP_CHANGE_REQUEST" in text:
            sentence = f"Changes of {environment} need an approval in Unleash: request the change there."
            return ChangeRefused(sentence, "unleash-approval", link)
        if found.status == 403:
            sentence = f"BEACON_UNLEASH_ADMIN_TOKEN may not change {flag} in {environment}."
            return ChangeRefused(sentence, "unleash-forbidden", link)
        if found.status == 404:
            sentence = f"Unleash has no {flag} in {environment}, or its rollout was removed just now."
            return ChangeRefused(sentence, "unleash-missing", link, 409)
        return UnleashUnavailable(f"Unleash answers {found.status}; look again before you repeat it.", link)

    @property
    def _quoted_environment(self) -> str:
        return quote(self._environment, safe="")

    def _request(
        self, method: str, path: str, patience: unleash_http.Timeouts, body: Any = None, not_after: float = math.inf
    ) -> UnleashResponse:
        headers = {"Authorization": self._token, "Accept": "application/json"}
        with unleash_http.create_session() as session:
            return unleash_http.send_request(session, method, self._url + path, headers, patience, body, not_after)
