"""What services publish between two checks: it refines what is known, and proves nothing by itself."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from app.db import read, write
from app.eventlog import reader as log
from app.eventlog.append import NewEvent, append
from app.eventlog.models import EventRow
from app.infra.clock import utc_now, utc_text
from app.reconciliation import job_events
from app.reconciliation.job_events import JobEventReader, PublishedEvents
from app.reconciliation.models import OpenItem
from app.sources.protocol import JobLookup, ServiceSnapshot
from tests.reconciliation.desk import SERVICE, Desk
from tests.reconciliation.values import look

AB = look(queued=["a", "b"])


def publish(kind: str, *job_ids: str, service: str = SERVICE) -> None:
    with write() as session:
        append(session, [NewEvent(kind, {"service": service, "jobId": job_id}) for job_id in job_ids])


def by_hand(text: str, created_at: str, kind: str = "job.queued") -> None:
    with write() as session:
        session.add(EventRow(type=kind, audience="everyone", data_json=text, created_at=created_at))


@pytest.fixture
def watching(desk: Desk) -> Desk:
    """A service of which two jobs are known."""
    desk.observe(AB)
    return desk


class TestQueued:
    def test_a_job_that_was_published_and_that_no_look_shows_is_missing(self, watching: Desk) -> None:
        publish("job.queued", "c")
        watching.observe(AB)
        assert (watching.items, watching.told["status"]) == ({"c": "missing"}, "discrepancy")
        assert watching.told["discrepancyDetails"] == {"expected": 3, "actual": 2, "missingJobIds": ["c"]}

    def test_one_that_the_next_look_shows_is_a_job_like_any_other(self, watching: Desk) -> None:
        publish("job.queued", "c")
        watching.observe(look(queued=["a", "b", "c"]))
        assert (watching.items, watching.known["c"]) == ({}, "queued")

    @pytest.mark.parametrize("end", ["job.finished", "job.failed"])
    def test_one_whose_end_was_published_too_is_explained(self, watching: Desk, end: str) -> None:
        publish("job.queued", "c")
        publish(end, "c")
        watching.observe(AB)
        assert (watching.items, watching.source.asked) == ({}, [])

    def test_one_that_its_service_remembers_as_finished_leaves_quietly(self, watching: Desk) -> None:
        publish("job.queued", "c")
        watching.source.fates["c"] = JobLookup("finished", end_state="succeeded")
        watching.observe(AB)
        assert (watching.items, watching.told["status"]) == ({}, "verified")

    def test_where_finished_jobs_are_forgotten_it_is_unaccounted_and_no_alarm(self, watching: Desk) -> None:
        watching.source.capabilities = type(watching.source.capabilities)(None)
        publish("job.queued", "c")
        watching.observe(AB)
        assert (watching.items, watching.told["status"]) == ({"c": "unaccounted"}, "verified")

    def test_a_bound_that_cut_the_list_concludes_nothing(self, watching: Desk) -> None:
        publish("job.queued", "c")
        watching.observe(look(queued=["a", "b"], cut=["running"]))
        assert watching.items == {}

    def test_one_that_nobody_can_answer_for_waits_with_the_time_of_its_event(self, watching: Desk) -> None:
        before = utc_text(utc_now() - timedelta(seconds=1))
        publish("job.queued", "c")
        watching.source.fates["c"] = JobLookup("cannot-tell")
        watching.observe(AB)
        watching.restart()
        assert watching.known["c"] == "queued"
        del watching.source.fates["c"]
        watching.observe(AB)
        assert watching.items == {"c": "missing"}
        assert watching.told["findings"][0]["since"] > before

    def test_it_stands_in_no_one_elses_way(self, watching: Desk) -> None:
        publish("job.queued", "c", service="billing")
        publish("job.queued", "d", service="no-such-service")
        watching.observe(AB)
        assert (watching.items, watching.source.looks) == ({}, 2)

    def test_what_was_published_before_the_first_look_is_no_news(self, desk: Desk) -> None:
        publish("job.queued", "c")
        desk.observe(AB)
        desk.observe(AB)
        assert desk.items == {}

    def test_it_counts_once_also_after_a_change_of_the_poller(self, watching: Desk) -> None:
        publish("job.queued", "c")
        watching.observe(AB)
        watching.restart()
        watching.source.fates["c"] = JobLookup("finished", end_state="succeeded")
        watching.observe(AB)
        assert (watching.items, watching.closed) == ({}, {"c": "finished"})

    def test_another_poller_goes_on_where_this_one_left_off(self, watching: Desk) -> None:
        publish("job.queued", "c")
        watching.restart()
        watching.observe(AB)
        assert watching.items == {"c": "missing"}

    def test_a_missing_job_stays_missing_however_often_it_is_published(self, watching: Desk) -> None:
        watching.observe(look(queued=["a"]))
        publish("job.queued", "b")
        publish("job.started", "b")
        watching.observe(look(queued=["a"]))
        assert watching.items == {"b": "missing"}

    def test_a_job_that_was_queued_again_after_its_end_has_not_ended(self, watching: Desk) -> None:
        publish("job.finished", "b")
        publish("job.queued", "b")
        watching.observe(look(queued=["a"]))
        assert watching.items == {"b": "missing"}


def test_a_published_start_is_where_the_job_was_last(watching: Desk) -> None:
    publish("job.started", "b")
    watching.observe(look(queued=["a"]))
    with read() as session:
        [item] = session.scalars(sa.select(OpenItem))
    assert (item.job_id, item.last_state) == ("b", "running")


class TestExtra:
    def test_a_finished_job_that_two_later_looks_still_show_is_extra(self, watching: Desk) -> None:
        publish("job.finished", "b")
        watching.observe(AB)
        assert (watching.items, watching.told["status"]) == ({}, "verified")
        watching.observe(AB)
        assert (watching.items, watching.told["status"]) == ({"b": "extra"}, "discrepancy")
        assert [(found["kind"], found["jobIds"]) for found in watching.told["findings"]] == [("extra", ["b"])]
        assert watching.told["discrepancyDetails"] == {"expected": 1, "actual": 2, "missingJobIds": []}
        watching.observe(AB)
        assert [row.status for row in watching.record] == ["verified", "discrepancy"]

    def test_the_first_of_the_two_looks_is_remembered_by_the_next_poller(self, watching: Desk) -> None:
        publish("job.finished", "b")
        watching.observe(AB)
        watching.restart()
        watching.observe(AB)
        assert watching.items == {"b": "extra"}

    @pytest.mark.parametrize("answer", [look(queued=["a"]), look(queued=["a"], succeeded=["b"])])
    def test_it_closes_when_the_source_no_longer_shows_it(self, watching: Desk, answer: ServiceSnapshot) -> None:
        publish("job.finished", "b")
        watching.observe(AB)
        watching.observe(AB)
        watching.observe(answer)
        assert (watching.items, watching.closed) == ({}, {"b": "finished"})
        assert watching.told["status"] == "verified"

    def test_it_closes_when_its_service_queued_it_again(self, watching: Desk) -> None:
        publish("job.finished", "b")
        watching.observe(AB)
        watching.observe(AB)
        publish("job.queued", "b")
        watching.observe(AB)
        assert (watching.items, watching.closed) == ({}, {"b": "requeued"})
        watching.observe(AB)
        assert watching.told["status"] == "verified"

    @pytest.mark.parametrize("again", ["job.queued", "job.started"])
    def test_a_job_that_went_on_after_its_end_is_none(self, watching: Desk, again: str) -> None:
        publish("job.finished", "b")
        publish(again, "b")
        for _ in range(3):
            watching.observe(AB)
        assert watching.items == {}

    def test_a_failed_job_that_is_tried_again_is_none(self, watching: Desk) -> None:
        publish("job.failed", "b")
        for _ in range(3):
            watching.observe(AB)
        assert watching.items == {}

    def test_a_list_that_is_cut_neither_opens_nor_closes_one(self, watching: Desk) -> None:
        publish("job.finished", "b")
        watching.observe(AB)
        watching.observe(AB)
        watching.observe(look(running=["a"], cut=["queued"]))
        assert watching.items == {"b": "extra"}


class TestReading:
    def news(self, published: JobEventReader) -> PublishedEvents:
        return published.read_new(SERVICE)

    def test_a_flood_is_read_in_bounded_steps_and_each_event_once(
        self, watching: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(job_events, "EVENTS_PER_WINDOW", 10)
        monkeypatch.setattr(job_events, "MAX_EVENTS_PER_READ", 30)
        published = JobEventReader(settles=timedelta(0), read_every_s=0)
        publish("job.queued", *(f"j{n:03}" for n in range(75)))
        seen = []
        for _ in range(4):
            found = self.news(published)
            published.mark_applied(SERVICE, found.cursor)
            seen += [*found.notices]
        assert seen == [f"j{n:03}" for n in range(75)]

    def test_what_lies_too_far_back_is_skipped(self, watching: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(job_events, "MAX_EVENTS_BEHIND", 5)
        published = JobEventReader(settles=timedelta(0), read_every_s=0)
        publish("job.queued", *(f"j{n}" for n in range(9)))
        assert list(self.news(published).notices) == ["j4", "j5", "j6", "j7", "j8"]

    def test_so_many_jobs_are_remembered_and_no_more(self, watching: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(job_events, "MAX_NOTICES_PER_SERVICE", 3)
        published = JobEventReader(settles=timedelta(0), read_every_s=0)
        publish("job.queued", *(f"j{n}" for n in range(9)))
        found = self.news(published)
        with read() as session:
            assert (list(found.notices), found.cursor) == (["j0", "j1", "j2"], log.head(session))

    def test_an_event_settles_before_a_look_is_held_against_it(self, watching: Desk) -> None:
        published = JobEventReader(settles=timedelta(minutes=5), read_every_s=0)
        publish("job.queued", "young")
        found = self.news(published)
        with read() as session:
            assert (found.notices, found.cursor) == ({}, log.head(session) - 1)

    def test_a_clock_that_is_ahead_does_not_make_an_event_newer_than_its_reading(self, watching: Desk) -> None:
        published = JobEventReader(settles=timedelta(0), read_every_s=0)
        by_hand(f'{{"service": "{SERVICE}", "jobId": "c"}}', "2999-01-01T00:00:00.000Z")
        assert self.news(published).notices["c"].at <= utc_now() + timedelta(seconds=5)

    @pytest.mark.parametrize(
        "text",
        ["", "[]", "null", '{"service": "mail"}', '{"service": "mail", "jobId": 7}', '{"jobId": "a"}',
         '{"service": "mail", "jobId": ""}', '{"service": "mail", "jobId": "a\\u0000b"}',
         '{"service": "mail", "jobId": "' + "x" * 1_001 + '"}', '{"service": ["mail"], "jobId": "a"}'],
    )  # fmt: skip
    def test_a_row_that_cannot_be_read_says_nothing(self, watching: Desk, text: str) -> None:
        published = JobEventReader(settles=timedelta(0), read_every_s=0)
        by_hand(text, "not a time")
        assert self.news(published).notices == {}

    def test_nothing_is_read_twice_within_a_moment(self, watching: Desk) -> None:
        published = JobEventReader(settles=timedelta(0), read_every_s=60)
        self.news(published)
        publish("job.queued", "c")
        assert self.news(published).notices == {}
