"""Who of the people online would switch, by name, if a flag were set otherwise."""

from collections.abc import Iterable
from dataclasses import dataclass

from app.offloop import paced
from app.rollout import configuration
from app.rollout.configuration import Flag
from app.rollout.flags import Flags, evaluator

# Names shown each way; the numbers are of all.
MAX_NAMES = 200


@dataclass(frozen=True, slots=True)
class Switching:
    """`comes` would be in and are not now, `goes` are in and would not be."""

    online: int
    comes: list[str]
    goes: list[str]


def preview(flags: Flags, flag: Flag, users: Iterable[str], percentage: int, enabled: bool) -> Switching:
    """Asks the engine itself, so constraints count as they will. An override decides now and then: nobody switches."""
    people = sorted(users)
    if flag in flags.overrides or flags.held is None:
        return Switching(len(people), [], [])
    now, then = evaluator(flags.held), evaluator(configuration.put_at(flags.held, flag, percentage, enabled))
    answers = [(user, now(flag, user), then(flag, user)) for user in paced(people)]
    comes = [user for user, before, after in answers if after and not before]
    goes = [user for user, before, after in answers if before and not after]
    return Switching(len(people), comes, goes)
