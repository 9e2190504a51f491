"""Long passwords are taken, whatever they are made of; what is guessed first is not."""

import pytest

from app.accounts.passwords import MAX_CHARS, find_weakness


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery",
        "x7#Kp0!vQz2mLw9",
        "drei müde Hunde im Regen",
        "一二三四五六七八九十甲乙丙丁戊",
        "4 rooms, 12 chairs, 1 cat",
        "o0Zs-1c_T5rXk2Lm",
        "my bike is green and slow",
    ],
)
def test_what_is_long_will_do(password: str) -> None:
    assert find_weakness(password, "alice") is None


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("", "at least 15"),
        ("password", "at least 15"),
        (" " * 20, "at least 15"),
        ("  short" + " " * 20, "at least 15"),
        ("x" * (MAX_CHARS + 1), "at most 1,000"),
        ("aaaaaaaaaaaaaaaaaaaa", "repeats itself"),
        ("abcabcabcabcabcabc", "repeats itself"),
        ("summer24summer24", "repeats itself"),
        ("1234567890123456", "guessed first"),
        ("abcdefghijklmnop", "guessed first"),
        ("qwertyuiopasdfgh", "guessed first"),
        ("zyxwvutsrqponmlk", "guessed first"),
        ("passwordpassword1", "guessed first"),
        ("Password12345678!", "guessed first"),
        ("alice-alice-2026", "guessed first"),
    ],
)
def test_what_is_short_or_guessed_early_is_refused_with_a_reason(password: str, why: str) -> None:
    found = find_weakness(password, "alice")
    assert found is not None
    assert why in found
