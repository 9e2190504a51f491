"""Who of the people online would switch, by name, if a flag were set otherwise."""

from collections.abc import Iterable
from dataclasses import dataclass

from app.flags import document
from app.flags.document import Flag
from app.flags.evaluation import Flags, evaluator
from app.infra.concurrency import iterate_in_slices

# Names shown each way; the numbers are of all.
MAX_NAMES = 200


@dataclass(frozen=True, slots=True)
class Switching:
    """`comes` would be in and are not now, `goes` are in and would not be."""

    online: int
    comes: list[str]
    goes: list[str]


def preview(flags: Flags, flag: Flag, users: Iterable[str], percentage: float, enabled: bool) -> Switching | None:
    """Asks the engine itself, so constraints count as they will. An override decides now and then: nobody switches.

    None where nobody can say: no flags are known yet, or no single percentage says who is in.
    """
    people = sorted(users)
    if flag in flags.overrides:
        return Switching(len(people), [], [])
    if flags.held is None or document.nominal(flags.held, flag).percentage is None:
        return None
    now, then = evaluator(flags.held), evaluator(document.put_at(flags.held, flag, percentage, enabled))
    answers = [(user, now(flag, user), then(flag, user)) for user in iterate_in_slices(people)]
    comes = [user for user, before, after in answers if after and not before]
    goes = [user for user, before, after in answers if before and not after]
    return Switching(len(people), comes, goes)
