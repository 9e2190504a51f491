"""What the failed jobs of a cause have in common: how many are in each queue, on each worker and at each attempt."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import insert_into
from app.failures.models import FailureShare

# So many queues, and as many workers, of one cause are named: those with most of its jobs.
MAX_NAMES = 50
# All names of a list of causes are read, those with the most jobs first, but no more than this.
MAX_ROWS = 20_000
# An index of PostgreSQL has no room for more than some 2,700 bytes.
MAX_NAME_CHARS = 500


class ShareKey(NamedTuple):
    group_id: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Attempts:
    """The attempts at which the jobs failed last. `most`: how many each job may have; None if that is not the same for
    all, or not told. `jobs`: of how many jobs the attempt is told."""

    first: int
    last: int
    most: int | None
    jobs: int


@dataclass(frozen=True, slots=True)
class CommonFacts:
    """How many jobs of a cause are in each queue and on each worker, the largest number first; and their attempts.

    `queue_names` and `worker_names` are the numbers of all names, of which `MAX_NAMES` are here.
    """

    queues: Mapping[str, int] = field(default_factory=dict)
    workers: Mapping[str, int] = field(default_factory=dict)
    queue_names: int = 0
    worker_names: int = 0
    attempts: Attempts | None = None


def add(session: Session, jobs: Iterable[Mapping[str, Any]]) -> None:
    """Count these rows of `failed_job` in, which have just got a group."""
    _change(session, _count(jobs), 1)


def subtract(session: Session, jobs: Iterable[Mapping[str, Any]]) -> None:
    """Count these rows of `failed_job` out, which are leaving their group."""
    counts = _count(jobs)
    _change(session, counts, -1)
    for group_id in sorted({key.group_id for key in counts}):
        session.execute(sa.delete(FailureShare).where(FailureShare.group_id == group_id, FailureShare.jobs <= 0))


def load_common_facts(session: Session, group_ids: Sequence[str]) -> Mapping[str, CommonFacts]:
    """What the jobs of these groups have in common; a group that shares nothing is left out."""
    mine, share = FailureShare.group_id.in_(group_ids), FailureShare
    query = sa.select(share.group_id, share.kind, share.name, share.jobs).where(mine)
    rows = session.execute(query.order_by(share.jobs.desc(), share.name).limit(MAX_ROWS)).all()
    found: dict[str, dict[str, dict[str, int]]] = {group_id: {} for group_id, *_ in rows}
    for group_id, kind, name, jobs in rows:
        found[group_id].setdefault(kind, {})[name] = jobs
    names = {(group_id, kind): len(counts) for group_id, kinds in found.items() for kind, counts in kinds.items()}
    if len(rows) == MAX_ROWS:
        kinds = (share.group_id, share.kind)
        counted = session.execute(sa.select(*kinds, sa.func.count()).where(mine).group_by(*kinds))
        names |= {(group_id, kind): number for group_id, kind, number in counted}
    return {group_id: _build_facts(kinds, group_id, names) for group_id, kinds in found.items()}


def _build_facts(
    counts: Mapping[str, Mapping[str, int]], group_id: str, names: Mapping[tuple[str, str], int]
) -> CommonFacts:
    return CommonFacts(
        dict(islice(counts.get("queue", {}).items(), MAX_NAMES)),
        dict(islice(counts.get("worker", {}).items(), MAX_NAMES)),
        names.get((group_id, "queue"), 0),
        names.get((group_id, "worker"), 0),
        parse_attempts(counts.get("attempt", {})),
    )


def parse_attempts(counts: Mapping[str, int]) -> Attempts | None:
    """`{"3/5": 26, "2/5": 2}` is attempts 2 to 3 of 5."""
    if not counts:
        return None
    pairs = [name.split("/") for name in counts]
    numbers, most = [int(number) for number, _ in pairs], {text for _, text in pairs}
    same = most.pop() if len(most) == 1 else ""
    return Attempts(min(numbers), max(numbers), int(same) if same else None, sum(counts.values()))


def _count(jobs: Iterable[Mapping[str, Any]]) -> Counter[ShareKey]:
    return Counter(key for job in jobs for key in _list_keys(job))


def _list_keys(job: Mapping[str, Any]) -> Iterator[ShareKey]:
    if job["queue"]:
        yield ShareKey(job["group_id"], "queue", job["queue"][:MAX_NAME_CHARS])
    if job["worker"]:
        yield ShareKey(job["group_id"], "worker", job["worker"][:MAX_NAME_CHARS])
    if job["attempt"] is not None:
        most = job["max_attempts"]
        yield ShareKey(job["group_id"], "attempt", f"{job['attempt']}/{'' if most is None else most}")


def _change(session: Session, counts: Mapping[ShareKey, int], sign: int) -> None:
    # Sorted, so that two transactions lock the rows in the same order.
    rows = [{**key._asdict(), "jobs": sign * number} for key, number in sorted(counts.items())]
    if rows:
        insert = insert_into(FailureShare, session.get_bind().dialect.name)
        keys, total = ["group_id", "kind", "name"], FailureShare.jobs + insert.excluded.jobs
        session.execute(insert.on_conflict_do_update(index_elements=keys, set_={"jobs": total}), rows)
