"""What a check of `beacon doctor` found."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """If `ok` is false, `text` also says what to do."""

    subject: str
    ok: bool
    text: str
