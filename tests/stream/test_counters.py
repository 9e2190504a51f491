"""Plain numbers."""

import pytest

from app.stream.counters import LAG_BUCKETS_S, Counters, Lag


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(-1.0, 0), (0.0, 0), (0.005, 0), (0.0051, 1), (1.0, 7), (30.0, 11), (30.1, 12)],
)
def test_a_lag_falls_into_the_bucket_whose_upper_bound_it_does_not_pass(seconds: float, bucket: int) -> None:
    lag = Lag()
    lag.add(seconds, 3)
    assert lag.counts[bucket] == sum(lag.counts) == 3
    assert lag.sum_s == pytest.approx(3 * max(seconds, 0))


def test_there_is_one_more_bucket_than_bounds() -> None:
    assert len(Lag().counts) == len(LAG_BUCKETS_S) + 1


def test_workers_count_for_themselves() -> None:
    first, second = Counters(), Counters()
    first.open["json"] += 1
    first.lag.add(1, 1)
    assert (second.open, sum(second.lag.counts)) == ({}, 0)
