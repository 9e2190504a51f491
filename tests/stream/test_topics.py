"""The `topics=` query."""

import pytest

from app.stream import topics


@pytest.mark.parametrize(
    ("query", "taken", "left"),
    [
        (None, ["a", "job.failed", "x.y.z"], []),
        ("job.failed", ["job.failed"], ["job.finished", "job", "job.failed.twice"]),
        ("job.*", ["job.failed", "job.a.b"], ["job", "jobs.failed", "myjob.x"]),
        ("job.*,test", ["job.x", "test"], ["test.x"]),
        ("a.b.*", ["a.b.c"], ["a.b", "a.c"]),
        ("job.*,job.*", ["job.x"], ["x"]),
    ],
)
def test_what_matches(query: str | None, taken: list[str], left: list[str]) -> None:
    chosen = topics.parse_topics(query)
    assert [name for name in taken + left if chosen.matches(name)] == taken


@pytest.mark.parametrize(
    "query",
    [
        "", ",", "a,", ",a", "a,,b", "*", ".*", "job*", "*.job", "a.*.b", "a.**", "A", "a b", " a", "a\n", "job.*\n",
        "a;b", "ä", "a" * 101, ",".join(["a"] * 51),
    ],
)  # fmt: skip
def test_bad_syntax_is_refused(query: str) -> None:
    with pytest.raises(topics.InvalidTopics):
        topics.parse_topics(query)


def test_fifty_topics_are_fine() -> None:
    assert topics.parse_topics(",".join(f"t{n}" for n in range(50))).matches("t49")
