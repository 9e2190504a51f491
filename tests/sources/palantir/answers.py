"""What a service with the Palantir HTTP API answers, on an `Upstream`."""

import json
from http.server import BaseHTTPRequestHandler

from app.infra.clock import utc_text
from tests.sources.upstream import Upstream, query, send


def serve_palantir(made: Upstream, jobs: dict[str, list[str]], *, revision: int | None = 7, **counts: int) -> None:
    """A consistent service with these job ids in each state, as of now; `counts` tells other numbers than there are."""
    numbers = {state: len(ids) for state, ids in jobs.items()} | counts
    made.json("/api/v1/health", {"status": "ok", "instanceId": "one"})

    def counted(request: BaseHTTPRequestHandler) -> None:
        send(request, json.dumps({"counts": numbers, "asOf": utc_text(), "revision": revision}).encode())

    def listing(request: BaseHTTPRequestHandler) -> None:
        asked = query(request)
        ids = sorted(job_id for job_id in jobs.get(asked["state"], []) if job_id > asked.get("after", ""))
        page = ids[: int(asked["limit"])]
        body = {
            "jobs": [{"id": job_id, "state": asked["state"], "queue": "mail", "attempt": 1} for job_id in page],
            "next": page[-1] if len(ids) > len(page) else None,
            "revision": revision,
        }
        send(request, json.dumps(body).encode())

    made.answers["/api/v1/jobs/counts"] = counted
    made.answers["/api/v1/jobs"] = listing
