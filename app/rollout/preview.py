"""Who of the people online would switch, by name, if a flag were set otherwise."""

from collections.abc import Iterable
from dataclasses import dataclass

from app.flags import document
from app.flags.document import Flag
from app.flags.evaluation import Flags, build_evaluator
from app.infra.concurrency import paced

# Names shown each way; the numbers are of all.
MAX_LISTED_NAMES = 200


@dataclass(frozen=True, slots=True)
class SwitchPreview:
    """`comes` would be in and are not now, `goes` are in and would not be."""

    online: int
    comes: list[str]
    goes: list[str]


def preview_switches(
    flags: Flags, flag: Flag, users: Iterable[str], percentage: float, enabled: bool
) -> SwitchPreview | None:
    """Asks the engine itself, so constraints count as they will. An override decides now and then: nobody switches.

    None where nobody can say: no flags are known yet, or no single percentage says who is in.
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
    answers = [(user, now(flag, user), then(flag, user)) for user in paced(people)]
    comes = [user for user, before, after in answers if after and not before]
    goes = [user for user, before, after in answers if before and not after]
    return SwitchPreview(len(people), comes, goes)
