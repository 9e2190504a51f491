"""From runs to rows."""

import os
import time

import pytest

from bench import processes, table
from bench.client import Window
from bench.figure import Figure, Reading, Results, Row, both
from bench.figures import ALL


def reading(value: float, client_cpu_s: float = 0.1) -> Reading:
    return Reading({"ms": value}, [Window(1.0, 10, 1.0, 2.0, 3.0, client_cpu_s)])


def test_the_median_leaves_out_runs_in_which_the_client_was_the_limit() -> None:
    results = Results()
    for found in (reading(1), reading(2), reading(3), reading(100, 0.95), reading(100, 0.9)):
        results.add("ours", found)
    results.add("nchan", reading(5, 0.95))
    assert results.medians() == {"ours": {"ms": 2}}


@pytest.mark.parametrize("figure", ALL, ids=lambda figure: figure.name)
def test_a_figure_that_could_not_run_shows_nothing_and_reaches_nothing(figure: Figure) -> None:
    for row in figure.rows({}):
        assert not row.cells
        assert row.reached is None


def test_names_of_figures_differ() -> None:
    assert len({figure.name for figure in ALL}) == len(ALL)


def test_both_tables_hold_every_cell() -> None:
    rows = [Row("a", {"ours": "1 ms"}, "<= 2 ms", reached=True), Row("b", {"nchan": "7"})]
    assert table.plain(rows).splitlines()[2].split() == ["a", "1", "ms", "—", "—", "—", "<=", "2", "ms", "yes"]
    assert table.markdown(rows).splitlines()[3] == "| b | — | 7 | — | — | — | — |"


def test_one_part_that_fails_decides() -> None:
    assert both(True, None) is None
    assert both(None, False) is False
    assert both(True, True) is True


def test_cpu_and_memory_of_a_process_are_the_kernels() -> None:
    before = processes.cpu_s(os.getpid())
    while time.process_time() < before + 0.02:
        pass
    assert processes.cpu_s(os.getpid()) == pytest.approx(time.process_time(), abs=0.02)
    assert processes.pss_bytes(os.getpid()) > 1_000_000
