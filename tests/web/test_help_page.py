"""The help page explains every word that the other pages use for a state, and how to break the demo."""

import re
from pathlib import Path

from flask import Flask

from app.config import current_settings
from app.db import write
from app.infra.demo_guide import DemoService, write_guide
from app.reconciliation import registry
from app.reconciliation.finding_text import _LABELS
from app.web.display_text import STATE_WORDS
from tests.support.cast import ALICE, logged_in
from tests.web.test_failure_pages import words

ROOT = Path(__file__).parents[2]
MAIL = DemoService(
    id="mail",
    title="Mail <b>",
    url="http://127.0.0.1:9",
    shows="It fails.",
    breaks="Let it hang",
    breakCommand='curl -d \'{"mode": "hang"}\'',
    mends="Let it answer",
    mendCommand="curl -d '{}'",
)


def text_of(app: Flask) -> str:
    return words(logged_in(app, ALICE).get("/help").text)


def test_every_state_finding_and_state_of_the_connection_is_explained(cast: Flask) -> None:
    explained = text_of(cast).lower()
    findings = {kind.replace("-", " ") for kind in _LABELS}
    assert {word for word in {*map(str.lower, STATE_WORDS.values()), *findings} if word not in explained} == set()
    script = (ROOT / "static/js/ui/connection_text.js").read_text()
    tables = re.findall(r"const (?:STATE|REASON)_WORDS = \{(.*?)\}", script)
    badge_words = set(re.findall(r': "([^"]+)"', "".join(tables))) - {"Connecting"}
    assert len(badge_words) >= 6
    assert {word for word in badge_words if word.lower() not in explained} == set()


def test_every_key_of_the_dialog_is_explained(cast: Flask) -> None:
    dialog = (ROOT / "static/js/interaction/keyboard.js").read_text()
    page = logged_in(cast, ALICE).get("/help").text
    keys = re.findall(r"<kbd>.</kbd>", dialog)
    assert len(keys) >= 6
    assert all(key in page for key in keys)


def test_what_the_demo_runs_is_told_with_the_commands_that_break_and_mend_it(cast: Flask) -> None:
    assert "services of this demo" not in text_of(cast)
    with cast.app_context():
        with write() as session:
            registry.add(session, id="mail", name="Mail", kind="palantir", url=MAIL.url)
        write_guide(current_settings().instance_dir, [MAIL, MAIL.model_copy(update={"id": "gone", "title": "Gone"})])
    told = text_of(cast)
    for sentence in (
        "Mail <b>",
        MAIL.shows,
        f"{MAIL.breaks}: {MAIL.break_command}",
        f"{MAIL.mends}: {MAIL.mend_command}",
    ):
        assert sentence in told
    assert "Gone" not in told


def test_a_guide_that_cannot_be_read_is_left_out(cast: Flask) -> None:
    with cast.app_context():
        (current_settings().instance_dir / "demo_services.json").write_text('[{"id": 1}]')
    assert "services of this demo" not in text_of(cast)
