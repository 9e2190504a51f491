"""What one question to Unleash shows the doctor, and nothing of it is kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from app.config import Settings
from app.flags import document
from app.flags.document import Flag, Nominal
from app.flags.outcome import Outcome
from app.flags.provider import Refused
from app.flags.unleash.admin_api import Admin
from app.flags.unleash.feed_poller import Feed


@dataclass(frozen=True, slots=True)
class Examined:
    """What one question to Unleash has shown. `failure`: it gave no flags, and whether there are `kept` ones.

    `groups`: those of flags whose `groupId` is not their name.
    """

    failure: str | None = None
    kept: bool = False
    missing: Sequence[Flag] = ()
    standing: Mapping[Flag, Nominal] = field(default_factory=dict)
    outcomes: Mapping[Flag, Outcome] = field(default_factory=dict)
    groups: Mapping[Flag, str] = field(default_factory=dict)
    admin: str | None = None


def examine(settings: Settings, admin: Admin, is_kept: Callable[[], bool]) -> Examined:
    """`is_kept`: whether there are flags from earlier; asked only where Unleash gives none."""
    seen: list[str] = []
    probe = Feed(settings.unleash_url, settings.unleash_api_token, seen.append, logs=False)
    probe.look()
    probe.stop()
    if not seen:
        return Examined(failure=probe.failure, kept=is_kept())
    projects = {flag: document.project(seen[0], flag) for flag in Flag}
    there = {flag: project for flag, project in projects.items() if project is not None}
    return Examined(
        missing=[flag for flag in Flag if flag not in there],
        standing={flag: document.nominal(seen[0], flag) for flag in there},
        outcomes={flag: Outcome.of(seen[0], flag) for flag in there},
        groups={flag: group for flag in there if (group := document.other_group(seen[0], flag)) is not None},
        admin=_hindrance(admin, there),
    )


def _hindrance(admin: Admin, projects: Mapping[Flag, str]) -> str | None:
    """What its Admin API has against Beacon's token; None where it was given none, or nothing hinders."""
    try:
        for flag, project in projects.items() if admin.is_possible else []:
            admin.look(project, flag)
    except Refused as error:
        return str(error)
    return None
