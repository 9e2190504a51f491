"""The arguments of an ended task read the same while its message is still with the broker and after it is gone."""

import pytest

from app.sources.celery.broker import BrokerSnapshot
from app.sources.celery.messages import TaskCall
from app.sources.celery.results import TaskResult
from app.sources.celery.task_details import build_detail

CALL = TaskCall("(17,)", "{'to': 'anna', 'password': 'x'}", {})
ENDED = TaskResult("FAILURE", is_extended=True, args=[17], kwargs={"to": "anna", "password": "x"})


@pytest.mark.parametrize("call", [CALL, None])
def test_an_extended_result_has_the_arguments(call: TaskCall | None) -> None:
    detail = build_detail("task", BrokerSnapshot(None, None), ENDED, call, "all")
    assert detail is not None
    assert detail.arguments == '17, to="anna", password=(hidden)'


@pytest.mark.parametrize("call", [CALL, None])
def test_without_an_extended_result_nobody_tells_them(call: TaskCall | None) -> None:
    detail = build_detail("task", BrokerSnapshot(None, None), TaskResult("SUCCESS"), call, "all")
    assert detail is not None
    assert detail.arguments is None


def test_until_the_task_has_ended_its_message_has_them() -> None:
    retried = TaskResult("RETRY", is_extended=True)
    detail = build_detail("task", BrokerSnapshot(None, None), retried, CALL, "all")
    assert detail is not None
    assert detail.arguments == "17, to='anna', password=(hidden)"
