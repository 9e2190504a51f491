"""`beacon rollout`: the same changes as on the page and by the API, with the same preconditions and confirmations."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click
from flask import current_app
from sqlalchemy.orm import Session

from app.cli.context import open_migrated_app, operator_name
from app.db import read, write
from app.flags import embedded
from app.flags.document import Flag, Nominal
from app.flags.embedded import Expected
from app.flags.evaluation import Flags
from app.flags.models import PlanRow
from app.flags.provider import View, provider
from app.rollout import change_text, changes_history, flag_changes, plan_service
from app.rollout.online_users import online
from app.rollout.preview import MAX_NAMES, Switching, preview

ONLY_FLAG = Flag.SSE_STREAMING.value
FLAG = click.option("--flag", default=ONLY_FLAG, show_default=True)
REASON = click.option("--reason", default="set from the command line", show_default=True)
YES = click.option("--yes", is_flag=True, help="do not ask before everybody is let in")
EXPECTED = click.option(
    "--expected",
    type=click.IntRange(0, 100),
    help="the percentage that you saw: refused where it is another one by now",
)
EXPECTED_PLAN = click.option(
    "--expected",
    metavar="ID",
    help="the plan that you saw, as `beacon rollout plan` names it: refused where it is another",
)


@click.group()
def rollout() -> None:
    """The share of users for whom a flag is on: get, set, off, on, preview, plan, history."""


@rollout.command("get")
@click.argument("flag", default=ONLY_FLAG)
def get(flag: str) -> None:
    """Say where a flag stands."""
    which = embedded.flag_named(flag)
    with open_migrated_app():
        _show(which, _view(which))


@rollout.command("set")
@click.argument("percentage", type=click.IntRange(0, 100))
@FLAG
@REASON
@click.option("--enable/--disable", "enabled", default=None, help="switch on or off as well; keeps the percentage")
@EXPECTED
@YES
def set_(percentage: int, flag: str, reason: str, enabled: bool | None, expected: int | None, yes: bool) -> None:
    """Set the percentage of a flag; every worker follows within a second. The guardrail holds here too."""
    _change(flag, reason, percentage, enabled, expected, yes=yes)


@rollout.command("off")
@FLAG
@REASON
def off(flag: str, reason: str) -> None:
    """Switch a flag off for everybody, at once: the kill switch. Its percentage is kept."""
    _change(flag, reason, None, False, None, yes=True)


@rollout.command("on")
@FLAG
@REASON
@EXPECTED
@YES
def on(flag: str, reason: str, expected: int | None, yes: bool) -> None:
    """Switch a flag on again, at the percentage that was kept."""
    _change(flag, reason, None, True, expected, yes=yes)


@rollout.command("preview")
@click.argument("percentage", type=click.IntRange(0, 100))
@FLAG
def preview_(percentage: int, flag: str) -> None:
    """Say who of the people online would switch, by name. Nothing is set."""
    which = embedded.flag_named(flag)
    with open_migrated_app():
        flags: Flags = current_app.extensions["beacon_flags"]
        flags.load(provider().load())
        now = _view(which)
        enabled, outcome = now.nominal.enabled, flag_changes.outcome_of_change(which, now, percentage, None)
        people = online().everybody()
        found = preview(flags, which, people, percentage, enabled)
    if found is None:
        click.echo(f"of {_people(len(people))} online nobody can say who would switch")
        return
    for line in _switching(found, enabled=enabled):
        click.echo(line)
    if outcome is not None:
        click.echo(outcome)


@rollout.command("history")
@FLAG
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True)
def history_(flag: str, limit: int) -> None:
    """List what became of a flag, newest first: when, who, what, why."""
    which = embedded.flag_named(flag)
    with open_migrated_app(), read() as session:
        for entry in changes_history.newest(session, which, limit):
            failed = f" (not done: {entry.failed})" if entry.failed else ""
            words = change_text.describe_entry(entry)
            click.echo(f"{entry.at}\t{entry.actor}\t{words}{failed}\t{entry.reason}")


@rollout.group("plan", invoke_without_command=True)
@click.pass_context
@FLAG
def plan(context: click.Context, flag: str) -> None:
    """Show the staged plan; start, pause, resume or stop it."""
    context.obj = embedded.flag_named(flag)
    if context.invoked_subcommand is None:
        with open_migrated_app(), read() as session:
            _show_plan(session, context.obj)


@plan.command("start")
@click.argument("steps", nargs=-1, required=True, metavar="PERCENTAGE:MINUTES...")
@click.option("--reason", required=True, help="people will want to know why")
@EXPECTED_PLAN
@YES
@click.pass_obj
def start(flag: Flag, steps: tuple[str, ...], reason: str, expected: str | None, yes: bool) -> None:
    """Raise the flag by steps, each held for its minutes, such as 10:60 50:60 100:60."""
    wanted = [_step(text) for text in steps]
    embedded.check(reason, None)
    as_asked = [{"percentage": percentage, "holdMinutes": minutes} for percentage, minutes in wanted]
    with open_migrated_app():
        if any(percentage == 100 for percentage, _minutes in wanted):
            _confirm(
                flag, f"The plan ends at 100 %. {flag_changes.describe_change(flag, _view(flag), 100, None)}", yes=yes
            )
        _begin(flag, reason.strip(), as_asked, expected)


def _begin(flag: Flag, reason: str, steps: Sequence[Mapping[str, Any]], expected: str | None) -> None:
    with write() as session:
        plan_service.begin(session, flag, operator_name(), reason, steps, expected)
        _show_plan(session, flag)


@plan.command("pause")
@EXPECTED_PLAN
@click.pass_obj
def pause(flag: Flag, expected: str | None) -> None:
    """Hold the plan where it is until somebody resumes it."""
    with open_migrated_app(), write() as session:
        plan_service.steer(session, flag, operator_name(), "pause", expected)
        _show_plan(session, flag)


@plan.command("resume")
@EXPECTED_PLAN
@click.pass_obj
def resume(flag: Flag, expected: str | None) -> None:
    """Let a paused plan go on; what was held before the pause counts."""
    with open_migrated_app(), write() as session:
        plan_service.steer(session, flag, operator_name(), "resume", expected)
        _show_plan(session, flag)


@plan.command("stop")
@EXPECTED_PLAN
@click.pass_obj
def stop(flag: Flag, expected: str | None) -> None:
    """End the plan; the flag stays where it is."""
    with open_migrated_app(), write() as session:
        plan_service.stop(session, flag, operator_name(), expected)
        _show_plan(session, flag)


def _change(
    flag: str, reason: str, percentage: int | None, enabled: bool | None, expected: int | None, *, yes: bool
) -> None:
    which = embedded.flag_named(flag)
    with open_migrated_app():
        now = _view(which)
        if flag_changes.must_be_confirmed(now.nominal, percentage, enabled):
            _confirm(which, flag_changes.describe_change(which, now, percentage, enabled), yes=yes)
        seen = None if expected is None else Expected(expected)
        _show(which, flag_changes.change(which, operator_name(), reason, percentage, enabled, seen))


def _view(flag: Flag) -> View:
    """Where it stands now; nothing is held open while somebody makes up their mind."""
    with read() as session:
        return provider().view(session, flag)


def _show(flag: Flag, view: View) -> None:
    """Where it stands, and who is in where that does not say it."""
    said = view.nominal.why if view.outcome.is_plain else view.sentence
    override = flag_changes.override_of(flag)
    click.echo(f"{flag}: {_state(view.nominal)}{'' if said is None else f' ({said})'}")
    if override is not None:
        click.echo(f"overridden: {override} for everyone by BEACON_FLAG_{flag.upper()}")


def _confirm(flag: Flag, why: str, *, yes: bool) -> None:
    """Raises where it is not confirmed. A program that has no terminal is as free as one that uses the API."""
    if yes or not sys.stdin.isatty():
        return
    click.echo(f"{why} Type {flag}, or 100, to confirm: ", nl=False, err=True)
    if not flag_changes.is_confirmation(sys.stdin.readline().strip(), flag):
        raise click.ClickException("Not confirmed: nothing was set.")


def _state(now: Nominal) -> str:
    share = "— %" if now.percentage is None else f"{now.percentage} %"
    return f"{share}, {'enabled' if now.enabled else 'switched off'}"


def _switching(found: Switching, *, enabled: bool) -> Sequence[str]:
    both = ((found.comes, "would come to the stream"), (found.goes, "would leave the stream"))
    said = [f"of {_people(found.online)} online {len(names)} {words}{_names(names)}" for names, words in both]
    return said if enabled else [*said, "it is switched off: nobody switches until it is switched on"]


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return f": {', '.join(names[:MAX_NAMES])}{more}" if names else ""


def _people(number: int) -> str:
    return "1 person" if number == 1 else f"{number} people"


def _step(text: str) -> tuple[int, float]:
    """`10:60`: 10 % for 60 minutes."""
    percentage, _colon, minutes = text.partition(":")
    try:
        return int(percentage), float(minutes)
    except ValueError as error:
        raise click.UsageError(f"{text} is no step: write PERCENTAGE:MINUTES, such as 10:60") from error


def _show_plan(session: Session, flag: Flag) -> None:
    session.flush()
    row = session.get(PlanRow, flag)
    if row is None:
        click.echo(f"{flag}: no plan")
        return
    found = plan_service.of_row(row)
    click.echo(
        f"{flag}: plan {plan_service.seen_as(row)} of {row.actor}{', paused' if row.paused_at else ''}: {row.reason}"
    )
    for number, step in enumerate(found.steps):
        place = "done" if number < found.step else "now" if number == found.step else "then"
        click.echo(f"{place}\t{step.percentage} % for {change_text.describe_minutes(step.hold_s / 60)}")
    share = flag_changes.describe_steps(flag, provider().view(session, flag))
    if share is not None:
        click.echo(share)
