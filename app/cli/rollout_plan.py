"""`beacon rollout plan` and `beacon rollout limits`: plans and the guardrail's limits, as on the page."""

from dataclasses import replace
from typing import Any, Literal, get_args

import click
from sqlalchemy.orm import Session

from app.cli.context import open_migrated_app, operator_name
from app.cli.rollout import DEFAULT_FLAG, FLAG_OPTION, YES_OPTION, confirm, load_view
from app.config import current_settings
from app.db import read, write
from app.flags import embedded
from app.flags.document import Flag
from app.flags.models import PlanRow
from app.flags.provider import current_provider
from app.rollout import (
    change_text,
    evidence,
    flag_changes,
    guardrail_limits,
    plan_archive,
    plan_decisions,
    plan_forecast,
    plan_service,
    plan_status,
    plan_text,
)
from app.rollout.evidence import Minimums
from app.rollout.guardrail import GuardrailMode, TroubleAction
from app.rollout.plan import PlanStep
from app.rollout.plan_options import PlanOptions, PlanState
from app.rollout.schedule import InvalidSchedule

EXPECTED_PLAN_OPTION = click.option(
    "--expected",
    metavar="ID",
    help="the id of the plan that you saw, from `beacon rollout plan`; refused if it is another one now",
)


@click.group("plan", invoke_without_command=True)
@click.pass_context
@FLAG_OPTION
def plan_group(context: click.Context, flag: str) -> None:
    """Show the staged plan and what it waits for; start, pause, resume, approve or stop it, or let it go on."""
    context.obj = embedded.parse_flag(flag)
    if context.invoked_subcommand is None:
        with open_migrated_app(), read() as session:
            _show_plan(session, context.obj)


@plan_group.command("start")
@click.argument("steps", nargs=-1, required=True, metavar="PERCENTAGE:MINUTES...")
@click.option("--reason", required=True, help="people will want to know why")
@click.option(
    "--people", type=click.IntRange(1), help="people whom each step needs; the default grows with the rollout"
)
@click.option("--connects", type=click.IntRange(1), help="connects that each step needs")
@click.option("--stream-minutes", type=click.IntRange(0), help="minutes of streams that each step needs")
@click.option("--events", type=click.IntRange(0), help="delivered events that each step needs")
@click.option("--on-trouble", type=click.Choice(get_args(TroubleAction)), help="what happens when the guardrail acts")
@click.option("--approval", is_flag=True, help="another person approves each step")
@click.option("--start-at", metavar="TIME", help="no step before this time, such as 2026-12-01T09:00:00Z")
@click.option("--quiet-hours", metavar="FROM-TO", help="no step in these hours, such as 22:00-06:00")
@click.option("--zone", default="UTC", show_default=True, help="the time zone of the quiet hours")
@EXPECTED_PLAN_OPTION
@YES_OPTION
@click.pass_obj
def start_plan(
    flag: Flag, /, steps: tuple[str, ...], reason: str, expected: str | None, yes: bool, **rules: Any
) -> None:
    """Raise the flag in steps, each held for its minutes and until there is evidence, such as 10:60 50:60 100:60."""
    wanted = [_parse_step(text) for text in steps]
    embedded.validate_change(reason, None)
    options = _parse_options(rules)
    as_asked = [{"percentage": percentage, "holdMinutes": minutes} for percentage, minutes in wanted]
    with open_migrated_app():
        notes = plan_forecast.forecast_waits([PlanStep(one, 60 * held) for one, held in wanted], options)
        if any(percentage == 100 for percentage, _minutes in wanted):
            will_be = flag_changes.describe_change(flag, load_view(flag), 100, None)
            confirm(flag, f"The plan ends at 100 %. {will_be}", yes=yes)
        with write() as session:
            plan_service.begin_plan(session, flag, operator_name(), reason.strip(), as_asked, expected, options)
            _show_plan(session, flag)
        for note in notes:
            click.echo(f"note: {note}", err=True)


@plan_group.command("pause")
@EXPECTED_PLAN_OPTION
@click.pass_obj
def pause_plan(flag: Flag, expected: str | None) -> None:
    """Pause the plan until somebody resumes it."""
    _steer(flag, "pause", expected)


@plan_group.command("resume")
@EXPECTED_PLAN_OPTION
@click.pass_obj
def resume_plan(flag: Flag, expected: str | None) -> None:
    """Resume a paused plan; the time held before the pause counts."""
    _steer(flag, "resume", expected)


def _steer(flag: Flag, action: Literal["pause", "resume"], expected: str | None) -> None:
    with open_migrated_app(), write() as session:
        plan_service.steer_plan(session, flag, operator_name(), action, expected)
        _show_plan(session, flag)


@plan_group.command("go-on")
@click.option("--reason", required=True, help="people will want to know why")
@EXPECTED_PLAN_OPTION
@click.pass_obj
def go_on(flag: Flag, reason: str, expected: str | None) -> None:
    """Let the current step go on without more evidence; its hold and the guardrail still count."""
    embedded.validate_change(reason, None)
    with open_migrated_app(), write() as session:
        plan_decisions.go_on_without_evidence(session, flag, operator_name(), reason, expected)
        _show_plan(session, flag)


@plan_group.command("approve")
@EXPECTED_PLAN_OPTION
@click.pass_obj
def approve_step(flag: Flag, expected: str | None) -> None:
    """Approve the next step of somebody else's plan."""
    with open_migrated_app(), write() as session:
        plan_decisions.approve_next_step(session, flag, operator_name(), expected)
        _show_plan(session, flag)


@plan_group.command("stop")
@EXPECTED_PLAN_OPTION
@click.pass_obj
def stop_plan(flag: Flag, expected: str | None) -> None:
    """End the plan; the flag stays where it is."""
    with open_migrated_app(), write() as session:
        plan_service.stop_plan(session, flag, operator_name(), expected)
        _show_plan(session, flag)


@click.command("limits")
@click.argument("flag", default=DEFAULT_FLAG)
@click.option("--mode", type=click.Choice(get_args(GuardrailMode)))
@click.option("--max-failures", type=click.FloatRange(0, 1), help="share of failed attempts, such as 0.05")
@click.option("--max-lag-s", type=click.FloatRange(0, min_open=True), help="seconds of delivery lag")
@click.option("--min-attempts", type=click.IntRange(1), help="measurements of the lag below which it is not judged")
@click.option("--query", help="a Prometheus query (BEACON_PROMETHEUS_URL); empty for none")
@click.option("--max-value", type=float, help="the highest value of the query")
@click.option("--reason", help="needed for a change")
@click.option("--expected", help="`changedAt` of the limits that you saw; refused if somebody changed them since")
def limits(flag: str, reason: str | None, expected: str | None, **changes: Any) -> None:
    """Show the guardrail's limits, or change them without a restart."""
    which, wanted = embedded.parse_flag(flag), {name: value for name, value in changes.items() if value is not None}
    with open_migrated_app():
        settings = current_settings()
        if wanted:
            embedded.validate_change(reason or "", None)
            with write() as session:
                now = guardrail_limits.load_limits(session, which, settings).limits
                guardrail_limits.change_limits(
                    session, which, settings, operator_name(), reason or "", replace(now, **wanted), expected
                )
        with read() as session:
            found = guardrail_limits.load_limits(session, which, settings)
    for name, value in found.as_json().items():
        click.echo(f"{name}\t{'—' if value is None else value}")


def _parse_options(rules: dict[str, Any]) -> PlanOptions:
    begin, _dash, end = (rules["quiet_hours"] or "").partition("-")
    quiet = {"from": begin, "to": end, "zone": rules["zone"]} if rules["quiet_hours"] else None
    try:
        options = PlanOptions.of(
            {
                "onTrouble": rules["on_trouble"],
                "approval": rules["approval"],
                "startAt": rules["start_at"],
                "quietHours": quiet,
            }
        )
    except InvalidSchedule as error:
        raise click.UsageError(str(error)) from error
    minimums = Minimums(*(rules[name] for name in ("people", "connects", "stream_minutes", "events")))
    return replace(options, minimums=minimums)


def _parse_step(text: str) -> tuple[int, float]:
    """`10:60`: 10 % for 60 minutes."""
    percentage, _colon, minutes = text.partition(":")
    try:
        return int(percentage), float(minutes)
    except ValueError as error:
        raise click.UsageError(f"{text} is not a step: write PERCENTAGE:MINUTES, for example 10:60") from error


def _show_plan(session: Session, flag: Flag) -> None:
    session.flush()
    row, view = session.get(PlanRow, flag), current_provider().view(session, flag)
    if row is None:
        click.echo(f"{flag}: no plan")
        _show_last_plan(session, flag)
        return
    found = plan_service.to_plan(row)
    paused = ", paused" if row.paused_at else ""
    click.echo(f"{flag}: plan {plan_service.compute_seen(row)} by {row.actor}{paused}: {row.reason}")
    for number, step in enumerate(found.steps):
        place = "done" if number < found.step else "now" if number == found.step else "then"
        click.echo(f"{place}\t{step.percentage:g} % for {change_text.describe_minutes(step.hold_s / 60)}")
    options, state = PlanOptions.parse(row.options_json), PlanState.parse(row.state_json)
    for line in (*plan_text.describe_options(options), *plan_text.describe_decisions(state, row.step)):
        click.echo(line)
    _show_evidence(session, flag, row)
    share = flag_changes.describe_steps(flag, view)
    if share is not None:
        click.echo(share)


def _show_evidence(session: Session, flag: Flag, row: PlanRow) -> None:
    """What was seen of the current step, and what the plan waits for."""
    view = current_provider().view(session, flag)
    status = plan_status.load_evidence(session, flag, row, view, current_settings()).status
    if status is None:
        return
    if status.measures:
        click.echo(evidence.describe_evidence(status.measures))
    for line in status.waits:
        if status.missing not in line or not status.missing:
            click.echo(line)


def _show_last_plan(session: Session, flag: Flag) -> None:
    last = plan_archive.load_last_plan(session, flag)
    if last is None:
        return
    click.echo(f"the last plan, by {last['actor']} ({last['reason']}), {last['end']}, at {last['endedAt']}")
    for stage in last["evidence"]:
        click.echo(plan_text.describe_stage(stage))
