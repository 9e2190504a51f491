"""What one check of `beacon doctor` found."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    subject: str
    ok: bool
    text: str
