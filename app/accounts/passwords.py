"""The password policy, after OWASP's Authentication Cheat Sheet and NIST SP 800-63B, 3.1.1.2. Pure.

Length matters more than special characters: there is no second factor, so a password has at least fifteen characters
of any kind. Long passwords that are guessed early are refused: repetitions, runs of keys, the user's own name.
"""

MIN_CHARS = 15
MAX_CHARS = 1_000
# Characters that are left after names, common words and key sequences are taken out.
MIN_UNPREDICTABLE_CHARS = 8
MIN_DISTINCT_CHARS = 6
KEY_SEQUENCES = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890123456789",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
)
COMMON_WORDS = ("password", "passwort", "letmein", "welcome", "admin", "beacon", "iloveyou")


def find_weakness(password: str, name: str) -> str | None:
    """The reason to refuse this password, as a sentence, or None if it is acceptable."""
    bare = password.strip().lower()
    if len(bare) < MIN_CHARS:
        return f"a password needs at least {MIN_CHARS} characters, not counting spaces at either end; use a few words"
    if len(password) > MAX_CHARS:
        return f"a password has at most {MAX_CHARS:,} characters"
    if len(set(bare)) < MIN_DISTINCT_CHARS or _repeat_length(bare) <= len(bare) // 2:
        return "this password repeats itself, so it is easy to guess; use a few unrelated words"
    rest = bare
    for word in (name.lower(), *COMMON_WORDS):
        rest = rest.replace(word, "")
    if len(rest) - _count_in_sequences(rest) < MIN_UNPREDICTABLE_CHARS:
        return "names, common words and keyboard sequences are guessed first; use other words in this password"
    return None


def _repeat_length(text: str) -> int:
    """The length of the shortest part whose repetition makes the text; the whole length if there is none."""
    return (text + text).find(text, 1)


def _count_in_sequences(text: str) -> int:
    """The number of characters in runs of four or more along the alphabet, the digits or the keyboard."""
    inside = [False] * len(text)
    for at in range(len(text) - 3):
        part = text[at : at + 4]
        if any(part in run or part[::-1] in run for run in KEY_SEQUENCES):
            inside[at : at + 4] = [True] * 4
    return sum(inside)
