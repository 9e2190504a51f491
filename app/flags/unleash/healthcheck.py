"""The Unleash check of `beacon doctor`: one request, nothing is stored."""

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
    """The result of one request to Unleash. `failure`: why it returned no flags; `has_snapshot`: whether there are
    stored ones.

    `groups`: the `groupId` of each flag where it is not the flag's name.
    """

    failure: str | None = None
    has_snapshot: bool = False
    missing: Sequence[Flag] = ()
    states: Mapping[Flag, ConfiguredState] = field(default_factory=dict)
    outcomes: Mapping[Flag, RolloutOutcome] = field(default_factory=dict)
    groups: Mapping[Flag, str] = field(default_factory=dict)
    admin_problem: str | None = None


def check_unleash(settings: Settings, admin: AdminClient, is_kept: Callable[[], bool]) -> HealthcheckResult:
    """`is_kept` returns whether there are stored flags. It is called only if Unleash returns none."""
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
    """Why the Admin API rejects Beacon's token; None if there is no token or no problem."""
    try:
        for flag, project in projects.items() if admin.has_token else []:
            admin.read_flag(project, flag)
    except ChangeRefused as error:
        return str(error)
    return None
