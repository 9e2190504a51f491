"""From a look to the record, on a real database: what stands there afterwards, and what does not."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone

import pytest
import sqlalchemy as sa

from app.db import read, write
from app.eventlog.append import NewEvent, append
from app.infra.clock import parse_utc, utc_now, utc_text
from app.infra.lease import Lease, LeaseLost
from app.reconciliation import finding_text, incidents, observer, registry
from app.reconciliation.accept import accept_items
from app.reconciliation.models import Service, ServiceState
from app.reconciliation.row_writer import compute_checksum
from app.sources.protocol import Anomaly, Capabilities, Job, JobLookup, Listing, ServiceSnapshot, SourceError
from tests.reconciliation.desk import SERVICE, Desk, allow, everything, forbid
from tests.reconciliation.values import at, left_out, look
from tests.support.clock import own_time

THREE = look(queued=["a", "b"], running=["c"])


def publish(kind: str, job_id: str, service: str = SERVICE) -> None:
    with write() as session:
        append(session, [NewEvent(kind, {"service": service, "jobId": job_id})])


class TestFirstLook:
    def test_state_known_jobs_record_and_event_agree(self, desk: Desk) -> None:
        assert desk.observe(THREE).answered
        [event], [row], [sample] = desk.events(), desk.record, desk.samples
        assert event == desk.told
        assert (event["service"], event["status"], event["counts"]) == (SERVICE, "verified", THREE.counts)
        assert event["checksum"] == compute_checksum(THREE.counts)
        assert (event["eventId"], json.loads(row.counts_json)) == (row.id, THREE.counts)
        assert desk.known == {"a": "queued", "b": "queued", "c": "running"}
        assert (sample.ok, sample.status, json.loads(sample.counts_json)) == (True, "verified", THREE.counts)
        assert desk.state.status == "verified"

    def test_the_checksum_is_of_the_counts_as_canonical_json(self) -> None:
        assert compute_checksum({"b": 1, "a": 2}) == "d3626ac30a87e6f7a6428233b3c68299976865fa5508e4267c5415c76af7a772"


class TestNothingNew:
    def test_the_same_again_is_one_gathered_check_that_moves_the_ages(self, desk: Desk) -> None:
        desk.observe(THREE)
        before = desk.state
        desk.observe(THREE)
        desk.observer.tick()
        assert len(desk.events()) == len(desk.record) == 1
        [verified] = desk.events("reconciliation.verified")
        assert set(verified["services"]) == {SERVICE}
        after = desk.state
        assert after.checked_at is not None
        assert after.last_verified_at is not None
        assert before.checked_at is not None
        assert after.checked_at > before.checked_at
        assert after.last_verified_at == after.checked_at
        assert [sample.ok for sample in desk.samples] == [True, True]

    def test_jobs_that_move_without_changing_a_count_are_written_without_an_update(self, desk: Desk) -> None:
        desk.source.fates["b"] = JobLookup("finished", end_state="purged")
        desk.observe(look(queued=["a"], running=["b"]))
        desk.observe(look(queued=["c"], running=["a"]))
        assert desk.known == {"c": "queued", "a": "running"}
        assert len(desk.events()) == 1

    def test_new_counts_are_told_without_a_row_for_ever(self, desk: Desk) -> None:
        desk.observe(THREE)
        desk.observe(look(queued=["a", "b", "d"], running=["c"]))
        assert (len(desk.events()), len(desk.record)) == (2, 1)
        assert desk.events()[1]["eventId"] != desk.record[0].id

    def test_a_poll_that_changes_nothing_writes_no_known_job(self, desk: Desk) -> None:
        desk.observe(THREE)
        for verb in ("INSERT", "UPDATE", "DELETE"):
            forbid("known_job", "written all the same", verb)
        desk.observe(THREE)
        desk.observer.tick()
        for verb in ("INSERT", "UPDATE", "DELETE"):
            allow(verb)
        assert len(desk.samples) == 2


class TestLoss:
    def test_lost_jobs_are_named_exactly_in_table_event_and_open_items(self, desk: Desk) -> None:
        desk.observe(THREE)
        desk.observe(look(queued=["b"]))
        event, row = desk.events()[-1], desk.record[-1]
        assert (event["status"], event["previousStatus"], event["eventId"]) == ("discrepancy", "verified", row.id)
        assert event["discrepancyDetails"] == {"expected": 3, "actual": 1, "missingJobIds": ["a", "c"]}
        assert json.loads(row.discrepancy_details_json or "") == event["discrepancyDetails"]
        assert event["findings"][0]["jobIds"] == ["a", "c"]
        assert desk.items == {"a": "missing", "c": "missing"}
        assert desk.known == {"b": "queued"}

    def test_it_stays_until_the_job_is_back_and_then_there_is_one_recovery(self, desk: Desk) -> None:
        desk.observe(THREE)
        for _ in range(3):
            desk.observe(look(queued=["a", "b"]))
        assert [row.status for row in desk.record] == ["verified", "discrepancy"]
        desk.observe(THREE)
        desk.observe(THREE)
        assert [row.status for row in desk.record] == ["verified", "discrepancy", "verified"]
        assert (desk.items, desk.closed) == ({}, {"c": "reappeared"})
        assert desk.told["lastDiscrepancy"]["missingJobIds"] == ["c"]
        assert "closedAt" in desk.told["lastDiscrepancy"]

    def test_a_job_missed_by_one_look_only_gets_a_second_one_and_no_alarm(self, desk: Desk) -> None:
        desk.observe(THREE)
        desk.source.looks = 0
        desk.observe(look(queued=["a"], running=["c"]), THREE)
        assert (desk.source.looks, desk.source.asked) == (2, [])
        assert desk.told["status"] == "verified"
        assert desk.known == {"a": "queued", "b": "queued", "c": "running"}

    def test_there_is_no_second_look_without_suspects(self, desk: Desk) -> None:
        desk.observe(THREE)
        desk.source.looks = 0
        desk.observe(look(queued=["a"], running=["b"], succeeded=["c"]))
        assert desk.source.looks == 1

    def test_a_failed_second_look_concludes_nothing_and_the_next_observation_does(self, desk: Desk) -> None:
        desk.observe(THREE)
        gone = look(queued=["a", "b"])
        desk.observe(gone, SourceError("answered 500"))
        assert (desk.items, desk.told["findings"][0]["kind"]) == ({}, "unaccounted")
        desk.observe(gone)
        assert desk.items == {"c": "missing"}

    def test_a_restart_between_the_two_looks_concludes_nothing(self, desk: Desk) -> None:
        desk.observe(THREE)
        gone = look(queued=["a", "b"])
        desk.observe(gone, look(queued=["a", "b"], instance_id="two"))
        assert desk.items == {}

    def test_what_one_process_knew_the_next_one_misses(self, desk: Desk) -> None:
        desk.observe(THREE)
        desk.restart()
        desk.observe(look(queued=["a", "b"]))
        assert desk.items == {"c": "missing"}

    def test_look_ups_are_bounded_and_the_rest_waits_unaccounted(self, desk: Desk) -> None:
        ids = [f"j{n:03}" for n in range(observer.MAX_LOOKUPS + 10)]
        desk.observe(look(queued=ids))
        desk.observe(look())
        assert len(desk.source.asked) == observer.MAX_LOOKUPS
        waiting = [finding for finding in desk.told["findings"] if finding["kind"] == "unaccounted"]
        assert len(waiting[0]["jobIds"]) == 10
        desk.restart()
        desk.observe(look())
        assert set(desk.items) == set(ids)
        assert set(desk.items.values()) == {"missing"}
        assert desk.told["discrepancyDetails"]["expected"] == len(ids)

    def test_an_open_item_is_asked_for_again_and_closes_when_the_service_remembers(self, desk: Desk) -> None:
        desk.observe(THREE)
        desk.observe(look(queued=["a", "b"]))
        desk.source.fates["c"] = JobLookup("finished", end_state="succeeded")
        desk.observe()
        assert (desk.closed, desk.told["status"]) == ({"c": "finished"}, "verified")


class TestExplanations:
    @pytest.mark.parametrize("kind", ["job.finished", "job.failed"])
    def test_a_published_end_explains_a_vanished_job(self, desk: Desk, kind: str) -> None:
        desk.observe(THREE)
        publish(kind, "c")
        desk.observe(look(queued=["a", "b"]))
        assert (desk.told["status"], desk.items, desk.source.asked) == ("verified", {}, [])

    def test_another_event_or_another_service_explains_nothing(self, desk: Desk) -> None:
        desk.observe(THREE)
        publish("job.started", "c")
        publish("job.finished", "c", service="billing")
        desk.observe(look(queued=["a", "b"]))
        assert desk.items == {"c": "missing"}

    def test_an_end_published_later_closes_the_item(self, desk: Desk) -> None:
        desk.observe(THREE)
        desk.observe(look(queued=["a", "b"]))
        publish("job.finished", "c")
        desk.observe()
        assert (desk.closed, desk.told["status"]) == ({"c": "finished"}, "verified")


class TestSilence:
    def test_a_first_failure_changes_no_state_and_says_when_silence_is_due(self, desk: Desk) -> None:
        desk.observe(THREE)
        outcome = desk.observe(SourceError("answered 500"))
        assert not outcome.answered
        assert outcome.silent_in_s == pytest.approx(15, abs=2)
        assert (desk.state.status, desk.state.reason) == ("verified", "answered 500")
        assert desk.state.failing_since is not None
        assert [sample.ok for sample in desk.samples] == [True, False]
        assert len(desk.events()) == 1

    def test_three_intervals_without_an_answer_are_stale_with_the_reason_and_no_numbers(self, desk: Desk) -> None:
        desk.observe(THREE)
        desk.pass_time(15.1)
        outcome = desk.observe(SourceError("refused the connection"))
        assert outcome.silent_in_s is None
        assert (desk.told["status"], desk.told["counts"], desk.told["reason"]) == (
            "stale",
            {},
            "refused the connection",
        )
        assert desk.told["checksum"] == compute_checksum({})
        assert desk.record[-1].status == "stale"

    def test_staleness_is_recorded_without_a_poll_too(self, desk: Desk) -> None:
        desk.observe(THREE)
        desk.observe(SourceError("answered 500"))
        desk.pass_time(15.1)
        looks = desk.source.looks
        assert desk.observer.note_silence(desk.service).silent_in_s is None
        assert (desk.told["status"], desk.source.looks) == ("stale", looks)
        assert len(desk.samples) == 2

    def test_silence_says_since_when_and_what_was_wrong_before(self, desk: Desk) -> None:
        lost = Anomaly("orphaned", ("r",))
        desk.observe(look(queued=["q"], running=["r"], anomalies=(lost,)))
        last_answer = desk.told["checkedAt"]
        [before] = desk.told["findings"]
        desk.pass_time(15.1)
        desk.observe(SourceError("answered 500"))
        assert parse_utc(desk.told["silentSince"]) == parse_utc(desk.state.last_answer_at or "")
        assert desk.told["findings"] == [before]
        desk.observe(look(queued=["q"], running=["r"], anomalies=(lost,)))
        assert desk.told["findings"] == [before], "the same jobs since the same moment, whatever lay in between"
        assert before["since"] == last_answer
        assert "silentSince" not in desk.told
        desk.observe(look(queued=["q"], running=["r"]))
        assert "findings" not in desk.told

    def test_an_outage_takes_neither_words_nor_beginnings_nor_the_bound(self, desk: Desk) -> None:
        late = Anomaly("overdue", ("q",), "the oldest was due at noon; no scheduler serves mail")
        answer = left_out(look(queued=["q"], cut=["failed"], anomalies=(late,), counts={"queued": 5, "failed": 9}), 2)
        desk.observe(answer)
        before = desk.told["findings"]
        assert [one["kind"] for one in before] == ["count-mismatch", "overdue", "unreadable"]
        desk.pass_time(15.1)
        desk.observe(SourceError("answered 500"))
        assert (desk.told["status"], desk.told["countsOnly"], desk.told["findings"]) == ("stale", ["failed"], before)
        assert finding_text.describe_problem("Mail", desk.told) == (
            "answered 500; 1 job was scheduled and overdue, 2 listed but unreadable "
            "and its counts and lists disagreed before"
        )
        desk.observe(answer)
        assert (desk.told["status"], desk.told["findings"]) == ("discrepancy", before)

    def test_an_outage_does_not_end_what_was_wrong_and_the_record_keeps_its_reason(self, desk: Desk) -> None:
        lost = look(queued=["q"], running=["r"], anomalies=(Anomaly("dangling", ("d",)),))
        desk.observe(look(queued=["q"], running=["r"]))
        desk.observe(lost)
        desk.pass_time(15.1)
        desk.observe(SourceError("answered 500"))
        desk.observe(lost)
        desk.observe(look(queued=["q"], running=["r"]))
        first, silent, again = desk.record[1:4]
        assert [row.status for row in desk.record] == ["verified", "discrepancy", "stale", "discrepancy", "verified"]
        assert (silent.reason, silent.episode, again.episode) == ("answered 500", None, first.id)
        assert json.loads(first.findings_json or "")[0]["jobIds"] == ["d"]
        with read() as session:
            found = incidents.read_incidents(session, incidents.IncidentFilter(), incidents.START_POSITION, 10, None)
        assert [(one.id, one.ending.status if one.ending else None) for one in found] == [
            (silent.id, "discrepancy"),
            (first.id, "verified"),
        ]

    def test_every_reason_of_an_outage_is_recorded_once_and_the_outage_is_one(self, desk: Desk) -> None:
        desk.observe(THREE)
        desk.observe(SourceError("answered 500"))
        desk.pass_time(15.1)
        for reason in ("answered 500", "did not answer within 5 s", "answered 500", "did not answer within 5 s"):
            desk.observe(SourceError(reason))
            assert desk.told["reason"] == reason
        desk.observe(THREE)
        assert [(row.status, row.reason) for row in desk.record] == [
            ("verified", None),
            ("stale", "answered 500"),
            ("stale", "did not answer within 5 s"),
            ("verified", None),
        ]
        with read() as session:
            [outage] = incidents.read_incidents(session, incidents.IncidentFilter(), incidents.START_POSITION, 10, None)
        assert (outage.id, outage.ending and outage.ending.status) == (desk.record[1].id, "verified")

    def test_a_look_at_the_silence_too_early_only_says_when(self, desk: Desk) -> None:
        desk.observe(THREE)
        left = desk.observer.note_silence(desk.service).silent_in_s
        assert left == pytest.approx(15, abs=2)
        assert desk.told["status"] == "verified"

    def test_a_service_that_never_answered_is_stale_three_intervals_after_the_first_attempt(self, desk: Desk) -> None:
        outcome = desk.observe(SourceError("refused the connection"))
        assert outcome.silent_in_s == pytest.approx(15, abs=0.5)
        assert desk.state.status is None
        desk.pass_time(15)
        desk.observe(SourceError("refused the connection"))
        assert (desk.told["status"], "lastVerifiedAt" in desk.told) == ("stale", False)

    def test_lasting_silence_is_told_once_and_its_end_too(self, desk: Desk) -> None:
        desk.observe(THREE)
        desk.pass_time(20)
        for _ in range(3):
            desk.observe(SourceError("answered 500"))
        desk.observe(THREE)
        assert [row.status for row in desk.record] == ["verified", "stale", "verified"]
        assert len(desk.events()) == 3
        assert (desk.state.failing_since, desk.state.reason) == (None, None)

    def test_what_was_known_before_the_silence_is_missed_after_it(self, desk: Desk) -> None:
        desk.observe(THREE)
        desk.pass_time(20)
        desk.observe(SourceError("answered 500"))
        desk.observe(look(queued=["a", "b"]))
        assert desk.items == {"c": "missing"}

    def test_a_source_that_fails_in_a_way_of_its_own_is_a_failed_check(self, desk: Desk) -> None:
        desk.observe(THREE)
        assert not desk.observe(KeyError("a mistake in this kind of source")).answered
        assert desk.state.reason == "gave an answer that Beacon could not handle"


class TestFiguresOfAnotherTime:
    @pytest.fixture(autouse=True)
    def _dated(self, desk: Desk) -> None:
        desk.source.capabilities = Capabilities("lookup", dates_figures=True)

    def test_old_figures_are_stale_with_their_age_and_nothing_follows_from_them(self, desk: Desk) -> None:
        desk.observe(look(queued=["a", "b"], as_of=utc_now()))
        desk.observe(look(as_of=utc_now() - timedelta(minutes=10, seconds=30)))
        assert (desk.told["status"], desk.told["counts"], desk.items) == ("stale", {}, {})
        assert desk.told["reason"] == "answers with figures that are more than 10 min old"
        assert desk.known == {"a": "queued", "b": "queued"}
        assert parse_utc(desk.told["lastVerifiedAt"]) < parse_utc(desk.told["checkedAt"])

    def test_figures_that_stand_still_become_stale_once_they_are_older_than_three_intervals(self, desk: Desk) -> None:
        frozen = utc_now()
        desk.observe(look(queued=["a"], as_of=frozen))
        desk.observe(look(queued=["a"], as_of=frozen - timedelta(seconds=14)))
        assert desk.told["status"] == "verified"
        desk.observe(look(queued=["a"], as_of=frozen - timedelta(seconds=16)))
        assert (desk.told["status"], desk.told["reason"]) == (
            "stale",
            "answers with figures that are more than 15 s old",
        )

    def test_a_clock_that_is_ahead_says_by_how_much(self, desk: Desk) -> None:
        desk.observe(look(queued=["a"], as_of=utc_now() + timedelta(minutes=11)))
        assert desk.told["status"] == "stale"
        assert desk.told["reason"] == (
            "dates its figures more than 10 min ahead of Beacon's clock, so their age is unknown"
        )

    def test_an_age_that_grows_is_told_only_at_its_steps(self, desk: Desk) -> None:
        frozen = utc_now()
        for minutes in (11, 12, 13, 21):
            desk.observe(look(as_of=frozen - timedelta(minutes=minutes)))
        assert [event["reason"][-17:] for event in desk.events()] == ["e than 10 min old", "e than 20 min old"]

    def test_it_is_verified_again_by_the_next_answer_of_now(self, desk: Desk) -> None:
        desk.observe(look(queued=["a"], as_of=utc_now() - timedelta(hours=3)))
        desk.observe(look(queued=["a"], as_of=utc_now()))
        assert (desk.told["status"], desk.told.get("reason")) == ("verified", None)

    def test_update_and_check_carry_the_time_of_their_figures(self, desk: Desk) -> None:
        first, second = utc_now() - timedelta(seconds=8), utc_now() - timedelta(seconds=3)
        desk.observe(look(queued=["a"], as_of=first))
        desk.observe(look(queued=["a"], as_of=second))
        desk.observer.tick()
        [verified] = desk.events("reconciliation.verified")
        assert parse_utc(desk.told["asOf"]) == first
        assert parse_utc(verified["services"][SERVICE]["asOf"]) == second

    def test_the_clock_of_a_store_is_no_age_of_its_figures(self, desk: Desk) -> None:
        desk.source.capabilities = Capabilities("lookup")
        desk.observe(look(queued=["a"], as_of=utc_now() - timedelta(hours=3)))
        assert desk.told["status"] == "verified"
        assert "asOf" not in desk.told


class TestWhatNobodyHasThoughtOf:
    # Only while it is written does this moment turn out to have no UTC.
    NO_UTC = datetime(9999, 12, 31, 23, 59, tzinfo=timezone(timedelta(hours=-14)))

    def test_an_answer_that_cannot_be_recorded_is_a_failed_check_with_its_reason(self, desk: Desk) -> None:
        desk.observe(THREE)
        assert not desk.observe(look(queued=["a"], as_of=self.NO_UTC)).answered
        assert (desk.state.status, desk.state.reason) == ("verified", "gave an answer that Beacon could not handle")
        assert desk.state.failing_since is not None
        desk.pass_time(15.1)
        desk.observe(look(queued=["a"], as_of=self.NO_UTC))
        assert (desk.told["status"], desk.told["reason"]) == ("stale", "gave an answer that Beacon could not handle")

    def test_a_new_service_whose_answers_cannot_be_recorded_becomes_stale(self, desk: Desk) -> None:
        desk.observe(look(queued=["a"], as_of=self.NO_UTC))
        desk.pass_time(15.1)
        desk.observe(look(queued=["a"], as_of=self.NO_UTC))
        assert desk.told["status"] == "stale"

    def test_a_service_that_nobody_checks_any_more_becomes_stale(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = 0.0
        own_time(monkeypatch, "app.reconciliation.overdue_checks", monotonic=lambda: now)
        desk.observe(THREE)
        desk.pass_time(20.1)
        desk.observer.tick()
        assert desk.told["status"] == "verified"  # whoever has just begun to poll checks it first
        now = 20.1
        desk.observer.tick()
        assert (desk.told["status"], desk.told["reason"]) == ("stale", "was not checked in time")

    def test_a_service_that_was_never_checked_becomes_stale_when_its_check_is_overdue(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = 0.0
        own_time(monkeypatch, "app.reconciliation.overdue_checks", monotonic=lambda: now)
        desk.observer.tick()
        now = 20.1
        desk.observer.tick()
        with read() as session:
            assert session.get(ServiceState, SERVICE) is None, "it was added just now"
        with write() as session:
            session.get_one(Service, SERVICE).registered_at = utc_text(utc_now() - timedelta(seconds=20.1))
        now = 40.2
        desk.observer.tick()
        assert (desk.told["status"], desk.told["reason"]) == ("stale", "has not been checked since it was added")
        desk.observe(THREE)
        assert desk.told["status"] == "verified"

    def test_one_that_fails_is_left_to_its_own_polls(self, desk: Desk) -> None:
        desk.observe(THREE)
        desk.observe(SourceError("answered 500"))
        desk.observer.tick()
        assert desk.told["status"] == "verified"


class TestRewound:
    NOW = look(queued=["a", "b"], as_of=at(0))
    BACK = look(queued=["a"], as_of=at(-60), instance_id="two")

    def test_it_is_stale_until_its_time_is_back_and_then_what_is_lost_is_missing(self, desk: Desk) -> None:
        desk.observe(self.NOW)
        desk.observe(self.BACK)
        assert (desk.told["status"], desk.told["findings"][0]["kind"]) == ("stale", "rewound")
        assert desk.known == {"a": "queued", "b": "queued"}
        desk.observe(self.BACK)
        assert len(desk.events()) == 2
        desk.observe(look(queued=["a"], as_of=at(1), instance_id="two"))
        assert (desk.told["status"], desk.items) == ("discrepancy", {"b": "missing"})

    def test_an_operator_who_accepts_all_accepts_the_older_time(self, desk: Desk) -> None:
        desk.observe(self.NOW)
        desk.observe(self.BACK)
        with write() as session:
            accept_items(session, SERVICE, None, "bob", "restored from the backup of noon")
        desk.observe(self.BACK)
        assert (desk.told["status"], desk.items) == ("discrepancy", {"b": "missing"})


class TestOwnLifetime:
    def test_what_a_job_says_of_its_end_outlives_the_process(self, desk: Desk) -> None:
        desk.source.capabilities = Capabilities(500.0)
        desk.source.fates = dict.fromkeys(("short", "usual"), JobLookup("cannot-tell"))
        desk.observe(_kept_for({"short": 0.0, "usual": None}))
        desk.restart()
        desk.observe(_kept_for({}))
        assert desk.items == {"usual": "missing"}
        assert desk.known == {}


def _kept_for(jobs: Mapping[str, float | None]) -> ServiceSnapshot:
    found = {job_id: Job(job_id, "queued", kept_s=kept_s) for job_id, kept_s in jobs.items()}
    return ServiceSnapshot({"queued": len(found)}, (Listing("queued", False, found), Listing("done", True, {})), 7)


class TestOthersAtWork:
    def test_an_item_accepted_during_the_observation_stays_accepted(self, desk: Desk) -> None:
        desk.observe(THREE)
        desk.observe(look(queued=["a", "b"]))

        def accept_meanwhile() -> None:
            desk.source.on_look_up = lambda: None
            with write() as session:
                assert accept_items(session, SERVICE, {"c"}, "bob", "deleted by hand") == ["c"]

        desk.source.on_look_up = accept_meanwhile
        desk.observe(look(queued=["b"]))
        assert (desk.items, desk.closed) == ({"a": "missing"}, {"c": "accepted"})
        assert desk.told["discrepancyDetails"]["missingJobIds"] == ["a"]

    def test_a_lease_lost_while_looking_leaves_no_trace(self, desk: Desk) -> None:
        desk.observe(THREE)
        before = everything()

        def too_late() -> ServiceSnapshot:
            desk.lose_lease()
            return look(queued=["a"])

        with pytest.raises(LeaseLost):
            desk.observe(too_late)
        assert everything() == before

    def test_a_lease_lost_during_a_failing_poll_leaves_no_trace(self, desk: Desk) -> None:
        desk.observe(THREE)
        desk.pass_time(20)
        before = everything()

        def too_late() -> ServiceSnapshot:
            desk.lose_lease()
            raise SourceError("answered 500")

        with pytest.raises(LeaseLost):
            desk.observe(too_late)
        assert everything() == before

    def test_gathered_checks_of_a_lost_lease_are_not_told(self, desk: Desk) -> None:
        desk.observe(THREE)
        desk.observe(THREE)
        before = everything()
        desk.lose_lease()
        with pytest.raises(LeaseLost):
            desk.observer.tick()
        assert everything() == before

    def test_an_observation_begun_under_an_earlier_claim_is_not_recorded(self, desk: Desk) -> None:
        desk.observe(THREE)
        before = everything()

        def frozen_for_long() -> ServiceSnapshot:
            desk.lease.release()
            assert Lease().try_acquire()
            with write() as session:
                session.execute(sa.text("UPDATE lease SET expires_at = 0"))
            assert desk.lease.try_acquire()
            return look(queued=["a"])

        with pytest.raises(LeaseLost):
            desk.observe(frozen_for_long)
        assert everything() == before

    def test_a_service_removed_while_it_was_looked_at_is_forgotten(self, desk: Desk) -> None:
        desk.observe(THREE)

        def removed_meanwhile() -> ServiceSnapshot:
            with write() as session:
                registry.remove(session, SERVICE, "ada")
            return look(queued=["a"])

        assert desk.observe(removed_meanwhile).answered
        assert (desk.known, desk.items, len(desk.events())) == ({}, {}, 1)


class TestOneCommit:
    @pytest.mark.parametrize("table", ["event", "discrepancy_event", "open_item", "known_job", "check_sample"])
    def test_where_one_row_cannot_be_written_none_is(self, desk: Desk, table: str) -> None:
        desk.observe(THREE)
        before = everything()
        forbid(table, "disk full")
        with pytest.raises(sa.exc.DBAPIError):
            desk.observe(look(queued=["b", "d"]))
        assert everything() == before
        allow()
        desk.observe(look(queued=["b", "d"]))
        assert desk.items == {"a": "missing", "c": "missing"}
