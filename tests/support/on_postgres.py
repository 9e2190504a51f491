"""Which database the tests run on, and which of them are about SQLite alone.

`BEACON_TEST_DATABASE=postgresql` (`make test-postgres`) gives the `settings` and `app` fixtures a database of
PostgreSQL. What is about SQLite's file is skipped then: tests that ask for the `database` fixture, themselves or by a
fixture of their own, and those that are marked `sqlite`.
"""

import os

import pytest

VARIABLE = "BEACON_TEST_DATABASE"
IS_ON_POSTGRES = os.environ.get(VARIABLE) == "postgresql"
# These only hand the file on to the application.
_SHARED = {"app", "own_app", "database", "settings"}


def skip_what_is_about_sqlite(items: list[pytest.Item]) -> None:
    for item in items:
        if reason := _find_reason(item):
            item.add_marker(pytest.mark.skip(reason=reason))


def _find_reason(item: pytest.Item) -> str:
    marked = item.get_closest_marker("sqlite")
    if marked is not None:
        return str(marked.args[0] if marked.args else "about SQLite itself")
    info = getattr(item, "_fixtureinfo", None)
    if info is None:
        return ""
    asking = {name: found[-1].argnames for name, found in info.name2fixturedefs.items() if name not in _SHARED}
    wants_file = "database" in info.argnames or any("database" in names for names in asking.values())
    return "about SQLite's file" if wants_file else ""
