"""What one question to Unleash shows the doctor, and nothing of it is kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from app.config import Settings
from app.flags import document
from app.flags.document import ConfiguredState, Flag
from app.flags.outcome import RolloutOutcome
from app.flags.provider import ChangeRefused
from app.flags.unleash.admin_api import AdminClient
from app.flags.unleash.feed_poller import UnleashPoller


@dataclass(frozen=True, slots=True)
class HealthcheckResult:
    """What one question to Unleash has shown. `failure`: it gave no flags, and whether there are `kept` ones.

    `groups`: those of flags whose `groupId` is not their name.
    """

    failure: str | None = None
    has_snapshot: bool = False
    missing: Sequence[Flag] = ()
    states: Mapping[Flag, ConfiguredState] = field(default_factory=dict)
    outcomes: Mapping[Flag, RolloutOutcome] = field(default_factory=dict)
    groups: Mapping[Flag, str] = field(default_factory=dict)
    admin_problem: str | None = None


def check_unleash(settings: Settings, admin: AdminClient, is_kept: Callable[[], bool]) -> HealthcheckResult:
    """`is_kept`: whether there are flags from earlier; asked only where Unleash gives none."""
    seen: list[str] = []
    probe = UnleashPoller(settings.unleash_url, settings.unleash_api_token, seen.append, logs=False)
    probe.poll_once()
    probe.stop()
    if not seen:
        return HealthcheckResult(failure=probe.failure, has_snapshot=is_kept())
    projects = {flag: document.find_project(seen[0], flag) for flag in Flag}
    there = {flag: project for flag, project in projects.items() if project is not None}
    return HealthcheckResult(
        missing=[flag for flag in Flag if flag not in there],
        states={flag: document.read_state(seen[0], flag) for flag in there},
        outcomes={flag: RolloutOutcome.of(seen[0], flag) for flag in there},
        groups={flag: group for flag in there if (group := document.find_other_group(seen[0], flag)) is not None},
        admin_problem=_find_admin_problem(admin, there),
    )


def _find_admin_problem(admin: AdminClient, projects: Mapping[Flag, str]) -> str | None:
    """What its Admin API has against Beacon's token; None where it was given none, or nothing hinders."""
    try:
        for flag, project in projects.items() if admin.has_token else []:
            admin.read_flag(project, flag)
    except ChangeRefused as error:
        return str(error)
    return None
