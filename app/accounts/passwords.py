"""Which passwords a person may choose. Pure. After OWASP's Authentication Cheat Sheet and NIST SP 800-63B, 3.1.1.2.

Long rather than odd: there is no second factor, so fifteen characters, and no rule about which ones. What is long and
guessed first all the same is refused: a repetition, a run of keys, the user's own name.
"""

MIN_CHARS = 15
MAX_CHARS = 1_000
# So many that are not one of a pattern's.
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
    """What is wrong with it, as a sentence of its own; None where it will do."""
    bare = password.strip().lower()
    if len(bare) < MIN_CHARS:
        return f"a password has at least {MIN_CHARS} characters, blanks at its ends not counted; a few words will do"
    if len(password) > MAX_CHARS:
        return f"a password has at most {MAX_CHARS:,} characters"
    if len(set(bare)) < MIN_DISTINCT_CHARS or _repeat_length(bare) <= len(bare) // 2:
        return "this password repeats itself and is guessed early; a few words that do not belong together will do"
    rest = bare
    for word in (name.lower(), *COMMON_WORDS):
        rest = rest.replace(word, "")
    if len(rest) - _count_in_sequences(rest) < MIN_UNPREDICTABLE_CHARS:
        return "names, common words and rows of keys are guessed first; choose other words for this password"
    return None


def _repeat_length(text: str) -> int:
    """The length of the shortest part that repeats to make the text; the whole length if none does."""
    return (text + text).find(text, 1)


def _count_in_sequences(text: str) -> int:
    """How many characters belong to four or more in the order of the alphabet, the digits or the keys."""
    inside = [False] * len(text)
    for at in range(len(text) - 3):
        part = text[at : at + 4]
        if any(part in run or part[::-1] in run for run in KEY_SEQUENCES):
            inside[at : at + 4] = [True] * 4
    return sum(inside)
