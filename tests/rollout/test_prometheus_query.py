"""What a Prometheus says is a number, or unknown."""

import json
from http.server import BaseHTTPRequestHandler

import pytest

from app.rollout.prometheus_query import fetch_value, parse_value
from tests.support.unleash_stub import Edge


def vector(*values: str) -> dict[str, object]:
    series = [{"metric": {}, "value": [1.0, value]} for value in values]
    return {"status": "success", "data": {"resultType": "vector", "result": series}}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (vector("1.5"), 1.5),
        (vector("1.5", "7", "NaN"), 7.0),
        (vector(), None),
        (vector("NaN"), None),
        ({"data": {"resultType": "scalar", "result": [1.0, "3"]}}, 3.0),
        ({"status": "error"}, None),
        ([], None),
        (None, None),
    ],
)
def test_the_largest_value_counts_and_nothing_is_unknown(answer: object, expected: float | None) -> None:
    assert parse_value(answer) == expected


def test_it_is_asked_by_its_query_and_what_is_no_answer_is_unknown(edge: Edge) -> None:
    def respond(status: int, body: bytes) -> None:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)

        edge.answers = [answer]

    respond(200, json.dumps(vector("4")).encode())
    assert fetch_value(edge.url, 'rate(errors{job="mail"}[5m])') == 4.0
    assert edge.asked[-1] == "GET /api/v1/query?query=rate%28errors%7Bjob%3D%22mail%22%7D%5B5m%5D%29"
    respond(503, b"{}")
    assert fetch_value(edge.url, "up") is None
    respond(200, b"<html>")
    assert fetch_value(edge.url, "up") is None
    assert fetch_value("http://127.0.0.1:9", "up") is None
