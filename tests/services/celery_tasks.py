"""Tasks for real workers. Where the broker is, and whether results are kept, comes from the environment."""

import os
import time
from pathlib import Path

from celery import Celery

from tests.services import rq_tasks

app = Celery("celery_tasks", broker=os.environ.get("TEST_BROKER"), backend=os.environ.get("TEST_BACKEND") or None)
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 3600},
    worker_prefetch_multiplier=2,
    task_default_queue="celery",
    result_extended=bool(os.environ.get("TEST_EXTENDED")),
)


@app.task
def add(left: int, right: int) -> int:
    return left + right


@app.task
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.task
def wait_for_file(path: str) -> None:
    """Until a test lets it end."""
    while not Path(path).exists():
        time.sleep(0.05)


@app.task(acks_late=True)
def late_nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.task(acks_late=True)
def late_wait_for_file(path: str) -> None:
    wait_for_file(path)


@app.task
def fail() -> None:
    raise ValueError("no such customer")


@app.task
def send_mail(order: int, to: str = "", password: str = "") -> None:
    raise ConnectionError(f"order {order} to {to}")


@app.task(bind=True, max_retries=2)
def try_again(self, seconds: float) -> str:
    time.sleep(seconds)
    if self.request.retries < 2:
        raise self.retry(countdown=seconds)
    return "third time lucky"


@app.task(ignore_result=True)
def untold() -> None:
    """Leaves no result."""


@app.task
def fail_for(cause: int, order: int) -> None:
    rq_tasks.fail_for(cause, order)
