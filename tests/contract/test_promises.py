"""The page and the cases agree: every case holds a promise of the page, every promise is held."""

import importlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "stream-api.md"
ENOUGH = 120


def cases() -> Iterator[tuple[str, Callable[..., None]]]:
    """Every case of the suite by its full name."""
    for path in sorted(HERE.glob("test_*.py")):
        if path == Path(__file__).resolve():
            continue
        module = importlib.import_module(f"{__package__}.{path.stem}")
        for name, value in vars(module).items():
            if name.startswith("test_") and callable(value):
                yield f"{path.stem}.{name}", value


def marks(case: Callable[..., None], name: str) -> list[pytest.Mark]:
    return [mark for mark in getattr(case, "pytestmark", []) if mark.name == name]


def sentence_of(case: Callable[..., None]) -> str:
    found = marks(case, "holds")
    assert len(found) == 1, f"{case.__name__} holds {len(found)} promises; one, please"
    return str(found[0].args[0])


@pytest.fixture
def promises() -> list[str]:
    if not PAGE.exists():
        pytest.skip("docs/stream-api.md is not beside this folder")
    return [line.removeprefix("- ") for line in PAGE.read_text().splitlines() if line.startswith("- ")]


def test_there_are_enough_cases_and_each_is_a_function_of_its_own() -> None:
    every = dict(cases())
    assert len(every) >= ENOUGH
    assert [name for name, case in every.items() if marks(case, "parametrize")] == []


def test_every_case_holds_a_promise_word_for_word(promises: list[str]) -> None:
    strangers = {name: sentence_of(case) for name, case in cases() if sentence_of(case) not in promises}
    assert strangers == {}


def test_every_promise_is_held(promises: list[str]) -> None:
    held = Counter(sentence_of(case) for _, case in cases())
    assert [promise for promise in promises if promise not in held] == []


def test_a_promise_is_made_once(promises: list[str]) -> None:
    assert [promise for promise, times in Counter(promises).items() if times > 1] == []


def test_no_two_cases_have_the_same_name() -> None:
    """Within a module the second would silently replace the first."""
    for path in HERE.glob("test_*.py"):
        named = re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
        assert [name for name, times in Counter(named).items() if times > 1] == [], path.name


def test_the_suite_knows_nothing_of_the_inside() -> None:
    """It imports the standard library, pytest and itself; our own server is imported by name, where one is started."""
    for path in HERE.glob("*.py"):
        imported = re.findall(r"^\s*(?:from|import) ([\w.]+)", path.read_text(), re.MULTILINE)
        inside = [name for name in imported if re.match(r"(app|demo|bench|scripts)\b|tests\.(?!contract\b)", name)]
        assert inside == [], path.name
