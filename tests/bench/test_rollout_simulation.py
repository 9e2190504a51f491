"""Simulated rollouts end as they should, by the functions of the product."""

import pytest

from bench.rollout_simulation import FAULTS, STEPS, simulate


@pytest.mark.parametrize("people", [20, 200])
def test_a_healthy_rollout_ends_and_faults_pass_no_step(people: int) -> None:
    assert simulate(people, FAULTS["none"], 1).passed == len(STEPS)
    for name in ("20 % of the connects", "10 % of the people", "everybody"):
        assert simulate(people, FAULTS[name], 1).passed == 0, name
    assert simulate(people, FAULTS["everybody"], 1).held


@pytest.mark.long
@pytest.mark.parametrize("people", [20, 200, 2_000])
def test_of_many_rollouts_few_healthy_ones_are_held_and_few_faults_pass(people: int) -> None:
    seeds = range(1_000, 1_200)
    assert sum(simulate(people, FAULTS["none"], seed).passed < len(STEPS) for seed in seeds) <= 8
    for name, fault in FAULTS.items():
        if name != "none":
            assert sum(simulate(people, fault, seed).passed > 0 for seed in seeds) <= 6, name
