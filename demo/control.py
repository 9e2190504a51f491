"""The control API, for tests and for people who want to see a dashboard cope. Faults never touch it."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address
from typing import Annotated

from flask import Blueprint, abort, request
from pydantic import BaseModel, ConfigDict, Field
from werkzeug.exceptions import Forbidden

from demo.clock import iso
from demo.faults import FaultRequest
from demo.job import UNFINISHED, Job, State, enqueue, move
from demo.service import current_service
from demo.store import Store

Body = dict[str, object]
# Anything that fits into one segment of a path, so that a test can try hostile ones.
Name = Annotated[str, Field(pattern=r"^[^/]+$", max_length=200)]

bp = Blueprint("control", __name__)


class NewJob(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    id: Name | None = None
    queue: Name | None = None
    state: State = "queued"
    age_s: float = Field(default=0, alias="ageS", ge=0, le=31_536_000)


class NewJobs(BaseModel):
    model_config = ConfigDict(extra="forbid")

    jobs: list[NewJob] = Field(max_length=10_000)


class Move(BaseModel):
    model_config = ConfigDict(extra="forbid")

    state: State


@bp.before_request
def refuse_strangers() -> None:
    """The socket's own peer address: no header can claim to be near."""
    try:
        near = ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        near = False
    if not near:
        raise Forbidden("The control API answers this machine only.")


@bp.get("/_fault")
def fault() -> Body:
    return current_service().faults.current().to_json()


@bp.put("/_fault")
def set_fault() -> Body:
    wanted = FaultRequest.model_validate_json(request.get_data())
    return current_service().faults.set(wanted).to_json()


@bp.get("/_calls")
def calls() -> Body:
    return {"calls": current_service().ledger.calls()}


@bp.post("/_jobs")
def create_jobs() -> tuple[Body, int]:
    wanted = NewJobs.model_validate_json(request.get_data())
    store = current_service().store
    with store.transaction():
        jobs = [_created(store, new) for new in wanted.jobs]
        store.put(*jobs)
    return {"jobs": [job.to_json() for job in jobs]}, 201


@bp.delete("/_jobs")
def clear() -> tuple[str, int]:
    """A clean sheet: no jobs, no memory of any, no calls."""
    current_service().store.clear()
    return "", 204


@bp.patch("/_jobs/<job_id>")
def move_job(job_id: str) -> Body:
    wanted = Move.model_validate_json(request.get_data())
    store = current_service().store
    with store.transaction():
        job = move(_known(store, job_id), wanted.state, store.now())
        store.put(job)
    return job.to_json()


@bp.delete("/_jobs/<job_id>")
def age_out_job(job_id: str) -> tuple[Body, int]:
    """What time does to a finished job: it goes, and its end is remembered."""
    store = current_service().store
    with store.transaction():
        job = _known(store, job_id)
        if job.state in UNFINISHED:
            abort(409, f"Only a finished job can age out: {job_id} is {job.state}.")
        [tombstone] = store.remove([job])
    return tombstone.to_json(), 200


def _known(store: Store, job_id: str) -> Job:
    if (job := store.find(job_id)) is None:
        abort(404, f"There is no job {job_id}.")
    return job


def _created(store: Store, new: NewJob) -> Job:
    """A new job, or the one with that id as the caller wants it, in its state for `ageS` seconds."""
    moment = iso(store.clock.now() - timedelta(seconds=new.age_s))
    known = store.find(new.id) if new.id else None
    job = known or enqueue(new.queue or "mail", moment, new.id)
    return move(replace(job, queue=new.queue or job.queue), new.state, moment)
