"""The bounds of a share of failures hold at every look, not only at one."""

import random

import pytest

from app.rollout.sequential_test import ShareInterval, bound_share, count_trials_needed, is_above, is_below

ALPHA = 0.01


def test_nothing_tried_says_nothing() -> None:
    assert bound_share(0, 0, ALPHA) == ShareInterval(0.0, 1.0)
    assert not is_above(0, 0, 0.05, ALPHA)
    assert not is_below(0, 0, 0.05, ALPHA)


@pytest.mark.parametrize(("failures", "trials"), [(0, 1), (1, 1), (0, 500), (3, 100), (50, 100), (499, 500)])
def test_the_interval_holds_what_was_seen_and_agrees_with_the_tests(failures: int, trials: int) -> None:
    found = bound_share(failures, trials, ALPHA)
    assert found.low <= failures / trials <= found.high
    for share in (0.01, 0.05, 0.1, 0.3, 0.9):
        assert is_above(failures, trials, share, ALPHA) == (share <= found.low)
        assert is_below(failures, trials, share, ALPHA) == (share >= found.high)


def test_more_of_the_same_is_surer() -> None:
    widths = [bound_share(n, 20 * n, ALPHA).high - bound_share(n, 20 * n, ALPHA).low for n in (1, 5, 25, 125)]
    assert widths == sorted(widths, reverse=True)


def test_it_says_how_many_clean_trials_make_it_sure() -> None:
    needed = count_trials_needed(0, 0, 0.1, ALPHA)
    assert is_below(0, needed, 0.1, ALPHA)
    assert not is_below(0, needed - 1, 0.1, ALPHA)
    assert count_trials_needed(3, 10, 0.1, ALPHA) > count_trials_needed(1, 10, 0.1, ALPHA) > needed


def test_looking_after_every_trial_is_wrong_no_more_often_than_it_says() -> None:
    chance, wrong, share = random.Random(7), 0, 0.1
    for _ in range(300):
        failures = 0
        for trials in range(1, 301):
            failures += chance.random() < share
            if is_below(failures, trials, share, 0.05) or is_above(failures, trials, share, 0.05):
                wrong += 1
                break
    assert wrong <= 0.05 * 300
