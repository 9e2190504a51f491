"""The model of docs/scale.md: its tables follow from measured costs, its simulation from the page's own waits."""

import re
from pathlib import Path

import pytest

from scripts import scale_model
from scripts.scale_model import DOCS, Costs, plan, plan_table, read_costs, return_table, simulate_return

POLICY = Path(__file__).resolve().parent.parent / "static" / "js" / "connection" / "policy.js"
COSTS = Costs(delivery_us=10, idle_us=5, connect_ms=1, stream_kb=1)


def table(name: str) -> list[str]:
    """The rows that stand in docs/scale.md."""
    begin, end = (scale_model.MARK.format(side, name) for side in ("begin", "end"))
    return (DOCS / "scale.md").read_text().partition(f"{begin}\n")[2].partition(f"\n{end}")[0].splitlines()


def test_the_table_of_the_page_follows_from_the_measured_costs() -> None:
    costs = read_costs((DOCS / "benchmarks.md").read_text())
    assert table("plan") == list(plan_table(costs)), "run .venv/bin/python -m scripts.scale_model"


def test_a_plan_counts_events_heartbeats_and_connects() -> None:
    found = plan(100_000, COSTS)
    assert (found.delivery_cores, found.idle_cores) == pytest.approx((2.0, 0.5))
    assert found.connect_cores == pytest.approx(100_000 / 3_600 / 1_000)
    assert found.workers == 10, "as many streams as a worker takes, although the processor would do with 4"
    dear = Costs(delivery_us=100, idle_us=5, connect_ms=1, stream_kb=1)
    assert plan(100_000, dear).workers == 30, "as many as the processor needs"


def test_a_row_that_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="deliveries a CPU-second"):
        read_costs("# Benchmarks")


def test_the_simulation_uses_the_waits_of_the_page() -> None:
    policy = POLICY.read_text()
    [delays] = re.findall(r"ATTEMPT_DELAYS_MS = \[([\d_, ]+)\]", policy)
    assert tuple(int(one) / 1_000 for one in delays.split(",")) == scale_model.ATTEMPT_DELAYS_S
    for name, seconds in (("BACKGROUND_ATTEMPT_MS", scale_model.LONGEST_DELAY_S), ("HELLO_TIMEOUT_MS", 10.0)):
        [found] = re.findall(rf"{name} = ([\d_]+);", policy)
        assert int(found) / 1_000 == seconds
    assert f"share = {scale_model.JITTER}" in policy


def test_few_viewers_are_back_with_their_first_attempt() -> None:
    found = simulate_return(100, workers=1, connect_ms=1)
    assert found.attempts == 1
    assert 0.8 < found.half_s <= found.most_s <= found.all_s < 1.4


def test_more_than_a_worker_takes_in_time_come_back_later_and_all_of_them() -> None:
    found = simulate_return(20_000, workers=1, connect_ms=1)
    assert found.attempts > 1.2
    assert found.all_s >= 20, "a worker needs that long for them, abandoned attempts aside"
    assert simulate_return(20_000, workers=4, connect_ms=1).all_s < found.all_s


@pytest.mark.long
def test_the_table_of_the_simulation_is_what_it_gives() -> None:
    costs = read_costs((DOCS / "benchmarks.md").read_text())
    assert table("return") == list(return_table(costs)), "run .venv/bin/python -m scripts.scale_model"
