"""An event holds 64 KiB: every kind of finding at once, with the longest ids there are, fits into one."""

from typing import get_args

import pytest

from app.eventlog.append import prepare
from app.eventlog.event_types import FindingKind
from app.reconciliation import findings
from app.reconciliation.findings import truncate_ids
from app.reconciliation.row_writer import record_update
from app.reconciliation.types import FindingContext, ServiceVerdict
from app.reconciliation.unserved_queues import MAX_NAMES_BYTES, MAX_QUEUE_NAME_CHARS
from app.sources.protocol import MAX_JOB_ID_BYTES
from tests.reconciliation.values import T0, known, told

WITHOUT_IDS = {"count-mismatch", "no-worker", "unreadable", "lost", "flapping", "rewound"}
LONGEST = "日" * (MAX_JOB_ID_BYTES // 3)


class Row:
    """As much of a state row as an event needs."""

    service_id = "s" * 64
    flapping_json = status = payload_json = None


@pytest.mark.parametrize("job_id", ["j{:07}", LONGEST[:-3] + "{}", "x" * 990 + "{:07}"])
def test_ten_thousand_ids_of_every_kind_fit_into_an_event(job_id: str) -> None:
    ids = [job_id.format(number) for number in range(10_000)]
    found: findings.IdsByKind = {kind: [] if kind in WITHOUT_IDS else ids for kind in get_args(FindingKind)}
    about = dict.fromkeys(found, FindingContext(10_000, "entry 3 of " + "k" * 200))
    queues = truncate_ids((job_id.format(number)[:MAX_QUEUE_NAME_CHARS] for number in range(1_000)), MAX_NAMES_BYTES)
    about["no-worker"] = FindingContext(10_000, "q" * 800, tuple(queues))
    verdict = ServiceVerdict(
        status="discrepancy",
        at=T0,
        checked_at=T0,
        latency_ms=1,
        counts={f"{number:040}": 2**53 for number in range(40)},
        details=findings.build_details(found, 3),
        findings=findings.build_findings(found, None, T0, about),
        last_discrepancy=findings.update_last_discrepancy(None, "discrepancy", ids, T0),
        reason="r" * 1_000,
    )
    before = known("a", last_published=told(last_discrepancy=verdict.last_discrepancy))
    event = prepare(record_update(None, Row(), before, verdict))  # type: ignore[arg-type] -- nothing is written but the row
    assert len(event.data_json.encode()) < 64 * 1024
    assert all(finding.job_ids or finding.kind in WITHOUT_IDS for finding in verdict.findings)
