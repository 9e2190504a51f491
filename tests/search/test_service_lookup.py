"""Services are asked side by side and only as long as there is time; those that do not answer are named."""

import threading
import time
from collections.abc import Callable

import pytest

from app.search import service_lookup
from app.search.service_lookup import AskableService, ask_services
from app.sources.protocol import Job, JobDetail, ReadOnlySource, SourceError
from tests.support.machine import scaled
from tests.support.waiting import wait_for


class OneJob(ReadOnlySource):
    """A service with one job, which it tells after `waits` says so."""

    def __init__(self, job_id: str = "", waits: Callable[[], object] = lambda: None) -> None:
        self._job_id, self._waits = job_id, waits

    def detail(self, job_id: str) -> JobDetail | None:
        self._waits()
        return JobDetail(Job(job_id, "finished", "out"), function="f") if job_id == self._job_id else None

    def close(self) -> None:
        pass


class Broken(OneJob):
    def detail(self, job_id: str) -> JobDetail | None:
        raise SourceError("answered with garbage")


def ask(within_s: float = 10, **sources: OneJob | None) -> tuple[list[tuple[str, str]], list[str]]:
    services = [
        AskableService(name, None if source is None else lambda source=source: source)  # type: ignore[misc, arg-type]
        for name, source in sources.items()
    ]
    found = ask_services(services, "j1", time.monotonic() + scaled(within_s))
    return [(hit.service_id, hit.state) for hit in found.hits], list(found.not_answered)


def test_the_service_that_has_the_job_is_found() -> None:
    assert ask(a=OneJob(), b=OneJob("j1"), c=OneJob("j2")) == ([("b", "finished")], [])


def test_those_that_fail_and_those_that_cannot_be_asked_are_named() -> None:
    assert ask(a=Broken(), b=None, c=OneJob("j1")) == ([("c", "finished")], ["a", "b"])


def test_one_that_hangs_delays_no_other_and_is_named() -> None:
    released = threading.Event()
    try:
        found = ask(0.3, slow=OneJob("j1", released.wait), **{f"s{n}": OneJob() for n in range(20)}, last=OneJob("j1"))
        assert found == ([("last", "finished")], ["slow"])
    finally:
        released.set()


@pytest.mark.parametrize("number", [0, 1])
def test_any_number_of_services_can_be_asked(number: int) -> None:
    assert ask(**{f"s{n}": OneJob() for n in range(number)}) == ([], [])


def test_requests_that_hang_leave_room_for_others_and_give_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    slots = threading.BoundedSemaphore(1)
    monkeypatch.setattr(service_lookup, "_slots", slots)
    released = threading.Event()
    try:
        assert ask(0.3, slow=OneJob("j1", released.wait)) == ([], ["slow"])
        assert ask(0.3, quick=OneJob("j1")) == ([], ["quick"]), "the one that hangs still has the only slot"
    finally:
        released.set()
    wait_for(lambda: ask(b=OneJob("j1")) == ([("b", "finished")], []), "the slot to be free again")
    assert ask(a=Broken(), b=OneJob("j1")) == ([("b", "finished")], ["a"])
    assert slots.acquire(timeout=scaled(5))
