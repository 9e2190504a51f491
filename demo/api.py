"""The Palantir HTTP API: what a dashboard asks of a job service and tells it to do."""

from collections.abc import Callable

from flask import Blueprint, request
from pydantic import BaseModel, ConfigDict, Field

from demo.job import Job, State, Tombstone, retry
from demo.ledger import Answer, Command
from demo.life import requeue_running, stuck_before, stuck_threshold_s
from demo.service import current_service
from demo.store import Store

PREFIX = "/api/v1"
Body = dict[str, object]

bp = Blueprint("api", __name__, url_prefix=PREFIX)


class JobQuery(BaseModel):
    """The query of the job list. An empty parameter counts as absent."""

    model_config = ConfigDict(extra="forbid")

    state: State | None = None
    after: str = Field(default="", max_length=1_000)
    limit: int = Field(default=500, ge=1, le=1000)


class Purge(BaseModel):
    """The body of a purge, which may be left out: with more jobs than expected nothing is purged."""

    model_config = ConfigDict(extra="forbid", strict=True)

    expected_count: int | None = Field(default=None, alias="expectedCount", ge=0)


class CommandHeaders(BaseModel):
    """The headers of a command that mean something here."""

    idempotency_key: str | None = Field(default=None, alias="Idempotency-Key", min_length=1, max_length=255)


@bp.get("/health")
def health() -> Body:
    service = current_service()
    instance = service.store.instance()
    return {
        "status": "ok",
        "name": service.name,
        "instanceId": instance.id,
        "startedAt": instance.started_at,
    }


@bp.get("/jobs/counts")
def counts() -> Body:
    store = current_service().store
    with store.transaction():
        instance = store.instance()
        return {
            "counts": store.counts(),
            "asOf": store.now(),
            "revision": instance.revision,
            "instanceId": instance.id,
        }


@bp.get("/jobs")
def jobs() -> Body:
    query = JobQuery.model_validate({name: value for name, value in request.args.items() if value})
    store = current_service().store
    with store.transaction():
        found = store.page(query.state, query.after, query.limit + 1)
        revision = store.instance().revision
    page = found[: query.limit]
    return {
        "jobs": [job.to_json() for job in page],
        "next": page[-1].id if len(found) > len(page) else None,
        "revision": revision,
    }


@bp.get("/jobs/stuck")
def stuck() -> Body:
    service = current_service()
    found = service.store.running_since(stuck_before(service.store, service.speed))
    return {"jobs": [job.to_json() for job in found], "thresholdS": stuck_threshold_s(service.speed)}


@bp.get("/jobs/<job_id>")
def job(job_id: str) -> tuple[Body, int]:
    store = current_service().store
    with store.transaction():
        answer = _absent(store, job_id) if (found := store.find(job_id)) is None else _ok(found.to_detailed_json())
    return answer.body, answer.status


@bp.post("/jobs/<job_id>/retry")
def retry_job(job_id: str) -> tuple[Body, int]:
    def execute(store: Store) -> Answer:
        if (job := store.find(job_id)) is None:
            return _absent(store, job_id)
        if job.state != "failed":
            return Answer(409, {"error": f"Only a failed job can be retried: {job_id} is {job.state}."})
        return _ok(_written(store, retry(job, store.now())).to_json())

    return _once(execute)


@bp.delete("/jobs/<job_id>")
def delete_job(job_id: str) -> tuple[Body, int]:
    def execute(store: Store) -> Answer:
        if (job := store.find(job_id)) is None:
            return _absent(store, job_id)
        [tombstone] = store.remove([job], "deleted")
        return _ok(tombstone.to_json())

    return _once(execute)


@bp.post("/queues/<name>/purge")
def purge_queue(name: str) -> tuple[Body, int]:
    wanted = Purge.model_validate_json(request.get_data() or "{}")

    def execute(store: Store) -> Answer:
        found = store.in_queue(name, "queued")
        if wanted.expected_count is not None and len(found) > wanted.expected_count:
            return Answer(409, {"error": f"{name} holds {len(found)} jobs, more than {wanted.expected_count}."})
        gone = store.remove(found, "purged")
        return _ok({"purged": len(gone), "jobIds": [tombstone.id for tombstone in gone]})

    return _once(execute)


@bp.post("/service/restart")
def restart() -> tuple[Body, int]:
    def execute(store: Store) -> Answer:
        requeued = requeue_running(store)
        store.renew_instance()
        instance = store.instance()
        return Answer(
            202,
            {
                "instanceId": instance.id,
                "startedAt": instance.started_at,
                "requeuedJobIds": [job.id for job in requeued],
            },
        )

    return _once(execute)


def _once(execute: Callable[[Store], Answer]) -> tuple[Body, int]:
    """Run a command, once for each Idempotency-Key."""
    service = current_service()
    headers = CommandHeaders.model_validate(dict(request.headers))
    command = Command(request.method, request.path, headers.idempotency_key)
    answer = service.ledger.once(command, lambda: execute(service.store))
    return answer.body, answer.status


def _ok(body: Body) -> Answer:
    return Answer(200, body)


def _written(store: Store, job: Job) -> Job:
    store.put(job)
    return job


def _absent(store: Store, job_id: str) -> Answer:
    """410 for a job that was here and ended, 404 for one that never was (or was lost)."""
    if tombstone := store.tombstone(job_id):
        return Answer(410, tombstone.to_json() | {"error": _epitaph(tombstone)})
    return Answer(404, {"error": f"There was never a job {job_id}."})


def _epitaph(tombstone: Tombstone) -> str:
    was = "was " if tombstone.state in ("deleted", "purged") else ""
    return f"Job {tombstone.id} is gone: it {was}{tombstone.state}."
