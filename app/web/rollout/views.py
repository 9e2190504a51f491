"""The rollout page `/rollout`: state, preview, client reports, guardrail, plan and history."""

from dataclasses import dataclass
from datetime import timedelta
from typing import get_args

from flask import Response, request
from sqlalchemy.orm import Session

from app.accounts.actors import Actor
from app.components import components
from app.config import current_settings
from app.db import db
from app.flags import worker_state
from app.flags.change_log import RolloutChange
from app.flags.definitions import DEFINITIONS
from app.flags.models import GuardrailRow, PlanRow
from app.flags.provider import FlagView, current_provider
from app.infra.clock import parse_utc, utc_now
from app.infra.concurrency import yield_to_loop
from app.infra.problems import Problem
from app.rollout import changes_history, client_metrics, drift, flag_changes, plan_archive, plan_forecast, plan_status
from app.rollout.client_metrics import ClientMetrics, ErrorRate
from app.rollout.drift import Drift
from app.rollout.guardrail import GuardrailMode
from app.rollout.guardrail_limits import StoredLimits, load_limits
from app.rollout.online_users import online_users
from app.rollout.plan import PlanStep
from app.rollout.plan_options import ON_TROUBLE
from app.rollout.plan_status import FlagEvidence
from app.rollout.preview import MAX_LISTED_NAMES, SwitchPreview, preview_switches
from app.web.auth import actor, require
from app.web.dashboard import queries
from app.web.layout import build_layout, render_page
from app.web.rollout import bp, charts, rollout_summary
from app.web.rollout.claimed_state import ClaimedState
from app.web.rollout.guardrail_text import GuardrailText
from app.web.rollout.headline import Headline
from app.web.rollout.rollout_form import (
    CHART_SPANS,
    DEFAULT_PLAN,
    DEFAULT_REASON,
    FLAG,
    PlanForm,
    RolloutForm,
    parse_options,
)
from app.web.rollout.rollout_summary import HistoryRow, PastPlan, PlanView

PRESETS = (10, 50, 100)
ROLLBACK_SHOWN_FOR = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class FormError:
    """The error of a refused submission, shown at its form: the `bar`, the `review`, the `plan` or the `limits`."""

    place: str
    words: str
    link: str = ""


@dataclass(frozen=True, slots=True)
class Rollback:
    """A decrease within the last day, if it is the last change, and the error rate since."""

    change: RolloutChange
    rate: ErrorRate


@dataclass(frozen=True, slots=True)
class RolloutPageData:
    """Everything that the page reads from the database."""

    view: FlagView
    history: list[HistoryRow]
    guardrail: GuardrailText
    plan: PlanView | None
    past_plan: PastPlan | None
    evidence: ClientMetrics
    rollback: Rollback | None
    limits: StoredLimits


@bp.get("/rollout")
@require("viewer")
def get_page() -> Response:
    """`percentage=` or `on=1` shows the preview of that change; `minutes=360` shows six hours of client reports."""
    return render_rollout_page(RolloutForm.of(request.args).without_expected)


def render_rollout_page(
    form: RolloutForm,
    error: FormError | None = None,
    status: int = 200,
    *,
    plan: PlanForm = DEFAULT_PLAN,
    take_back: str = DEFAULT_REASON,
) -> Response:
    """`plan` and `take_back` (a reason) are the typed input of a refused submission."""
    who, cursor = actor(), queries.cursor(db.session())
    around = build_layout("rollout", who, cursor, has_form=True)
    data = _load_page_data(db.session(), form)
    yield_to_loop()
    standing = flag_changes.flag_as_json(FLAG, data.view)
    holding = worker_state.load_worker_agreement(db.session(), FLAG, data.view.state)
    claim = ClaimedState.of(data.view, flag_changes.get_override(FLAG), holding)
    db.session.remove()  # the rest takes many turns of the event loop, and connections are few
    return render_page(
        "rollout/index.html",
        cursor,
        status,
        layout=around,
        form=form,
        error=error,
        data=data,
        standing=standing,
        claim=claim,
        headline=Headline.of(claim, data.guardrail, data.plan),
        forecast=_forecast(data.plan, plan),
        on_trouble=ON_TROUBLE,
        has_prometheus=bool(current_settings().prometheus_url),
        modes=get_args(GuardrailMode),
        reconciled=_load_drift(),
        workers_lag=drift.is_lagging(holding, data.view.changed_at),
        switching=_load_preview(who, form, data.view),
        why_not=rollout_summary.explain_missing_role(who),
        graphs=charts.build_graphs(data.evidence),
        graphs_since=charts.first_shown_minute(data.evidence),
        changes=[(change, charts.describe_mark(change)) for change in data.evidence.changes],
        share=lambda value: charts.format_metric("share", value),
        needs_confirmation=form.needs_confirmation(data.view.state),
        will_be=flag_changes.describe_change(FLAG, data.view, form.percentage, True if form.on else None),
        at_the_end=flag_changes.describe_change(FLAG, data.view, 100, None),
        share_of_steps=flag_changes.describe_steps(FLAG, data.view),
        expected=form.expected_state(data.view.state, data.view.changed_at),
        flag=FLAG,
        definition=DEFINITIONS[FLAG],
        end_of_flag=DEFINITIONS[FLAG].describe_end(utc_now().date()),
        presets=PRESETS,
        spans=CHART_SPANS,
        plan_form=plan,
        take_back=take_back,
        max_names=MAX_LISTED_NAMES,
        audit=rollout_summary.AUDIT_URL,
    )


def _forecast(plan: PlanView | None, form: PlanForm) -> list[str]:
    """Which holds are shorter than the evidence can take: of the plan that runs, or of the one in the form."""
    if plan is not None:
        return plan_forecast.forecast_waits(plan.coming, plan.options)
    try:
        steps = [PlanStep(float(percentage), 60 * float(minutes)) for percentage, minutes in form.rows if percentage]
        return plan_forecast.forecast_waits(steps, parse_options(form.rules))
    except (ValueError, Problem):
        return []


def to_form_error(problem: Problem, place: str) -> FormError:
    """The text of a refusal; a conflicting change by somebody else is described."""
    current, link = problem.members.get("current"), str(problem.members.get("link", ""))
    if current is None:
        return FormError(place, problem.detail, link)
    at = current.get("changedAt")
    return FormError(place, rollout_summary.conflict_text(current, flag_changes.describe_age(at) if at else ""), link)


def _load_page_data(session: Session, form: RolloutForm) -> RolloutPageData:
    entries = changes_history.load_entries(session, FLAG)
    view, plan = current_provider().view(session, FLAG), session.get(PlanRow, FLAG)
    evidence = plan_status.load_evidence(session, FLAG, plan, view, current_settings())
    return RolloutPageData(
        view,
        rollout_summary.build_history(entries),
        _describe_guardrail(session, view, evidence),
        None if plan is None else PlanView.of(plan, entries, evidence),
        PastPlan.of(plan_archive.load_last_plan(session, FLAG)) if plan is None else None,
        client_metrics.load_metrics(session, FLAG, form.minutes),
        _load_rollback(session, entries),
        load_limits(session, FLAG, current_settings()),
    )


def _describe_guardrail(session: Session, view: FlagView, evidence: FlagEvidence) -> GuardrailText:
    """Uses the same evidence and limits as the rollout controller."""
    settings, source = current_settings(), current_provider()
    limits = load_limits(session, FLAG, settings).limits
    override, row = flag_changes.get_override(FLAG), session.get(GuardrailRow, FLAG)
    found, recent = evidence.found, evidence.recent
    return GuardrailText.of(
        row,
        limits,
        view.state,
        found,
        recent,
        override,
        source.mode,
        view.outcome,
        settings.guardrail_window_s,
        evidence.looks,
    )


def _load_rollback(session: Session, entries: list[RolloutChange]) -> Rollback | None:
    change = changes_history.find_decrease(entries)
    if change is None or utc_now() - parse_utc(change.at) > ROLLBACK_SHOWN_FOR:
        return None
    began = changes_history.find_first_increase(entries)
    return Rollback(
        change, client_metrics.load_error_rate(session, FLAG, None if began is None else began.at, change.at)
    )


def _load_drift() -> Drift | None:
    """None before a configuration is loaded: then the expected streamers are unknown."""
    flags = components().flags
    return None if flags.configuration is None else drift.drift_tracker().measure()


def _load_preview(who: Actor, form: RolloutForm, now: FlagView) -> SwitchPreview | None:
    """Names are shown only to users who may change the rollout. Also None if the percentage is unknown."""
    percentage = now.state.percentage if form.on else form.percentage
    if not form.is_review or percentage is None or not who.has_role("product"):
        return None
    flags = components().flags
    return preview_switches(flags, FLAG, online_users().list_all(), percentage, form.on or now.state.enabled)
