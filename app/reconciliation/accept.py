"""Accepts discrepancies: an operator closes open items with a reason that everyone can see."""

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import chain
from app.eventlog.append import append
from app.infra.clock import utc_text
from app.reconciliation import reconcile, row_writer
from app.reconciliation.item_digests import item_digest
from app.reconciliation.known_state import ItemClosing, KnownState, Loss, TrackedItem
from app.reconciliation.loader import database_now, load_known_state
from app.reconciliation.models import KnownJob, ServiceState
from app.reconciliation.types import ServiceVerdict

MAX_REASON_CHARS = 500


def accept_items(
    session: Session,
    service_id: str,
    job_ids: Collection[str] | None,
    actor: str,
    reason: str,
    as_of: datetime | None = None,
    seen: Collection[str] | None = None,
) -> list[str]:
    """Close the open items of these jobs, or of all (None), and return the ids that were closed.

    Call it inside `db.write()`. Items that opened after `as_of`, or whose digest (`item_digest`) is not in `seen`, stay
    open: the operator has not seen them.

    It needs no lease: an operator may accept whichever process polls. A check that is under way is repeated, because
    the version of the known state grows. Accepting all items of a service that was rewound, or that lost its jobs,
    accepts that as well. Raises `row_writer.ServiceRemoved`.
    """
    row = row_writer.lock_state(session, service_id)
    now = database_now(session)
    known = load_known_state(session, service_id, row)
    items = [
        item
        for item in known.items.values()
        if (job_ids is None or item.job_id in job_ids)
        and (as_of is None or item.since <= as_of)
        and (seen is None or item_digest(item.job_id, item.kind, utc_text(item.since)) in seen)
    ]
    rewound = job_ids is None and _is_rewound(known)
    loss = known.loss if job_ids is None and known.loss and (as_of is None or known.loss.since <= as_of) else None
    if not items and not rewound and loss is None:
        return []
    if loss is not None:
        row.loss_json = None
    if rewound:
        row.as_of = row.instance_id = None
    closed = [ItemClosing(item, "accepted") for item in items]
    row_writer.close_items(session, service_id, closed, now, actor, reason)
    row.version += 1
    _publish(session, row, known, items, (actor, reason), now, loss)
    return sorted({item.job_id for item in items})


def _publish(
    session: Session,
    row: ServiceState,
    known: KnownState,
    items: list[TrackedItem],
    who: tuple[str, str],
    now: datetime,
    loss: Loss | None,
) -> None:
    present = session.scalar(sa.select(sa.func.count()).where(KnownJob.service_id == row.service_id)) or 0
    verdict = reconcile.judge_acceptance(known, items, present, now, with_loss=loss is not None)
    event = row_writer.record_update(session, row, known, verdict) if verdict is not None and verdict.changed else None
    chain.record(session, _audit_entry(row.service_id, items, who, verdict, loss))
    if event is not None:
        append(session, [event])


def _audit_entry(
    service_id: str, items: list[TrackedItem], who: tuple[str, str], verdict: ServiceVerdict | None, loss: Loss | None
) -> chain.Entry:
    actor, reason = who
    by_kind: dict[str, list[str]] = {}
    lost = {"lost": {"before": loss.before, "after": loss.after}} if loss else {}
    for item in items:
        by_kind.setdefault(item.kind, []).append(item.job_id)
    return chain.Entry(
        actor,
        "accept-discrepancy",
        service_id,
        before={kind: sorted(ids) for kind, ids in by_kind.items()} | lost,
        after={"status": verdict.status} if verdict else None,
        params={"reason": reason},
    )


def _is_rewound(known: KnownState) -> bool:
    return any(
        finding.kind == "rewound" for finding in (known.last_published.findings if known.last_published else None) or []
    )
