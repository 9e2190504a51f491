"""What each line of a command's log is, is stored with it: no page reads it from the words."""

from app.commands import command_progress
from app.commands.command_progress import KEPT_FIRST_LINES, MAX_LOG_LINES
from app.commands.models import CommandRow
from app.sources.protocol import OperationResult
from app.web.commands.command_views import CommandView
from tests.commands.scripted import Scene

RUNNING = {"commandId": "intent-0001", "phase": "running", "service": "mail"}


def test_the_request_and_the_outcome_are_told_from_everything_else(scene: Scene) -> None:
    scene.script.settles = [OperationResult("done", "It is queued.")]
    command_id = scene.give("j1")
    scene.run(command_id)
    said = command_progress.build_status(scene.row(command_id)).to_wire()
    kinds = dict(zip(said["logs"], said["logKinds"], strict=True))
    assert [line for line, kind in kinds.items() if kind == "request"] == ["asking mail: retry-job j1"]
    assert [line for line, kind in kinds.items() if kind == "outcome"] == [said["logs"][-1]]
    assert kinds["It is queued."] == "progress"


def test_a_request_is_no_last_word_but_an_answer_that_reads_like_one_is() -> None:
    line = "asking nicely did not help"
    assert CommandView.from_payload({**RUNNING, "logs": [line], "logKinds": ["request"]}).last_line == ""
    assert CommandView.from_payload({**RUNNING, "logs": [line], "logKinds": ["progress"]}).last_line == line


def test_lines_of_an_older_version_are_shown_and_go_on(scene: Scene) -> None:
    row = scene.row(scene.give("j1"))
    row.logs_json, row.log_kinds_json = '["running", "asking mail: retry-job j1", "It is queued."]', '["progress"]'
    assert CommandView.of(row).last_line == "It is queued."
    command_progress.append_log(row, ["verified"], "outcome")
    said = command_progress.build_status(row)
    assert (said.logs[-1], said.log_kinds) == ("verified", ["progress", "progress", "progress", "outcome"])
    assert CommandView.from_payload({**RUNNING, "logs": ["running", "It is queued."]}).last_line == "It is queued."


def test_a_log_that_is_cut_keeps_the_kind_of_each_line_it_keeps() -> None:
    row = CommandRow(logs_json="[]", log_kinds_json="[]")
    command_progress.append_log(row, ["asked"], "request")
    command_progress.append_log(row, (f"line {n}" for n in range(2 * MAX_LOG_LINES)))
    command_progress.append_log(row, ["over"], "outcome")
    lines = command_progress.parse_logs(row)
    assert (len(lines), lines[KEPT_FIRST_LINES - 1]) == (MAX_LOG_LINES, f"line {KEPT_FIRST_LINES - 2}")
    kinds = command_progress.pair_with_kinds(lines, command_progress._parse_kinds(row))
    assert [kinds[0], kinds[-1]] == [("asked", "request"), ("over", "outcome")]
    assert {kind for _, kind in kinds[1:-1]} == {"progress"}
