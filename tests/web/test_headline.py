"""One sentence on top of `/rollout`: where it stands, what it waits for, what comes next."""

from dataclasses import replace

import pytest

from app.flags.document import ConfiguredState
from app.flags.provider import FlagView
from app.web.rollout.claimed_state import ClaimedState
from app.web.rollout.guardrail_text import GuardrailText
from app.web.rollout.headline import Headline
from app.web.rollout.rollout_summary import PlanView

CLAIM = ClaimedState.of(FlagView(ConfiguredState(True, 10)), None, None)
CALM = GuardrailText("success", "Within the limits", "1 of 400 failed.", None, "")
HOLDS = GuardrailText("warning", "Holds", "20 of 100 failed.", "2026-12-01T09:00:00.000Z", "")
STEPS = (("10 % for 1 h", "now"), ("50 % for 1 h", "next"))
PLAN = PlanView(STEPS, False, None, "pia", "slowly", "2026-12-01T10:00:00.000Z", "x", is_last=False)


@pytest.mark.parametrize(
    ("guardrail", "plan", "word", "said"),
    [
        (CALM, None, "Within the limits", "It stands at 10 %. 1 of 400 failed. Nothing is planned: it stays there."),
        (CALM, PLAN, "Goes on", "It stands at 10 %. Next: 50 % for 1 h, not before"),
        (
            CALM,
            replace(PLAN, waits=("waits for 13 connects",)),
            "Waits",
            "It stands at 10 %. Waits for 13 connects. Next: 50 % for 1 h.",
        ),
        (
            CALM,
            replace(PLAN, steps=(("10 % for 1 h", "now"),), is_last=True),
            "Goes on",
            "It stands at 10 %. Next: the plan ends, and the flag stays, not before",
        ),
        (
            CALM,
            replace(PLAN, paused=True),
            "Paused",
            "It stands at 10 %. The plan is paused. Nothing is raised until somebody resumes it.",
        ),
        (HOLDS, PLAN, "Held", "It stands at 10 %. 20 of 100 failed. The plan waits for a person."),
    ],
)
def test_it_says_where_it_stands_what_is_seen_and_what_comes_next(
    guardrail: GuardrailText, plan: PlanView | None, word: str, said: str
) -> None:
    found = Headline.of(CLAIM, guardrail, plan)
    assert (found.word, found.text) == (word, said)
    assert (found.until is not None) == (word == "Goes on")
