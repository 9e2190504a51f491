"""Every flag is declared with its owner, its purpose, its default and its end."""

from datetime import date, timedelta

import pytest

from app.flags.definitions import DEFAULTS, DEFINITIONS, Flag


@pytest.mark.parametrize("flag", Flag)
def test_every_flag_says_who_owns_it_what_for_and_until_when(flag: Flag) -> None:
    found = DEFINITIONS[flag]
    assert found.owner
    assert found.purpose
    assert found.default == DEFAULTS[flag]
    assert found.describe_end(found.remove_by) == f"remove by {found.remove_by}"
    assert found.describe_end(found.remove_by + timedelta(days=1)).startswith("stale: ")


def test_a_flag_is_stale_only_after_its_day() -> None:
    found = DEFINITIONS[Flag.SSE_STREAMING]
    assert not found.is_stale(date(2026, 12, 1))
    assert found.is_stale(date(9999, 1, 1))
