"""`beacon rollout`: the changes of the page and the API, with the same preconditions and confirmations."""

import sys
from collections.abc import Sequence

import click

from app.cli.context import open_migrated_app, operator_name
from app.components import components
from app.db import read
from app.flags import embedded, worker_state
from app.flags.definitions import DEFINITIONS
from app.flags.document import ConfiguredState, Flag
from app.flags.embedded import ExpectedState
from app.flags.provider import FlagView, current_provider
from app.infra.clock import utc_now
from app.rollout import change_text, changes_history, flag_changes
from app.rollout.online_users import online_users
from app.rollout.preview import MAX_LISTED_NAMES, SwitchPreview, preview_switches

DEFAULT_FLAG = Flag.SSE_STREAMING.value
FLAG_OPTION = click.option("--flag", default=DEFAULT_FLAG, show_default=True)
REASON_OPTION = click.option("--reason", default="set from the command line", show_default=True)
YES_OPTION = click.option("--yes", is_flag=True, help="skip the confirmation before everybody is let in")
EXPECTED_OPTION = click.option(
    "--expected",
    type=click.FloatRange(0, 100),
    help="the percentage that you saw; the change is refused if it is another one now",
)


@click.group()
def rollout() -> None:
    """The share of users for whom a flag is on: get, list, set, off, on, preview, plan, limits, history."""


@rollout.command("get")
@click.argument("flag", default=DEFAULT_FLAG)
def show_flag(flag: str) -> None:
    """Show the state of a flag."""
    which = embedded.parse_flag(flag)
    with open_migrated_app():
        view = load_view(which)
        _show(which, view)
        _show_in_force(which, view)


@rollout.command("list")
def list_flags() -> None:
    """List the declared flags: state, owner, purpose, default, and the day by which each should be gone."""
    with open_migrated_app():
        for flag in Flag:
            found, now = DEFINITIONS[flag], load_view(flag).state
            end = found.describe_end(utc_now().date())
            default = "on" if found.default else "off"
            click.echo(f"{flag}\t{_describe_state(now)}\t{found.owner}\t{found.purpose}\tdefault {default}\t{end}")


@rollout.command("set")
@click.argument("percentage", type=click.IntRange(0, 100))
@FLAG_OPTION
@REASON_OPTION
@click.option("--enable/--disable", "enabled", default=None, help="also switch on or off; keeps the percentage")
@EXPECTED_OPTION
@YES_OPTION
def set_percentage(
    percentage: int, flag: str, reason: str, enabled: bool | None, expected: float | None, yes: bool
) -> None:
    """Set the percentage of a flag; every worker follows within a second. The guardrail applies here too."""
    _change(flag, reason, percentage, enabled, expected, yes=yes)


@rollout.command("off")
@FLAG_OPTION
@REASON_OPTION
def switch_off(flag: str, reason: str) -> None:
    """Switch a flag off for everybody, at once: the kill switch. Its percentage is kept."""
    _change(flag, reason, None, False, None, yes=True)


@rollout.command("on")
@FLAG_OPTION
@REASON_OPTION
@EXPECTED_OPTION
@YES_OPTION
def switch_on(flag: str, reason: str, expected: float | None, yes: bool) -> None:
    """Switch a flag on again, at the kept percentage."""
    _change(flag, reason, None, True, expected, yes=yes)


@rollout.command("preview")
@click.argument("percentage", type=click.IntRange(0, 100))
@FLAG_OPTION
def show_preview(percentage: int, flag: str) -> None:
    """List the online users who would switch. Nothing is changed."""
    which = embedded.parse_flag(flag)
    with open_migrated_app():
        flags = components().flags
        flags.load(current_provider().load())
        now = load_view(which)
        enabled, outcome = now.state.enabled, flag_changes.describe_special_outcome(which, now, percentage, None)
        people = online_users().list_all()
        found = preview_switches(flags, which, people, percentage, enabled)
    if found is None:
        click.echo(f"{_count_people(len(people))} online; who would switch is unknown")
        return
    for line in _describe_preview(found, enabled=enabled):
        click.echo(line)
    if outcome is not None:
        click.echo(outcome)


@rollout.command("history")
@FLAG_OPTION
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True)
def show_history(flag: str, limit: int) -> None:
    """List the history of a flag, newest first: when, who, what, why."""
    which = embedded.parse_flag(flag)
    with open_migrated_app(), read() as session:
        for entry in changes_history.load_entries(session, which, limit):
            failed = f" (not done: {entry.failed})" if entry.failed else ""
            words = change_text.describe_entry(entry)
            click.echo(f"{entry.at}\t{entry.actor}\t{words}{failed}\t{entry.reason}")


def _change(
    flag: str, reason: str, percentage: int | None, enabled: bool | None, expected: float | None, *, yes: bool
) -> None:
    which = embedded.parse_flag(flag)
    with open_migrated_app():
        now = load_view(which)
        if flag_changes.needs_confirmation(now.state, percentage, enabled):
            confirm(which, flag_changes.describe_change(which, now, percentage, enabled), yes=yes)
        seen = None if expected is None else ExpectedState(expected)
        _show(which, flag_changes.change_flag(which, operator_name(), reason, percentage, enabled, seen))


def load_view(flag: Flag) -> FlagView:
    """The current state. No transaction stays open while a person decides."""
    with read() as session:
        return current_provider().view(session, flag)


def _show(flag: Flag, view: FlagView) -> None:
    """Show the state, and who is in if the percentage does not say it."""
    said = view.state.why if view.outcome.is_plain else view.sentence
    override = flag_changes.get_override(flag)
    click.echo(f"{flag}: {_describe_state(view.state)}{'' if said is None else f' ({said})'}")
    if override is not None:
        click.echo(f"overridden: {override} for everyone by BEACON_FLAG_{flag.upper()}")


def _show_in_force(flag: Flag, view: FlagView) -> None:
    """What the workers hold and what people get, beside what is written; nothing while no worker runs."""
    with read() as session:
        holding = worker_state.load_worker_agreement(session, flag, view.state)
    if holding is None:
        return
    components().flags.load(current_provider().load())
    people = flag_changes.count_people()
    click.echo(f"in force: {change_text.describe_in_force(holding)}")
    if people is not None:
        click.echo(f"of {people['online']} online {people['letIn']} are let in and {people['streaming']} stream")


def confirm(flag: Flag, why: str, *, yes: bool) -> None:
    """Raises if it is not confirmed. Without a terminal no confirmation is needed, like with the API."""
    if yes or not sys.stdin.isatty():
        return
    click.echo(f"{why} Type {flag}, or 100, to confirm: ", nl=False, err=True)
    if not flag_changes.is_confirmation(sys.stdin.readline().strip(), flag):
        raise click.ClickException("Not confirmed: nothing was set.")


def _describe_state(now: ConfiguredState) -> str:
    share = "— %" if now.percentage is None else f"{now.percentage} %"
    return f"{share}, {'enabled' if now.enabled else 'switched off'}"


def _describe_preview(found: SwitchPreview, *, enabled: bool) -> Sequence[str]:
    both = ((found.comes, "would join the stream"), (found.goes, "would leave the stream"))
    said = [
        f"of {_count_people(found.online)} online {len(names)} {words}{_list_names(names)}" for names, words in both
    ]
    return said if enabled else [*said, "it is switched off: nobody switches until it is switched on"]


def _list_names(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_LISTED_NAMES} more" if len(names) > MAX_LISTED_NAMES else ""
    return f": {', '.join(names[:MAX_LISTED_NAMES])}{more}" if names else ""


def _count_people(number: int) -> str:
    return "1 person" if number == 1 else f"{number} people"
