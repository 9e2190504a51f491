"""`/rollout` as plain HTML: what it shows, who may act, and that nothing is set over somebody else's change."""

import html
import json
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from app.db import write
from app.eventlog.event_types import ChangeKind
from app.flags import embedded
from app.flags.change_log import RolloutChange
from app.flags.document import ConfiguredState, Flag, Rollout
from app.flags.models import PlanRow, PollingRow, ReportRow, WorkerStateRow
from app.flags.provider import ChangeRefused, EmbeddedProvider, FlagView, current_provider
from app.rollout import client_reports
from app.rollout.client_metrics import ChangeMark, ClientMetrics, MinuteMetrics
from app.rollout.client_reports import ReportTotals
from app.rollout.plan_service import read_epoch
from app.web.rollout import charts, rollout_summary
from app.web.rollout.rollout_form import DEFAULT_REASON, FLAG
from tests.support.cast import ADA, ALICE, BOB, PIA, Person, csrf_token, logged_in

PAGE = "/rollout"


def words(text: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


class Desk:
    """Somebody's browser, with scripts off."""

    def __init__(self, app: Flask, person: Person = PIA) -> None:
        self.app, self.client = app, logged_in(app, person)
        self.csrf = csrf_token(self.client, PAGE)

    def get(self, query: str = "") -> str:
        response = self.client.get(PAGE + query, headers={"Accept": "text/html"})
        assert response.status_code == 200, response.text
        return response.text

    def part(self, name: str, query: str = "") -> str:
        """One region in words."""
        return words(self.get(query).split(f'data-region="rollout-{name}')[1].split("</section>")[0])

    def send(self, path: str = PAGE, **form: Any) -> TestResponse:
        return self.client.post(path, data={"csrf_token": self.csrf, **form}, headers={"Accept": "text/html"})

    def put(self, percentage: int | None = None, enabled: bool | None = None, who: str = "bea") -> None:
        """Somebody else's change, which this worker's flags follow."""
        with self.app.app_context():
            with write() as session:
                embedded.change_rollout(session, FLAG, who, "because", percentage, enabled)
            self.app.extensions["beacon"].flags.load(EmbeddedProvider().load())

    def stands(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/api/rollout/{FLAG}").get_json()
        return {name: found[name] for name in ("percentage", "enabled", "actor")}

    def polls(self, *users: str) -> None:
        with self.app.app_context(), write() as session:
            for user in users:
                session.merge(PollingRow(user=user, seen=read_epoch(session)))


@pytest.fixture
def desk(cast: Flask) -> Desk:
    made = Desk(cast)
    made.put(10)
    return made


def test_it_says_where_the_rollout_stands_and_who_put_it_there(desk: Desk) -> None:
    found = desk.part("standing")
    for part in ("10 % of users are in", "Set by bea,", "Why because", "Beacon's own database", "Workers up to date —"):
        assert part in found, part
    desk.put(enabled=False)
    assert "10 % kept; switched off, nobody is in" in desk.part("standing")
    assert "Switched off" in desk.part("bar")


@pytest.mark.parametrize("person", [ALICE, BOB])
def test_others_see_it_with_disabled_controls_the_reason_and_no_names(cast: Flask, desk: Desk, person: Person) -> None:
    desk.polls("zoe")
    other = Desk(cast, person)
    text = other.get("?percentage=100")
    assert f"The rollout needs the role product; you are {person.role}." in text
    main = text.split("<main")[1].split("</main>")[0]
    controls = re.findall(r"<(?:button|input(?! type=\"hidden\"))[^>]*>", main)
    assert controls
    assert [one for one in controls if "disabled" not in one] == []
    assert "zoe" not in text
    assert other.send(do="off").status_code == 403


def test_before_it_is_set_the_people_who_would_switch_are_named(desk: Desk) -> None:
    desk.put(0)
    desk.polls("ann", "bea", "cid")
    review = desk.part("switching", "?percentage=100")
    assert "3 would join the stream: ann, bea, cid 0 would leave the stream." in review
    assert re.match(r".*Of 3 people online, as of \d\d:\d\d:\d\d :", review)
    desk.put(100)
    assert "3 would leave the stream: ann, bea, cid" in desk.part("switching", "?percentage=0")
    desk.put(enabled=False)
    assert "nobody switches until it is switched on" in desk.part("switching", "?percentage=50")
    assert "3 would join the stream" in desk.part("switching", "?on=1")


def test_what_was_reviewed_is_set_with_its_reason(desk: Desk) -> None:
    sent = desk.send(do="set", percentage="50", reason="looks well", seenPercentage="10", seenEnabled="true")
    assert (sent.status_code, sent.headers["Location"]) == (303, f"{PAGE}#main")
    assert desk.stands() == {"percentage": 50, "enabled": True, "actor": "pia"}
    assert "10 % → 50 % pia looks well" in desk.part("history")


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"percentage": "50"}, "Give a reason"),
        ({"percentage": "101", "reason": "x"}, "a whole number from 0 to 100"),
        ({"reason": "x"}, "Give a percentage"),
        ({"percentage": "100", "reason": "x", "typed": "yes"}, f"Type {FLAG}, or 100, to confirm."),
    ],
)
def test_what_is_not_complete_sets_nothing_and_keeps_what_was_typed(
    desk: Desk, form: dict[str, str], said: str
) -> None:
    sent = desk.send(do="set", seenPercentage="10", seenEnabled="true", **form)
    assert sent.status_code == 400
    assert said in words(sent.text)
    for name in ("reason", "typed") if form.get("percentage") == "100" else ():
        assert f'value="{form[name]}"' in sent.text
    assert desk.stands()["percentage"] == 10


@pytest.mark.parametrize("typed", ["100", str(FLAG), "100 %"])
def test_everybody_is_let_in_once_that_was_typed(desk: Desk, typed: str) -> None:
    assert f"Type {FLAG} , or 100 , to confirm" in words(desk.get("?percentage=100"))
    assert desk.send(do="set", percentage="100", reason="all of them", typed=typed).status_code == 303
    assert desk.stands()["percentage"] == 100
    desk.put(enabled=False)
    assert desk.send(do="set", on="1", reason="again").status_code == 400
    assert desk.send(do="set", on="1", reason="again", typed=typed).status_code == 303
    assert desk.stands()["enabled"] is True


def test_somebody_elses_change_is_named_and_nothing_typed_is_lost(desk: Desk) -> None:
    desk.put(25, who="bob")
    sent = desk.send(do="set", percentage="50", reason="looks <well>", seenPercentage="10", seenEnabled="true")
    assert sent.status_code == 409
    assert "Changed to 25 % by bob less than a minute ago. Nothing was set: review it again." in words(sent.text)
    assert 'value="looks &lt;well&gt;"' in sent.text
    assert 'name="seenPercentage" value="10"' in sent.text  # what stands by now was not looked at
    assert 'href="/rollout?percentage=50&amp;reason=looks+%3Cwell%3E#review">Look again' in sent.text
    assert desk.stands()["percentage"] == 25


def test_taking_back_takes_one_press_from_wherever_it_stands(desk: Desk) -> None:
    assert f'name="reason" value="{DEFAULT_REASON}"' in desk.get()
    assert desk.send(do="zero", reason=DEFAULT_REASON).status_code == 303
    assert desk.stands()["percentage"] == 0
    desk.put(50)
    assert desk.send(do="off", reason="").status_code == 303
    assert desk.stands() == {"percentage": 50, "enabled": False, "actor": "pia"}
    assert f"50 % → off (kept 50 %) pia {DEFAULT_REASON}" in desk.part("history")


def test_where_beacon_may_not_change_it_the_page_says_so_with_a_link(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise ChangeRefused("Changes need an approval in Unleash.", "unleash-approval", "http://unleash.test/p")

    monkeypatch.setattr(desk.app.extensions["beacon"].provider, "change", refused)
    for do in ("set", "off"):
        sent = desk.send(do=do, percentage="50", reason="more")
        assert sent.status_code == 403
        assert 'approval in Unleash. <a href="http://unleash.test/p">' in sent.text


class WithoutToken(EmbeddedProvider):
    """As a real Unleash is seen that has stopped answering, and that Beacon may not change."""

    mode = "unleash"

    def view(self, session: Session, flag: Flag) -> FlagView:
        why = "Beacon has no admin token of Unleash: change it there."
        return replace(super().view(session, flag), why_not=why, link="http://unleash.test/p")

    def describe_problem(self) -> str:  # type: ignore[override]
        return "Unleash: it cannot be reached; the last known flags apply"


def test_of_a_real_unleash_the_page_says_what_is_wrong_and_where_to_change_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk.app.extensions["beacon"], "provider", WithoutToken())
    found = desk.part("standing")
    assert "Unleash: it cannot be reached; the last known flags apply" in found
    assert "no admin token of Unleash: change it there. Open it in Unleash" in found
    assert "Stored in Unleash, its page there" in found
    text = desk.get("?percentage=50")
    buttons = re.findall(r"<button[^>]*>", text.split("<main")[1].split("</main>")[0])
    able = [one for one in buttons if "disabled" not in one]
    assert [re.findall('value="(.*?)"', one) for one in able] == [["off"], ["limits"]]
    assert text.count('href="http://unleash.test/p"') == 2


def test_a_plan_is_started_paused_resumed_and_stopped_by_forms(cast: Flask, desk: Desk) -> None:
    sent = desk.send(
        f"{PAGE}/plan", do="start", percentage=["20", "50", ""], minutes=["30", "120", "5"], reason="slowly"
    )
    assert sent.status_code == 303, words(sent.text)
    assert "20 % for 30 min Then 50 % for 2 h Nobody is online now" in desk.part("plan")
    assert "The first step follows within seconds." in desk.part("plan")
    with cast.app_context(), write() as session:
        session.get_one(PlanRow, FLAG).step = 0
    shown = desk.part("plan")
    assert "Now 20 % for 30 min Then 50 % for 2 h Not enough seen 0 of 57 connects, 0 of 2 people" in shown
    assert "This step lasts at least until" in shown
    for do, said in (
        ("pause", "Nothing is raised until"),
        ("resume", "This step lasts at least until"),
        ("stop", "Start the plan"),
    ):
        assert desk.send(f"{PAGE}/plan", do=do).status_code == 303
        assert said in desk.part("plan")
    form = {"do": "start", "percentage": ["50", "100"], "minutes": ["1", "1"], "reason": "all"}
    assert desk.send(f"{PAGE}/plan", **form, typed="100").status_code == 303
    found = desk.part("history")
    assert "plan started: 20 % for 30 min, 50 % for 2 h" in found
    assert "plan stopped" in found


@pytest.mark.parametrize(
    ("form", "status", "said"),
    [
        (
            {"do": "start", "percentage": ["50", "20"], "minutes": ["1", "1"], "reason": "x"},
            400,
            "each step must be higher",
        ),
        ({"do": "start", "percentage": ["50"], "minutes": ["x"], "reason": "x"}, 400, "A step is a percentage"),
        ({"do": "start", "percentage": ["50"], "minutes": ["1"]}, 400, "Give a reason"),
        ({"do": "start", "percentage": ["9", "100"], "minutes": ["1", "0"], "reason": "x"}, 400, "Type enable_sse_"),
        ({"do": "pause"}, 404, "There is no plan"),
        ({"do": "dance"}, 400, "Expected do=start"),
    ],
)
def test_what_is_no_plan_is_refused_in_words(desk: Desk, form: dict[str, Any], status: int, said: str) -> None:
    sent = desk.send(f"{PAGE}/plan", **form)
    assert sent.status_code == status
    assert said in words(sent.text)


def test_expected_and_actual_stand_side_by_side(desk: Desk) -> None:
    desk.put(100)
    desk.polls("ann", "bea")
    found = desk.part("standing")
    assert "online now 2 enabled for 2 streaming 0 No lasting difference" in found
    since = desk.app.extensions["beacon"].drift._since
    since.seen = dict.fromkeys(since.seen, time.time() - 60)
    assert "Discrepancy 2 should stream but have been polling for more than 30 s. ann, bea" in desk.part("standing")


def workers(desk: Desk, holding: int, total: int) -> None:
    """So many that run, and hold what stands here."""
    with desk.app.app_context(), write() as session:
        now = current_provider().view(session, FLAG).state
        for number in range(total):
            state = json.dumps({FLAG: asdict(now if number < holding else ConfiguredState(True, 77))})
            session.merge(
                WorkerStateRow(worker=f"w{number}", version="v", nominal_json=state, seen=read_epoch(session))
            )


def test_a_rollback_shows_its_three_steps_and_what_is_not_known(cast: Flask, desk: Desk) -> None:
    assert "Taken back" not in desk.get()
    desk.put(0)
    found = desk.part("back")
    assert "by bea" in found
    assert "Not known yet The flag is lowered. It is unknown which workers are up to date." in found
    assert "Not known yet It is unknown whether the error rate has recovered." in found
    assert "The share of attempts to connect that fail now is unknown" in found
    with cast.app_context(), write() as session:
        now = read_epoch(session)
        client_reports.add_totals(session, "polling", ReportTotals(reports=1, attempts=100, failures=1), now - 120)
        client_reports.add_totals(session, "polling", ReportTotals(reports=1, attempts=100, failures=1), now + 60)
    workers(desk, 1, 1)
    found = desk.part("back")
    assert "Done The flag is lowered. The only worker is up to date." in found
    assert "Done Browsers drop" in found
    assert "No excluded user streams." in found
    assert "Done The error rate is back at its previous level. 1 % of attempts to connect fail now; 1 % did" in found
    with cast.app_context(), write() as session:
        session.get_one(ReportRow, (int((now + 60) // 60), "polling")).failures = 20
    assert "Watched The error rate is higher than before. 20 % of attempts" in desk.part("back")
    desk.put(10)
    assert "Taken back" not in desk.get()


def test_nobody_is_said_to_have_left_the_stream_before_every_worker_holds_the_change(desk: Desk) -> None:
    desk.put(0)
    workers(desk, 3, 4)
    found = desk.part("back")
    assert "Under way The flag is lowered. 3 of 4 workers are up to date." in found
    assert "Under way Browsers drop" in found
    assert "The result is known once all workers are up to date." in found
    workers(desk, 4, 4)
    assert "All 4 workers are up to date." in desk.part("back")
    assert "No excluded user streams." in desk.part("back")


def test_a_change_that_no_browser_reported_around_draws_nothing(desk: Desk) -> None:
    assert "No browser has reported anything in this time" in desk.part("evidence")
    assert "Time to hello" not in desk.part("evidence"), "no empty graphs"


def evidence_of(**minutes: tuple[int, int, float | None]) -> ClientMetrics:
    """`m3=(attempts, failures, lag)`: three minutes after the first of ten, of the streaming cohort."""
    known = [
        MinuteMetrics(int(name[1:]) + 1, "streaming", 1, attempts, failures, 0, 2, None, lag)
        for name, (attempts, failures, lag) in minutes.items()
    ]
    change = ChangeMark("1970-01-01T00:05:30.000Z", "pia", 50, True)
    return ClientMetrics(FLAG, 10, 10, {"streaming": known, "polling": []}, [change])


def test_a_graph_leaves_gaps_marks_the_change_and_says_the_same_in_words() -> None:
    found = evidence_of(m0=(10, 0, 0.25), m1=(10, 5, 0.5), m4=(0, 0, None), m9=(20, 0, 2.0))
    success, hello, lag, fallbacks, reconnects = charts.build_graphs(found)
    assert success.paths == {"streaming": ("M2 2L41.6 36", "M358 2h1"), "polling": ()}
    assert success.sentence == "Streaming: 87.5 % of 40; polling: —."
    assert (hello.is_empty, hello.sentence) == (True, "Streaming: —; polling: —.")
    assert (lag.top, lag.sentence) == ("2 s", "Streaming: 2 s this minute, 2 s at most; polling: —.")
    assert reconnects.sentence == "Streaming: 8 in all, at most 2 a minute; polling: —."
    assert [len(one) for one in fallbacks.paths.values()] == [3, 0]
    [mark] = success.marks
    assert (mark.x, mark.label) == (160.2, "50 %")


def test_the_graphs_begin_with_the_first_report() -> None:
    found = replace(evidence_of(m0=(10, 0, 0.25), m9=(20, 0, 2.0)), minutes=60)
    assert charts.first_shown_minute(found) == "1970-01-01T00:01:00.000Z"
    assert charts.build_graphs(found)[0].paths["streaming"] == ("M2 2h1", "M358 2h1")


def test_what_was_measured_last_is_said_with_its_age() -> None:
    lag = charts.build_graphs(evidence_of(m1=(10, 0, 0.25), m3=(10, 0, 0.5)))[2]
    assert lag.sentence == "Streaming: 0.5 s 6 min ago, 0.5 s at most; polling: —."


def test_marks_have_their_words_where_there_is_room_the_newest_first() -> None:
    found = evidence_of(m0=(10, 0, 0.25))
    times = ("00:01:10", "00:04:10", "00:05:10", "00:05:30", "00:09:10")
    changes = [ChangeMark(f"1970-01-01T{at}.000Z", "pia", number, True) for number, at in enumerate(times)]
    success = charts.build_graphs(replace(found, changes=changes))[0]
    assert [mark.label for mark in success.marks] == ["0 %", "1 %", "2 %", "3 %", "4 %"]
    assert [mark.label for mark in success.labels] == ["3 %", "4 %"]


def test_a_share_is_not_said_to_be_whole_that_is_not() -> None:
    said = [charts.format_metric("share", share) for share in (1, 0.99999, 0.5, 0.00001, 0, None)]
    assert said == ["100 %", "> 99.9 %", "50 %", "< 0.1 %", "0 %", "—"]


@pytest.mark.parametrize(("kind", "said"), [("ended", "plan ended"), ("released", "released at 50 %")])
def test_what_nobody_pressed_is_in_the_history_in_words(kind: ChangeKind, said: str) -> None:
    stood = Rollout(True, 50)
    entry = RolloutChange("guardrail", "guardrail", kind, "why", stood, stood)
    assert [one.what for one in rollout_summary.build_history([entry])] == [said]


@pytest.fixture
def overridden(desk: Desk) -> Iterator[Desk]:
    flags = desk.app.extensions["beacon"].flags
    flags.overrides[FLAG] = True
    yield desk
    del flags.overrides[FLAG]


def test_an_override_is_named_and_nobody_would_switch(overridden: Desk) -> None:
    overridden.polls("ann")
    assert f"BEACON_FLAG_{FLAG.upper()} decides: on for everybody" in overridden.part("standing")
    assert "The setting decides for everybody, so nobody switches." in overridden.part("switching", "?percentage=100")


def test_where_a_setting_decides_the_bar_says_what_holds_and_not_what_is_kept(overridden: Desk) -> None:
    def bar() -> str:
        return words(overridden.get().split('data-region="rollout-bar"')[1].split("</form>")[0])

    overridden.put(enabled=False)
    assert "On for all by the setting" in bar()
    assert "Switched off" not in bar()
    assert "10 % kept and switched off; the setting decides" in overridden.part("standing")
    overridden.app.extensions["beacon"].flags.overrides[FLAG] = False
    overridden.put(100, enabled=True)
    assert "Off for all by the setting" in bar()
    assert ("100 %" in bar(), "Switch the flag off" in bar()) == (False, True)


def test_the_pages_lead_here_and_programs_are_answered_in_json(cast: Flask, desk: Desk) -> None:
    assert f'href="{PAGE}"' in Desk(cast, ADA).client.get("/").text
    sent = desk.client.post(PAGE, data={"csrf_token": desk.csrf, "do": "set"}, headers={"Accept": "application/json"})
    assert sent.status_code == 400
    assert json.loads(sent.text)["detail"] == "Give a percentage, or switch the flag on."


def regions(text: str) -> dict[str, str]:
    """The markup of everything that is loaded again by itself, by name; none of them holds another."""
    found = re.split(r'<(?=[a-z]+ [^>]*data-region="rollout-)', text.split("<main")[1].split("</main>", maxsplit=1)[0])
    return {
        one.split('data-region="rollout-')[1].split('"')[0]: one.split(f"</{one.split(' ')[0]}>")[0]
        for one in found[1:]
    }


def test_a_refusal_stands_where_nothing_is_loaded_again_by_itself(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise ChangeRefused("Changes need an approval in Unleash.", "unleash-approval")

    monkeypatch.setattr(desk.app.extensions["beacon"].provider, "change", refused)
    for path, form in (
        (PAGE, {"do": "off"}),
        (PAGE, {"do": "set", "percentage": "50", "reason": "x"}),
        (f"{PAGE}/plan", {"do": "pause"}),
    ):
        text = desk.send(path, **form).text
        assert text.split("<main")[1].count('role="alert"') == 1
        assert [name for name, markup in regions(text).items() if "alert" in markup] == [], path


def test_what_the_bar_says_and_offers_follows_while_a_reason_is_half_typed(desk: Desk) -> None:
    found = regions(desk.get())
    assert "10 %" in found["bar"]
    assert "Switch off for everybody" in found["kill"]
    assert [name for name in ("bar", "kill") if "<input" in found[name]] == []


def test_where_a_setting_decides_nothing_is_said_to_have_been_taken_back(overridden: Desk) -> None:
    overridden.put(enabled=False)
    workers(overridden, 1, 1)
    found = overridden.part("back")
    assert "Not in force The flag is off, and the setting decides: on for everybody" in found
    assert "Not begun Browsers keep their stream state" in found
    assert "No excluded user streams" not in found
    overridden.app.extensions["beacon"].flags.overrides[FLAG] = False
    found = overridden.part("back")
    assert "the setting decides: off for everybody" in found
    assert "No excluded user streams" in found


def test_the_address_of_a_refused_plan_leads_to_the_page(desk: Desk) -> None:
    answer = desk.client.get(f"{PAGE}/plan")
    assert (answer.status_code, answer.headers["Location"]) == (303, f"{PAGE}#plan")
