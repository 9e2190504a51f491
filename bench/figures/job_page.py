"""The page of a failed job while its service is away: it takes connections and never answers."""

import socket
import time

import requests

from app.db import write
from app.infra.clock import utc_text
from app.reconciliation.models import Service, ServiceState
from bench.failed_jobs import seed
from bench.figure import Figure, Medians, Reading, Row, Values, at_most, cells, ours, quantile
from bench.peers.ours import Ours
from bench.peers.server import Server

JOBS, CAUSES = 10_000, 20
SERVICE = "service-0"
LOADS = 50
WARM_LOADS = 3  # the first ones compile templates
AIM_MS = 300


def measure(server: Server, quick: bool) -> Reading:
    assert isinstance(server, Ours)
    seed(server.beacon, JOBS // 10 if quick else JOBS, CAUSES)
    with socket.create_server(("127.0.0.1", 0), backlog=1_000) as silent:
        with server.beacon.app.app_context(), write() as session:
            session.get_one(Service, SERVICE).url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            session.merge(ServiceState(service_id=SERVICE, failing_since=utc_text(), last_answer_at=utc_text()))
        [(job_id,)] = server.beacon.sql("SELECT job_id FROM failed_job WHERE service_id = ? LIMIT 1", SERVICE)
        browser, page = server.beacon.log_in("alice"), f"{server.beacon.url}/services/{SERVICE}/jobs/{job_id}"
        taken = [_load_ms(browser, page) for _ in range(WARM_LOADS + (LOADS // 5 if quick else LOADS))][WARM_LOADS:]
    return Reading({"p50_ms": quantile(taken, 0.5), "p95_ms": quantile(taken, 0.95)}, ())


def _load_ms(browser: requests.Session, page: str) -> float:
    began = time.perf_counter()
    answer = browser.get(page, headers={"Accept": "text/html"}, timeout=30)
    answer.raise_for_status()
    if "has not been reachable" not in answer.text:
        raise AssertionError("the page does not say that the service is away")
    return (time.perf_counter() - began) * 1000


def rows(medians: Medians) -> list[Row]:
    def show(values: Values) -> str:
        return f"{values['p50_ms']:.0f} / {values['p95_ms']:.0f} ms"

    return [
        Row(
            "page of a failed job, its service away, p50 / p95",
            cells(medians, show),
            f"p95 <= {AIM_MS} ms",
            at_most(ours(medians, "p95_ms"), AIM_MS),
        )
    ]


FIGURE = Figure("job-page", __doc__ or "", (Ours,), measure, rows, runs=1)
