"""One more measure of a rollout: the value of a Prometheus query, which must not exceed a limit."""

import math
from urllib.parse import quote

from app.infra import bounded_http
from app.infra.bounded_http import RequestLimits

_LIMITS = RequestLimits(pause_s=3.0, whole_s=5.0, max_bytes=256 * 1024)


def fetch_value(url: str, query: str) -> float | None:
    """The largest value of an instant query; None if it is unknown: no response, no series, no number."""
    with bounded_http.open_connections() as pools:
        try:
            address = f"{url}/api/v1/query?query={quote(query, safe='')}"
            response = bounded_http.send_request(pools, "GET", address, {"Accept": "application/json"}, _LIMITS)
            return parse_value(response.json()) if response.ok else None
        except (bounded_http.RequestFailed, ValueError):
            return None


def parse_value(answer: object) -> float | None:
    """The largest value of a vector or a scalar. Pure."""
    try:
        data = answer["data"]  # type: ignore[index]
        pairs = [data["result"]] if data["resultType"] == "scalar" else [one["value"] for one in data["result"]]
        values = [float(value) for _at, value in pairs]
    except (KeyError, TypeError, ValueError):
        return None
    known = [value for value in values if not math.isnan(value)]
    return max(known, default=None)
