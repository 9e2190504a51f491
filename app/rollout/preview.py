"""Previews which online users would switch if a flag were changed."""

from collections.abc import Iterable
from dataclasses import dataclass

from app.flags import document
from app.flags.document import Flag
from app.flags.evaluation import Flags, build_evaluator
from app.infra.concurrency import iterate_in_slices

# Limit of names shown in each direction; the totals count all.
MAX_LISTED_NAMES = 200


@dataclass(frozen=True, slots=True)
class SwitchPreview:
    """`comes` would be let in and are not now; `goes` are in now and would not be."""

    online: int
    comes: list[str]
    goes: list[str]


def preview_switches(
    flags: Flags, flag: Flag, users: Iterable[str], percentage: float, enabled: bool
) -> SwitchPreview | None:
    """Uses the engine itself, so constraints are applied. With an override nobody switches.

    None if unknown: no configuration is loaded yet, or no single percentage describes the flag.
    """
    people = sorted(users)
    if flag in flags.overrides:
        return SwitchPreview(len(people), [], [])
    if flags.configuration is None or document.read_state(flags.configuration, flag).percentage is None:
        return None
    now, then = (
        build_evaluator(flags.configuration),
        build_evaluator(document.with_percentage(flags.configuration, flag, percentage, enabled)),
    )
    answers = [(user, now(flag, user), then(flag, user)) for user in iterate_in_slices(people)]
    comes = [user for user, before, after in answers if after and not before]
    goes = [user for user, before, after in answers if before and not after]
    return SwitchPreview(len(people), comes, goes)
