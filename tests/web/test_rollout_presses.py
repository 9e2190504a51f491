"""What people press on `/rollout` meets what others did meanwhile: it is not set over, and nothing typed is lost."""

import html
import re
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask

from app.db import write
from app.flags.document import ConfiguredState
from app.flags.models import PlanRow
from app.flags.provider import ChangeRefused
from app.infra.problems import Problem
from app.rollout import plan_service
from app.web.rollout.rollout_form import DEFAULT_REASON, FLAG, RolloutForm
from tests.web.test_rollout_page import PAGE, Desk, desk, regions, words

__all__ = ["desk"]

PLAN = f"{PAGE}/plan"


def sent_along(desk: Desk, query: str = "") -> dict[str, str]:
    """The hidden fields of the page's review, or of its plan."""
    text = desk.get(query)
    form = text.split(f'class="{"apply" if query else "plan-form"}"')[1].split("</form>")[0]
    found = re.findall(r'<input type="hidden" name="(\w+)" value="(.*?)"', form)
    return {name: html.unescape(value) for name, value in found if name != "csrf_token"}


def steered(desk: Desk, what: str, who: str = "bob", percentages: tuple[int, ...] = (5, 15)) -> None:
    """By somebody else."""
    steps = [{"percentage": one, "holdMinutes": 60.0} for one in percentages]
    with desk.app.app_context(), write() as session:
        if what == "start":
            plan_service.begin_plan(
                session, FLAG, who, "my turn", steps, plan_service.compute_seen(session.get(PlanRow, FLAG))
            )
        elif what == "stop":
            plan_service.stop_plan(session, FLAG, who, plan_service.compute_seen(session.get(PlanRow, FLAG)))
        else:
            plan_service.pause_for_person(session, FLAG, who, what)


def planned(desk: Desk) -> tuple[str, bool] | None:
    with desk.app.app_context(), write() as session:
        row = session.get(PlanRow, FLAG)
        return None if row is None else (row.actor, row.paused_at is not None)


START: dict[str, Any] = {"do": "start", "percentage": ["20", "50"], "minutes": ["30", "60"], "reason": "slowly"}


def test_back_at_the_percentage_that_was_seen_is_not_where_it_was(desk: Desk) -> None:
    seen = sent_along(desk, "?percentage=50")
    desk.put(50, who="bob")
    desk.put(10, who="bob")
    sent = desk.send(do="set", reason="looks well", **seen)
    assert sent.status_code == 409
    assert "Changed to 10 % by bob less than a minute ago." in words(sent.text)
    assert desk.stands() == {"percentage": 10, "enabled": True, "actor": "bob"}
    assert desk.send(do="set", reason="looks well", **sent_along(desk, "?percentage=50")).status_code == 303


def test_a_flag_that_nobody_had_touched_was_touched_meanwhile(cast: Flask) -> None:
    desk = Desk(cast)
    seen = sent_along(desk, "?percentage=50")
    assert seen["seenAt"] == ""
    desk.put(0, who="bob")
    assert desk.send(do="set", reason="a start", **seen).status_code == 409
    assert desk.stands()["percentage"] == 0


def test_a_second_press_of_the_same_is_done_and_no_change_of_somebody_elses(desk: Desk) -> None:
    seen = sent_along(desk, "?percentage=50")
    for _ in range(2):
        assert desk.send(do="set", reason="looks well", **seen).status_code == 303
    assert desk.part("history").count("10 % → 50 %") == 1
    assert desk.send(do="set", reason="another reason", **seen).status_code == 409
    desk.put(50, who="bob")
    assert desk.send(do="set", reason="looks well", **seen).status_code == 409


def test_somebody_who_switched_it_off_is_said_to_have(desk: Desk) -> None:
    seen = sent_along(desk, "?percentage=50")
    desk.put(enabled=False, who="bob")
    assert "Switched off by bob less than a minute ago" in words(desk.send(do="set", reason="more", **seen).text)


def test_a_plan_that_somebody_else_started_is_neither_replaced_nor_steered(desk: Desk) -> None:
    seen = sent_along(desk)
    steered(desk, "start")
    sent = desk.send(PLAN, **START, **seen)
    assert sent.status_code == 409
    said = words(sent.text)
    assert "There is another plan now, started by bob (5 → 15 %: my turn). Nothing was changed." in said
    assert "You asked for 20 % for 30 min, 50 % for 60 min: slowly" in said
    assert "plan" in regions(sent.text)
    seen = sent_along(desk)
    steered(desk, "start", "bea")
    for do in ("pause", "resume", "stop"):
        sent = desk.send(PLAN, do=do, **seen)
        assert (sent.status_code, "started by bea" in sent.text) == (409, True), do
    assert planned(desk) == ("bea", False)
    assert desk.send(PLAN, do="stop", **sent_along(desk)).status_code == 303
    assert planned(desk) is None


def test_a_plan_that_is_over_is_not_begun_again_by_pausing_it_and_stopping_it_twice_is_stopping_it(desk: Desk) -> None:
    steered(desk, "start")
    seen = sent_along(desk)
    assert [desk.send(PLAN, do="stop", **seen).status_code for _ in range(2)] == [303, 303]
    assert desk.send(PLAN, do="pause", **seen).status_code == 404


def test_starting_a_plan_twice_starts_one(desk: Desk) -> None:
    seen = sent_along(desk)
    assert [desk.send(PLAN, **START, **seen).status_code for _ in range(2)] == [303, 303]
    assert desk.part("history").count("plan started") == 1


def test_a_plan_goes_on_under_the_hand_that_pauses_it_but_not_after_a_pause_that_nobody_saw(desk: Desk) -> None:
    steered(desk, "start")
    running = sent_along(desk)
    with desk.app.app_context(), write() as session:
        row = session.get_one(PlanRow, FLAG)
        row.step, row.since = 0, row.since + 5
    assert desk.send(PLAN, do="pause", **running).status_code == 303
    seen = sent_along(desk)
    assert desk.send(PLAN, do="resume", **seen).status_code == 303
    steered(desk, "the guardrail holds", "guardrail")
    sent = desk.send(PLAN, do="resume", **seen)
    assert sent.status_code == 409
    assert "It was paused again. Check the reason. Nothing was changed." in words(sent.text)
    assert planned(desk) == ("bob", True)


def test_a_plan_shows_until_when_its_last_step_is_held_and_how_it_ended(desk: Desk) -> None:
    steered(desk, "start")
    with desk.app.app_context(), write() as session:
        row = session.get_one(PlanRow, FLAG)
        row.step = 1
    shown = desk.part("plan")
    assert "Done 5 % for 1 h Now 15 % for 1 h Not enough seen 0 of 57 connects" in shown
    assert re.search(r"The last step lasts at least until \S+ \S+ ; then the plan is over", shown)
    with desk.app.app_context(), write() as session:
        plan_service.end_plan(session, FLAG, "its last step was held")
    said = "Previous plan by bob (5 % for 1 h, 15 % for 1 h: my turn), ended: its last step was held,"
    assert said in desk.part("plan")
    assert "Start the plan" in desk.part("plan")
    steered(desk, "start", "bea")
    steered(desk, "stop", "ada")
    assert "Previous plan by bea (5 % for 1 h, 15 % for 1 h: my turn), stopped by ada," in desk.part("plan")


def test_a_paused_plan_says_who_paused_it_and_why(desk: Desk) -> None:
    steered(desk, "start")
    steered(desk, "the guardrail holds", "guardrail")
    found = desk.part("plan")
    assert re.search(r"Paused by the guardrail \S+ UTC : the guardrail holds. Nothing is raised until", found), found
    assert desk.send(PLAN, do="resume", **sent_along(desk)).status_code == 303
    assert desk.send(PLAN, do="pause", **sent_along(desk)).status_code == 303
    assert re.search(r"Paused by pia \S+ UTC . Nothing is raised until somebody resumes it", desk.part("plan"))


def test_while_the_flag_is_off_its_plan_cannot_be_resumed_and_says_so(desk: Desk) -> None:
    steered(desk, "start")
    desk.put(enabled=False)
    steered(desk, "the flag is switched off", "plan")
    found = desk.part("plan")
    assert re.search(r"Paused by itself \S+ UTC : the flag is switched off.", found), found
    assert "The flag must be switched on first." in found
    assert re.search(r'value="resume" disabled', desk.get())


def test_a_refused_plan_comes_back_as_it_was_typed_and_stays(desk: Desk) -> None:
    form = {"do": "start", "percentage": ["7", "100"], "minutes": ["1.5", "x"], "reason": "mine <own>", "typed": "10"}
    text = desk.send(PLAN, **form).text
    for part in ('value="7"', 'value="1.5"', 'value="x"', 'value="mine &lt;own&gt;"', 'name="typed" value="10"'):
        assert part in text, part
    assert "plan" not in regions(text)  # loading it again would wipe it
    assert "plan" in regions(desk.get())


def test_a_refused_kill_keeps_its_reason(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise ChangeRefused("Changes need an approval in Unleash.", "unleash-approval")

    monkeypatch.setattr(desk.app.extensions["beacon"].provider, "change", refused)
    assert 'name="reason" value="they all fail"' in desk.send(do="off", reason="they all fail").text
    assert f'value="{DEFAULT_REASON}"' in desk.send(do="off", reason=" ").text


def test_the_span_of_the_evidence_outlasts_a_review_a_press_and_a_refusal(desk: Desk) -> None:
    text = desk.get("?percentage=50&minutes=360&reason=so+far+so+good")
    assert 'action="/rollout?percentage=50&amp;minutes=360#review"' in text
    assert text.count('<input type="hidden" name="minutes" value="360">') == 2
    assert 'href="/rollout?percentage=50&amp;reason=so+far+so+good#evidence"' in text
    assert 'href="/rollout?minutes=360">Cancel' in text
    sent = desk.send(f"{PAGE}?minutes=360", do="off")
    assert sent.headers["Location"] == f"{PAGE}?minutes=360#main"
    refused = desk.send(f"{PLAN}?minutes=360", do="dance").text
    assert re.search(r'id="span-360"[^>]*aria-current', refused)


def test_before_any_flags_are_known_nobody_says_who_would_switch(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.polls("zoe")
    monkeypatch.setattr(desk.app.extensions["beacon"].flags, "configuration", None)
    found = desk.part("switching", "?percentage=50")
    assert "the affected users are unknown: no flag configuration is loaded yet." in found
    assert "would come" not in found
    answer = desk.client.get(f"/api/rollout/{FLAG}/preview?percentage=50").get_json()
    assert (answer["comes"], answer["goesTotal"], answer["online"]) == (None, None, 1)


def test_switching_on_what_no_single_percentage_says_has_to_be_typed() -> None:
    on, several = RolloutForm(on=True, reason="again"), ConfiguredState(False, None, "it has 2 strategies")
    assert on.needs_confirmation(several)
    with pytest.raises(Problem, match="to confirm"):
        on.check(several)
    replace(on, typed="100").check(several)
    assert not on.needs_confirmation(ConfiguredState(False, 50))
