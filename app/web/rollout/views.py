"""`/rollout`: where the rollout stands, who would switch, what it did, and the way back."""

from dataclasses import dataclass
from datetime import timedelta

from flask import Response, current_app, request
from sqlalchemy.orm import Session

from app.accounts.actors import Actor
from app.config import current_settings
from app.db import db
from app.flags import worker_state
from app.flags.models import GuardRow, PlanRow
from app.flags.provider import View, provider
from app.infra.clock import parse_utc, utc_now
from app.infra.concurrency import yield_to_loop
from app.infra.problems import Problem
from app.rollout import changes_history, client_metrics, client_reports, drift, flag_changes, plan_service
from app.rollout.client_metrics import ErrorRate, Evidence
from app.rollout.drift import Reconciled
from app.rollout.online_users import online
from app.rollout.preview import MAX_NAMES, Switching, preview
from app.web.auth import actor, require
from app.web.dashboard import queries
from app.web.layout import frame, rendered
from app.web.rollout import bp, charts, rollout_summary
from app.web.rollout.claimed_state import Claim
from app.web.rollout.guardrail_text import Guardrail
from app.web.rollout.rollout_form import BY_HAND, FLAG, SPANS, STEPS, Asked, PlanAsked
from app.web.rollout.rollout_summary import Happened, PastPlan, PlanView

PRESETS = (10, 50, 100)
BACK_SHOWN = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Said:
    """What is told of something that was refused, where it was pressed: at the `bar`, the `review` or the `plan`."""

    place: str
    words: str
    link: str = ""


@dataclass(frozen=True, slots=True)
class Rollback:
    """What became of the last change, which took people out within the last day."""

    change: changes_history.Entry
    rate: ErrorRate


@dataclass(frozen=True, slots=True)
class Read:
    """What the page reads of the database in one go."""

    view: View
    happened: list[Happened]
    guardrail: Guardrail
    plan: PlanView | None
    past_plan: PastPlan | None
    evidence: Evidence
    rollback: Rollback | None


@bp.get("/rollout")
@require("viewer")
def index() -> Response:
    """`percentage=` or `on=1`: with who of the people online would switch; `minutes=360`: six hours of evidence."""
    return page(Asked.of(request.args).without_proof)


def page(
    asked: Asked,
    said: Said | None = None,
    status: int = 200,
    *,
    plan: PlanAsked = STEPS,
    take_back: str = BY_HAND,
) -> Response:
    """`plan` and `take_back` (a reason) are what was typed, where that was refused."""
    who, cursor = actor(), queries.cursor(db.session())
    around = frame("rollout", who, cursor, has_form=True)
    found = _read(db.session(), asked)
    yield_to_loop()
    standing = flag_changes.shown(FLAG, found.view)
    holding = worker_state.holding(db.session(), FLAG, found.view.nominal)
    db.session.remove()  # what follows takes many turns of the loop, and connections are few
    return rendered(
        "rollout/index.html",
        cursor,
        status,
        frame=around,
        asked=asked,
        said=said,
        found=found,
        standing=standing,
        claim=Claim.of(found.view, flag_changes.override_of(FLAG), holding),
        reconciled=_reconciled(),
        workers_lag=drift.lags(holding, found.view.changed_at),
        switching=_switching(who, asked, found.view),
        why_not=rollout_summary.why_not(who),
        graphs=charts.graphs(found.evidence),
        changes=[(change, charts.change_words(change)) for change in found.evidence.changes],
        share=lambda value: charts.said_as("share", value),
        must_type=asked.must_type(found.view.nominal),
        will_be=flag_changes.describe_change(FLAG, found.view, asked.percentage, True if asked.on else None),
        at_the_end=flag_changes.describe_change(FLAG, found.view, 100, None),
        share_of_steps=flag_changes.describe_steps(FLAG, found.view),
        proof=asked.proof(found.view.nominal, found.view.changed_at),
        flag=FLAG,
        presets=PRESETS,
        spans=SPANS,
        plan_asked=plan,
        take_back=take_back,
        most_names=MAX_NAMES,
        audit=rollout_summary.AUDIT,
    )


def said_of(problem: Problem, place: str) -> Said:
    """A refusal in words: what somebody else did meanwhile is named."""
    current, link = problem.members.get("current"), str(problem.members.get("link", ""))
    if current is None:
        return Said(place, problem.detail, link)
    at = current.get("changedAt")
    return Said(place, rollout_summary.moved_words(current, flag_changes.ago(at) if at else ""), link)


def _read(session: Session, asked: Asked) -> Read:
    entries = changes_history.newest(session, FLAG)
    view, plan = provider().view(session, FLAG), session.get(PlanRow, FLAG)
    return Read(
        view,
        rollout_summary.happened(entries),
        _guardrail(session, view),
        None if plan is None else PlanView.of(plan, entries),
        PastPlan.of(entries) if plan is None else None,
        client_metrics.read(session, FLAG, asked.minutes),
        _rollback(session, entries),
    )


def _guardrail(session: Session, view: View) -> Guardrail:
    """Judged from the same window as the watch judges from."""
    settings, source = current_settings(), provider()
    window = client_reports.window(session, plan_service.epoch(session), settings.guardrail_window_s, view.level_since)
    override, row = flag_changes.override_of(FLAG), session.get(GuardRow, FLAG)
    return Guardrail.of(row, settings, view.nominal, window, override, source.mode, view.outcome)


def _rollback(session: Session, entries: list[changes_history.Entry]) -> Rollback | None:
    change = changes_history.lowered(entries)
    if change is None or utc_now() - parse_utc(change.at) > BACK_SHOWN:
        return None
    began = changes_history.first_increase(entries)
    return Rollback(change, client_metrics.error_rate(session, FLAG, None if began is None else began.at, change.at))


def _reconciled() -> Reconciled | None:
    """None before any flags are known: then nobody can say who should stream."""
    flags = current_app.extensions["beacon_flags"]
    return None if flags.held is None else drift.watcher().look()


def _switching(who: Actor, asked: Asked, now: View) -> Switching | None:
    """Names are for whoever may act. None too where no single percentage says who would be in."""
    percentage = now.nominal.percentage if asked.on else asked.percentage
    if not asked.is_review or percentage is None or not who.has_role("product"):
        return None
    flags = current_app.extensions["beacon_flags"]
    return preview(flags, FLAG, online().everybody(), percentage, asked.on or now.nominal.enabled)
