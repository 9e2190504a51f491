"""The rules, one by one: what makes a job missing, and that each condition that fails alone prevents it."""

from dataclasses import replace

import pytest

from app.reconciliation import reconcile as rules
from app.reconciliation.known_state import JobNotice, KnownState
from app.reconciliation.types import CheckEvidence, Observation
from app.sources.protocol import Anomaly, Job, JobLookup
from tests.reconciliation.values import (
    at,
    heard,
    ids_of,
    job,
    judge,
    kinds_of,
    known,
    left_out,
    listing,
    look,
    missing,
    told,
    unaccounted,
)

NOTHING = look()
UNKNOWN = JobLookup("unknown")


def evidence(visible: float | str | None = 60.0, second: Observation | None = None, **more: object) -> CheckEvidence:
    """A second look at the sixth second that shows nothing, unless told otherwise."""
    return CheckEvidence(visible, heard(NOTHING, 6) if second is None else second, **more)  # type: ignore[arg-type]


class TestMissing:
    def test_a_job_that_vanished_while_it_should_be_visible_is_missing(self) -> None:
        verdict = judge(known("a", "b"), heard(look(queued=["b"])), evidence(second=heard(look(queued=["b"]), 6)))
        assert verdict.status == "discrepancy"
        assert verdict.details is not None
        assert (verdict.details.expected, verdict.details.actual) == (2, 1)
        assert verdict.details.missing_job_ids == ids_of(verdict, "missing") == ["a"]
        assert [item.job_id for item in verdict.opened] == ["a"]

    def test_a_declared_job_leaves_the_known_set(self) -> None:
        job_diff = judge(known("a", "b"), heard(look(queued=["b"])), evidence()).job_diff
        assert job_diff is not None
        assert (set(job_diff.jobs), job_diff.removals) == ({"b"}, ("a",))

    def test_a_job_that_the_service_does_not_know_by_id_is_missing_however_long_ago_it_was_seen(self) -> None:
        verdict = judge(known("a", heard_at=-86_400), heard(NOTHING), evidence("lookup", lookups={"a": UNKNOWN}))
        assert ids_of(verdict, "missing") == ["a"]

    def test_condition_1_a_job_that_had_finished_when_it_was_seen_is_not_known_at_all(self) -> None:
        first = judge(known(), heard(look(succeeded=["a"])), evidence())
        assert first.job_diff is not None
        assert first.job_diff.jobs == {}

    @pytest.mark.parametrize("state", ["queued", "running", "succeeded", "failed"])
    def test_condition_2_a_job_that_the_look_shows_anywhere_is_not_missing(self, state: str) -> None:
        verdict = judge(known("a"), heard(look(**{state: ["a"]})), evidence())
        assert (verdict.status, verdict.findings) == ("verified", ())

    @pytest.mark.parametrize("state", ["queued", "running", "succeeded"])
    def test_condition_2_a_look_that_a_bound_cut_concludes_nothing(self, state: str) -> None:
        """What its list may still hold stays known; what is in no list of unfinished jobs that was whole is let go."""
        cut = heard(look(cut=[state], counts={state: 20_000}))
        verdict = judge(known("a"), cut, evidence())
        assert (verdict.status, verdict.findings, verdict.opened) == ("verified", (), ())
        assert verdict.job_diff is not None
        assert verdict.job_diff.removals == (("a",) if state == "succeeded" else ())

    @pytest.mark.parametrize("state", ["queued", "running"])
    def test_condition_2_not_even_a_look_up_makes_a_job_of_a_cut_list_missing(self, state: str) -> None:
        verdict = judge(known("a"), heard(look(cut=[state])), evidence("lookup", lookups={"a": UNKNOWN}))
        assert (verdict.status, verdict.findings) == ("verified", ())

    def test_condition_2_a_look_up_replaces_a_list_of_finished_jobs_that_was_cut(self) -> None:
        verdict = judge(known("a"), heard(look(cut=["succeeded"])), evidence("lookup", lookups={"a": UNKNOWN}))
        assert ids_of(verdict, "missing") == ["a"]

    def test_condition_3_a_job_that_may_have_finished_and_gone_is_unaccounted(self) -> None:
        verdict = judge(known("a", heard_at=0), heard(NOTHING, 5), evidence(6.0))
        assert (verdict.status, ids_of(verdict, "unaccounted"), ids_of(verdict, "missing")) == ("verified", ["a"], [])

    def test_condition_3_counts_to_the_end_of_the_second_look(self) -> None:
        just_visible = judge(known("a"), heard(NOTHING, 5), evidence(6.1, heard(NOTHING, 5.5, 6)))
        just_gone = judge(known("a"), heard(NOTHING, 5), evidence(6.0, heard(NOTHING, 5.5, 6)))
        assert (ids_of(just_visible, "missing"), ids_of(just_gone, "missing")) == (["a"], [])

    @pytest.mark.parametrize("state", ["queued", "running"])
    def test_condition_4_a_job_in_the_second_look_is_known_as_it_was_seen_there(self, state: str) -> None:
        verdict = judge(known("a"), heard(NOTHING), evidence(second=heard(look(**{state: ["a"]}), 6)))
        assert (verdict.status, verdict.findings) == ("verified", ())
        assert verdict.job_diff is not None
        assert verdict.job_diff.jobs == {"a": job("a", state)}

    def test_condition_4_a_job_that_moves_during_the_second_look_counts_where_it_arrived(self) -> None:
        moving = heard(look(queued=["a"], running=["a", "b"], succeeded=["b"], one_revision=False), 6)
        job_diff = judge(known("a", "b"), heard(NOTHING), evidence(second=moving)).job_diff
        assert job_diff is not None
        assert job_diff.jobs == {"a": job("a", "running")}

    def test_condition_4_a_job_that_had_finished_by_the_second_look_leaves_quietly(self) -> None:
        verdict = judge(known("a"), heard(NOTHING), evidence(second=heard(look(succeeded=["a"]), 6)))
        assert (verdict.status, verdict.findings, verdict.opened) == ("verified", (), ())

    def test_condition_4_without_a_second_look_the_job_waits_for_the_next_observation(self) -> None:
        verdict = judge(known("a", heard_at=0), heard(NOTHING, 5), CheckEvidence(60.0, None, {"a": UNKNOWN}))
        assert (ids_of(verdict, "missing"), ids_of(verdict, "unaccounted")) == ([], ["a"])
        assert verdict.job_diff is not None
        assert verdict.job_diff.unseen == {"a": at(0)}

    def test_condition_4_a_second_look_that_a_bound_cut_concludes_nothing(self) -> None:
        verdict = judge(known("a"), heard(NOTHING), evidence(second=heard(look(cut=["running"]), 6)))
        assert (verdict.status, ids_of(verdict, "missing")) == ("verified", [])

    def test_condition_5_an_explained_job_leaves_quietly(self) -> None:
        verdict = judge(known("a"), heard(NOTHING), evidence(explained=frozenset({"a"})))
        assert (verdict.status, verdict.findings, verdict.opened) == ("verified", (), ())
        assert verdict.job_diff is not None
        assert verdict.job_diff.removals == ("a",)

    def test_condition_5_an_explanation_of_another_job_does_not_help(self) -> None:
        assert ids_of(judge(known("a"), heard(NOTHING), evidence(explained=frozenset({"b"}))), "missing") == ["a"]


class TestLookUp:
    def test_a_job_that_had_ended_leaves_quietly(self) -> None:
        fates = {"a": JobLookup("finished", end_state="purged")}
        verdict = judge(known("a"), heard(NOTHING), evidence("lookup", lookups=fates))
        assert (verdict.status, verdict.findings) == ("verified", ())

    def test_a_job_that_is_there_all_the_same_stays_known(self) -> None:
        fates = {"a": JobLookup("found", Job("a", "running"))}
        job_diff = judge(known("a"), heard(NOTHING), evidence("lookup", lookups=fates)).job_diff
        assert job_diff is not None
        assert job_diff.jobs == {"a": Job("a", "running")}

    @pytest.mark.parametrize("fates", [{}, {"a": JobLookup("cannot-tell")}])
    def test_a_job_not_asked_for_yet_is_unaccounted_until_it_was(self, fates: dict[str, JobLookup]) -> None:
        verdict = judge(known("a"), heard(NOTHING), evidence("lookup", lookups=fates))
        assert (verdict.status, ids_of(verdict, "unaccounted"), verdict.opened) == ("verified", ["a"], ())
        assert verdict.job_diff is not None
        assert set(verdict.job_diff.jobs) == {"a"}

    def test_a_job_that_waited_keeps_the_moment_at_which_it_was_seen(self) -> None:
        before = known("a", heard_at=5, unseen={"a": at(0)})
        assert ids_of(judge(before, heard(NOTHING, 7), evidence(6.5)), "missing") == ["a"]
        assert ids_of(judge(before, heard(NOTHING, 7), evidence(6.0)), "missing") == []

    def test_a_job_that_waited_and_is_seen_again_is_like_the_others(self) -> None:
        job_diff = judge(known("a", unseen={"a": at(-9)}), heard(look(queued=["a"])), evidence()).job_diff
        assert job_diff is not None
        assert (job_diff.unseen, job_diff.upserts) == ({}, (job("a"),))

    def test_a_job_between_two_lists_is_no_discrepancy(self) -> None:
        """Taken from its queue, not yet noted as started: both looks miss it, only its service knows."""
        fates = {"a": JobLookup("found", Job("a", "queued", "mail", 1))}
        verdict = rules.reconcile(known("a"), heard(look(), 5), evidence(60.0, lookups=fates), at(6))
        assert verdict.status == "verified"
        assert verdict.job_diff is not None
        assert list(verdict.job_diff.jobs) == ["a"]

    @pytest.mark.parametrize(("visible", "asked"), [("lookup", True), (60.0, True), (6.0, True), (None, False)])
    def test_a_job_that_is_nowhere_is_asked_for_where_its_source_can_answer(
        self, visible: float | str | None, asked: bool
    ) -> None:
        assert rules.needs_lookup(evidence(visible), "a") is asked

    def test_explained_and_found_jobs_are_not_asked_for(self) -> None:
        assert not rules.needs_lookup(evidence("lookup", explained=frozenset({"a"})), "a")
        assert not rules.needs_lookup(evidence("lookup", heard(look(queued=["a"]), 6)), "a")
        assert not rules.needs_lookup(CheckEvidence("lookup", None), "a")


class TestUnaccounted:
    def test_a_source_that_forgets_finished_jobs_never_has_missing_ones(self) -> None:
        verdict = judge(known("a", "b"), heard(look(queued=["b"])), evidence(None))
        assert (verdict.status, verdict.details) == ("verified", None)
        assert ids_of(verdict, "unaccounted") == ["a"]

    def test_there_is_a_bound_and_the_oldest_go_first(self) -> None:
        old = [unaccounted(f"old{n:04}", since=-n) for n in range(1_000)]
        verdict = judge(known("new", items=old), heard(NOTHING), evidence(None))
        assert [(done.item.job_id, done.how) for done in verdict.closed] == [("old0999", "expired")]
        assert "new" in {item.job_id for item in verdict.opened}


class TestOwnLifetime:
    """Of jobs that say themselves for how long they can be seen once they have ended."""

    @pytest.mark.parametrize(("kept_s", "found"), [(0.0, []), (5.0, []), (5.5, ["a"]), (3_600.0, ["a"]), (None, ["a"])])
    def test_one_that_may_have_vanished_by_its_own_setting_is_let_go(
        self, kept_s: float | None, found: list[str]
    ) -> None:
        verdict = judge(self.known_as(kept_s), heard(NOTHING, 5), evidence(second=heard(NOTHING, 5)))
        assert ids_of(verdict, "missing") == found
        assert ids_of(verdict, "unaccounted") == []
        assert verdict.job_diff is not None
        assert verdict.job_diff.jobs == {}

    def test_one_that_exists_and_is_nowhere_is_missing_all_the_same(self) -> None:
        verdict = judge(self.known_as(0.0), heard(NOTHING), evidence(lookups={"a": UNKNOWN}))
        assert ids_of(verdict, "missing") == ["a"]

    def test_the_setting_stays_with_a_job_that_its_service_publishes_as_started(self) -> None:
        before = replace(self.known_as(0.0), notices={"a": JobNotice("started", 7, at(1))})
        assert (before.job("a").state, before.job("a").kept_s) == ("running", 0.0)

    def known_as(self, kept_s: float | None) -> KnownState:
        return replace(known(), jobs={"a": job("a")._replace(kept_s=kept_s)})


class TestOpenItems:
    @pytest.mark.parametrize(
        ("answer", "how"),
        [
            (look(queued=["a"]), "reappeared"),
            (look(running=["a"]), "reappeared"),
            (look(succeeded=["a"]), "finished"),
            (look(failed=["a"]), "finished"),
        ],
    )
    def test_an_item_closes_when_its_job_is_seen_again(self, answer: object, how: str) -> None:
        before = known(items=[missing("a")], last_published=told("discrepancy"))
        verdict = judge(before, heard(answer), evidence())  # type: ignore[arg-type]
        assert (verdict.status, [done.how for done in verdict.closed]) == ("verified", [how])

    @pytest.mark.parametrize(
        ("fate", "how"),
        [
            (JobLookup("finished", end_state="deleted"), "finished"),
            (JobLookup("found", Job("a", "running")), "reappeared"),
        ],
    )
    def test_an_item_closes_when_the_service_says_so(self, fate: JobLookup, how: str) -> None:
        verdict = judge(known(items=[missing("a")]), heard(NOTHING), evidence("lookup", lookups={"a": fate}))
        assert [done.how for done in verdict.closed] == [how]

    def test_an_item_closes_when_its_end_is_published(self) -> None:
        verdict = judge(known(items=[missing("a")]), heard(NOTHING), evidence(explained=frozenset({"a"})))
        assert [done.how for done in verdict.closed] == ["finished"]

    @pytest.mark.parametrize(("now", "closed"), [(86_399, []), (86_400, ["expired"])])
    def test_an_item_closes_after_a_day(self, now: float, closed: list[str]) -> None:
        verdict = judge(known(items=[missing("a", since=0)]), heard(NOTHING), evidence(), now)
        assert [done.how for done in verdict.closed] == closed

    @pytest.mark.parametrize("fate", [UNKNOWN, JobLookup("cannot-tell")])
    def test_an_item_stays_open_otherwise(self, fate: JobLookup) -> None:
        verdict = judge(known(items=[missing("a")]), heard(NOTHING), evidence("lookup", lookups={"a": fate}))
        assert (verdict.status, verdict.closed, ids_of(verdict, "missing")) == ("discrepancy", (), ["a"])

    def test_the_service_is_in_discrepancy_until_the_last_one_closes(self) -> None:
        before = known("c", items=[missing("a"), missing("b")], last_published=told("discrepancy"))
        one_back = judge(before, heard(look(queued=["a", "c"])), evidence())
        assert (one_back.status, ids_of(one_back, "missing"), one_back.status_changed) == ("discrepancy", ["b"], True)
        both_back = judge(before, heard(look(queued=["a", "b", "c"])), evidence())
        assert (both_back.status, both_back.status_changed, both_back.details) == ("verified", True, None)

    def test_a_job_that_reappeared_can_go_missing_again(self) -> None:
        back = judge(known(items=[missing("a")]), heard(look(queued=["a"])), evidence())
        assert back.job_diff is not None
        again = judge(known(*back.job_diff.jobs), heard(NOTHING), evidence())
        assert [item.job_id for item in again.opened] == ["a"]

    def test_both_sides_count_open_items_from_then_on(self) -> None:
        before = known("b", items=[missing("a")])
        details = judge(before, heard(look(queued=["b"])), evidence()).details
        assert details is not None
        assert (details.expected, details.actual) == (2, 1)


class TestOneLookByItself:
    def test_counts_that_differ_from_the_lists_of_their_revision_are_a_discrepancy(self) -> None:
        verdict = judge(known(), heard(look(queued=["a"], counts={"queued": 3})), evidence())
        assert (verdict.status, kinds_of(verdict)) == ("discrepancy", ["count-mismatch"])
        assert verdict.reason == "queued: 3 counted, 1 listed"

    def test_entries_that_were_left_out_are_counted_and_no_discrepancy(self) -> None:
        verdict = judge(known(), heard(left_out(look(queued=["a"], counts={"queued": 3}), 2)), evidence())
        assert (verdict.status, verdict.reason) == ("verified", None)
        [found] = verdict.findings
        assert (found.kind, found.job_ids, found.count) == ("unreadable", [], 2)
        assert found.note == "entry 2 of queued: its id has a control character"

    def test_counts_that_differ_by_more_than_was_left_out_are_a_discrepancy(self) -> None:
        verdict = judge(known(), heard(left_out(look(queued=["a"], counts={"queued": 4}), 2)), evidence())
        assert (verdict.status, kinds_of(verdict)) == ("discrepancy", ["count-mismatch", "unreadable"])
        assert verdict.reason == "queued: 4 counted, 3 listed"

    def test_a_job_that_is_gone_is_missed_beside_entries_that_cannot_be_read(self) -> None:
        verdict = judge(known("a", "b"), heard(left_out(look(queued=["a"], counts={"queued": 2}), 1)), evidence())
        assert ids_of(verdict, "missing") == ["b"]

    def test_another_number_of_them_is_news_and_the_same_is_not(self) -> None:
        first = judge(known(), heard(left_out(look(queued=["a"], counts={"queued": 3}), 2)), evidence())
        before = known("a", last_published=told("verified", {**first.counts}, findings=list(first.findings)))
        assert not judge(before, heard(left_out(look(queued=["a"], counts={"queued": 3}), 2)), evidence()).changed
        assert judge(before, heard(left_out(look(queued=["a"], counts={"queued": 4}), 3)), evidence()).changed

    def test_counts_of_another_revision_are_not_compared(self) -> None:
        answer = look(queued=["a"], counts={"queued": 3}, one_revision=False)
        assert judge(known(), heard(answer), evidence()).status == "verified"

    def test_counts_of_a_list_that_was_cut_are_not_compared(self) -> None:
        answer = look(cut=["queued"], counts={"queued": 20_000})
        assert judge(known(), heard(answer), evidence()).status == "verified"

    @pytest.mark.parametrize(
        ("first", "second"),
        [("queued", "running"), ("queued", "failed"), ("running", "failed"), ("succeeded", "failed")],
    )
    def test_a_job_in_two_states_of_one_revision_is_a_duplicate(self, first: str, second: str) -> None:
        verdict = judge(known(), heard(look(**{first: ["a"], second: ["a"]})), evidence())
        assert (verdict.status, ids_of(verdict, "duplicate")) == ("discrepancy", ["a"])
        assert verdict.job_diff is not None
        assert set(verdict.job_diff.jobs) == ({"a"} if second == "running" else set())

    def test_a_job_that_moved_while_the_lists_were_read_counts_where_it_arrived(self) -> None:
        answer = look(queued=["a", "b"], running=["a"], succeeded=["b"], one_revision=False)
        verdict = judge(known(), heard(answer), evidence())
        assert (verdict.status, verdict.findings) == ("verified", ())
        assert verdict.job_diff is not None
        assert verdict.job_diff.jobs == {"a": job("a", "running")}

    def test_what_the_source_itself_finds_odd_is_a_discrepancy(self) -> None:
        answer = look(anomalies=(Anomaly("orphaned", ("z", "y")),))
        verdict = judge(known(), heard(answer), evidence())
        assert (verdict.status, ids_of(verdict, "orphaned")) == ("discrepancy", ["y", "z"])

    def test_more_of_them_than_are_listed_are_counted_with_what_is_known(self) -> None:
        answer = look(anomalies=(Anomaly.overdue(("y", "z"), at(0).timestamp(), "no scheduler serves mail", 50_000),))
        [found] = judge(known(), heard(answer), evidence()).findings
        assert (found.job_ids, found.count) == (["y", "z"], 50_000)
        assert found.note == "the oldest was due at 2026-11-21 12:00:00 UTC; no scheduler serves mail"


class TestRewound:
    OLD = look(queued=["b"], instance_id="two", as_of=at(-60))

    def test_another_instance_with_an_older_state_is_stale_and_its_ids_are_not_believed(self) -> None:
        verdict = judge(known("a", as_of=at(0)), heard(self.OLD), evidence())
        assert (verdict.status, kinds_of(verdict), verdict.counts) == ("stale", ["rewound"], {})
        assert (verdict.job_diff, verdict.opened) == (None, ())
        assert verdict.reason == rules.REWOUND_REASON

    def test_open_items_stay_open_and_shown(self) -> None:
        verdict = judge(known(items=[missing("b")], as_of=at(0)), heard(self.OLD), evidence())
        assert (kinds_of(verdict), verdict.closed) == (["missing", "rewound"], ())

    @pytest.mark.parametrize("as_of", [0, 60])
    def test_it_is_judged_again_once_its_time_is_back_where_it_was(self, as_of: float) -> None:
        answer = look(instance_id="two", as_of=at(as_of))
        assert ids_of(judge(known("a", as_of=at(0)), heard(answer), evidence()), "missing") == ["a"]

    @pytest.mark.parametrize(
        "answer",
        [look(instance_id="one", as_of=at(-1)), look(instance_id="two"), look(instance_id="two", as_of=at(1))],
    )
    def test_the_same_instance_or_a_newer_time_or_none_is_not_rewound(self, answer: object) -> None:
        assert not rules.is_rewound(known("a", as_of=at(0)), heard(answer))  # type: ignore[arg-type]


class TestNews:
    def test_the_first_look_is_news(self) -> None:
        verdict = judge(known(last_published=None), heard(look(queued=["a"])), evidence())
        assert (verdict.changed, verdict.status_changed) == (True, True)

    def test_the_same_again_is_not(self) -> None:
        answer = look(queued=["a"])
        verdict = judge(known("a", last_published=told(counts=answer.counts)), heard(answer), evidence())
        assert (verdict.changed, verdict.status_changed, verdict.job_diff and verdict.job_diff.upserts) == (
            False,
            False,
            (),
        )

    def test_other_counts_are_news_but_no_change_of_state(self) -> None:
        verdict = judge(known("a"), heard(look(queued=["a", "b"])), evidence())
        assert (verdict.changed, verdict.status_changed) == (True, False)

    def test_an_unaccounted_job_is_news_but_no_change_of_state(self) -> None:
        verdict = judge(known("a", last_published=told(counts=NOTHING.counts)), heard(NOTHING), evidence(None))
        assert (verdict.changed, verdict.status_changed) == (True, False)

    def test_one_more_missing_job_is_a_change_of_state(self) -> None:
        first = told("discrepancy", NOTHING.counts)
        verdict = judge(known("a", items=[missing("b")], last_published=first), heard(NOTHING), evidence())
        assert (verdict.changed, verdict.status_changed, ids_of(verdict, "missing")) == (True, True, ["b", "a"])

    def test_a_discrepancy_that_goes_on_is_no_news(self) -> None:
        first = judge(known("a"), heard(NOTHING), evidence())
        before = told(
            "discrepancy", first.counts, findings=list(first.findings), last_discrepancy=first.last_discrepancy
        )
        again = judge(known(items=first.opened, last_published=before), heard(NOTHING, 10), evidence())
        assert (again.status, again.changed, again.status_changed) == ("discrepancy", False, False)
        assert again.findings == first.findings

    def test_a_second_mismatch_beside_a_first_finding_is_a_change_of_state(self) -> None:
        duplicate = look(queued=["a"], failed=["a"])
        first = judge(known(), heard(duplicate), evidence())
        before = known("a", last_published=told("discrepancy", first.counts, findings=list(first.findings)))
        assert not judge(before, heard(duplicate), evidence()).status_changed
        assert judge(before, heard(look(queued=["a", "b"], failed=["a", "b"])), evidence()).status_changed

    def test_the_last_discrepancy_names_all_its_ids_and_when_it_closed(self) -> None:
        first = judge(known("a", "b"), heard(look(queued=["b"])), evidence(second=heard(look(queued=["b"]), 6)))
        before = told("discrepancy", last_discrepancy=first.last_discrepancy)
        second = judge(known("b", items=first.opened, last_published=before), heard(NOTHING, 10), evidence())
        assert second.last_discrepancy is not None
        assert (second.last_discrepancy.at, second.last_discrepancy.missing_job_ids) == (at(5), ["a", "b"])
        before = told("discrepancy", last_discrepancy=second.last_discrepancy)
        items = [*first.opened, *second.opened]
        closed = judge(known(items=items, last_published=before), heard(look(queued=["a", "b"]), 15), evidence())
        assert closed.last_discrepancy is not None
        assert (closed.last_discrepancy.closed_at, closed.last_discrepancy.missing_job_ids) == (at(15), ["a", "b"])

    def test_only_a_verified_check_moves_the_time_of_the_last_one(self) -> None:
        assert judge(known(last_verified_at=at(0)), heard(NOTHING), evidence()).last_verified_at == at(5)
        lost = judge(known("a", last_verified_at=at(0)), heard(NOTHING), evidence())
        assert lost.last_verified_at == at(0)
        assert rules.judge_silence(known(last_verified_at=at(0)), 1, "silent", at(9)).last_verified_at == at(0)


class TestStale:
    def test_silence_shows_no_numbers_and_keeps_what_was_known(self) -> None:
        verdict = rules.judge_silence(
            known("a", last_published=told(counts={"queued": 1})), 5_000, "did not answer within 5 s", at(15)
        )
        assert (verdict.status, verdict.counts, verdict.latency_ms) == ("stale", {}, 5_000)
        assert (verdict.job_diff, verdict.details, verdict.reason) == (None, None, "did not answer within 5 s")
        assert verdict.status_changed

    def test_lasting_silence_is_no_news_and_another_reason_is_and_stays_in_the_record(self) -> None:
        before = known(last_published=told("stale", reason="answered 500"))
        assert not rules.judge_silence(before, 1, "answered 500", at(20)).changed
        other = rules.judge_silence(before, 1, "refused the connection", at(20))
        assert (other.changed, other.status_changed) == (True, True)


class TestAccept:
    def test_the_last_accepted_item_is_the_recovery(self) -> None:
        before = known(items=[missing("a")], last_published=told("discrepancy", {"queued": 4}, checked_at=at(-3)))
        verdict = rules.judge_acceptance(before, [missing("a")], 4, at(9))
        assert verdict is not None
        assert (verdict.status, verdict.status_changed, verdict.details) == ("verified", True, None)
        assert (verdict.counts, verdict.checked_at) == ({"queued": 4}, at(-3)), "nobody has looked"

    def test_the_others_stay_open(self) -> None:
        before = known(items=[missing("a"), missing("b")], last_published=told("discrepancy"))
        verdict = rules.judge_acceptance(before, [missing("a")], 4, at(9))
        assert verdict is not None
        assert verdict.details is not None
        assert (verdict.details.expected, verdict.details.actual, ids_of(verdict, "missing")) == (5, 4, ["b"])

    def test_a_stale_service_stays_stale(self) -> None:
        before = known(items=[missing("a")], last_published=told("stale", reason="answered 500"))
        verdict = rules.judge_acceptance(before, [missing("a")], 0, at(9))
        assert verdict is not None
        assert (verdict.status, verdict.reason, kinds_of(verdict)) == ("stale", "answered 500", [])

    def test_what_a_look_found_stays_found(self) -> None:
        first = judge(known(), heard(look(queued=["d"], failed=["d"])), evidence())
        before = known(items=[missing("a")], last_published=told("discrepancy", findings=list(first.findings)))
        verdict = rules.judge_acceptance(before, [missing("a")], 0, at(9))
        assert verdict is not None
        assert (verdict.status, kinds_of(verdict)) == ("discrepancy", ["duplicate"])


def test_an_extra_state_of_the_service_is_known_like_any_other() -> None:
    answer = look()
    answer = type(answer)(answer.counts, (listing("paused", ["a"]), *answer.listings), 1)
    job_diff = judge(known(last_published=None), heard(answer), evidence()).job_diff
    assert job_diff is not None
    assert job_diff.jobs == {"a": job("a", "paused")}


def test_a_payload_of_thousands_of_missing_jobs_fits_into_an_event() -> None:
    ids = [f"job_{n:06}_é" for n in range(10_000)]
    verdict = judge(known(*ids), heard(NOTHING), evidence())
    assert verdict.details is not None
    assert len(verdict.details.missing_job_ids) == 10_000, "the record keeps all of them"
    named = ids_of(verdict, "missing")
    assert named == ids[: len(named)]
    assert 100 < len(named) < 1_000
