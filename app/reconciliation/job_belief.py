"""Why Beacon believes what it believes of one job: the conditions of its verdict, and which of them hold. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from app.infra.clock import display_text, parse_utc
from app.reconciliation.models import KnownJob, OpenItem
from app.sources.protocol import FinishedVisible

Verdict = Literal["missing", "unaccounted", "extra", "listed", "unseen", "not-followed"]


@dataclass(frozen=True, slots=True)
class Condition:
    """`held` is None if it is not known."""

    name: str
    held: bool | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class JobEvidence:
    """What the verdict follows from. `heard_at`: the newest poll whose lists were used; `is_explained`: an event or a
    command says that the job ended."""

    known: KnownJob | None
    items: Sequence[OpenItem]
    heard_at: str | None
    finished_visible: FinishedVisible
    is_explained: bool


@dataclass(frozen=True, slots=True)
class JobBelief:
    verdict: Verdict
    words: str
    conditions: tuple[Condition, ...] = ()


def explain_belief(evidence: JobEvidence) -> JobBelief:
    """The verdict on a job. Open items come first: they are what people see elsewhere."""
    opened = next(iter(evidence.items), None)
    if opened is not None and opened.kind in ("missing", "unaccounted"):
        return _explain_absence(evidence, opened)
    if opened is not None:
        return _explain_extra(opened)
    if evidence.known is None:
        return JobBelief("not-followed", "Beacon follows jobs until they end, and this one is not among them.")
    job, seen_at = evidence.known, evidence.known.seen_at
    if seen_at is None:
        when = f" of {_clock(evidence.heard_at)}" if evidence.heard_at else ""
        return JobBelief("listed", f"The newest poll{when} found it {job.state}{_in_queue(job.queue)}.")
    words = f"The newest poll did not find it. It was last seen {job.state}{_in_queue(job.queue)} at {_clock(seen_at)}."
    return JobBelief("unseen", words, _list_conditions(evidence, job.state, job.queue, seen_at, None))


def _explain_absence(evidence: JobEvidence, item: OpenItem) -> JobBelief:
    conditions = _list_conditions(evidence, item.last_state, item.queue, None, item.since)
    if item.kind == "missing":
        return JobBelief("missing", "All five conditions of a missing job held when it was declared.", conditions)
    words = "It vanished, and its service cannot tell whether it finished: it is unaccounted for, not missing."
    return JobBelief("unaccounted", words, conditions)


def _explain_extra(item: OpenItem) -> JobBelief:
    words = "A program published that it had ended, and the service still shows it."
    shown = f"{item.last_state}{_in_queue(item.queue)}, first at {_clock(item.since)}"
    return JobBelief(
        "extra",
        words,
        (
            Condition("An event says that it has ended", True),
            Condition("Two later polls still found it", True, shown),
        ),
    )


def _list_conditions(
    evidence: JobEvidence, state: str, queue: str | None, seen_at: str | None, since: str | None
) -> tuple[Condition, ...]:
    """The five conditions of a missing job (docs/reconciliation.md). `since`: when it was declared, if it was."""
    declared = True if since else None
    when = f"since {_clock(since)}" if since else ""
    seen = f"{state}{_in_queue(queue)}" + (f", last seen at {_clock(seen_at)}" if seen_at else "")
    would_show, why = _would_show(evidence.finished_visible)
    return (
        Condition("It was unfinished at one poll", True, seen),
        Condition("A complete later poll did not find it", True, when),
        Condition("The service would still show a finished job", would_show, why),
        Condition("A second snapshot within a second did not find it", declared, when),
        Condition("Nothing explains it: no event and no command", not evidence.is_explained),
    )


def _would_show(visible: FinishedVisible) -> tuple[bool | None, str]:
    if visible is None:
        return False, "it cannot tell a finished job from one that vanished"
    if visible == "lookup":
        return True, "asked by its id, it never heard of this job"
    return True, f"its lists show finished jobs for {visible:g} s"


def _in_queue(queue: str | None) -> str:
    return f" in queue {queue}" if queue else ""


def _clock(at: str | None) -> str:
    return display_text(parse_utc(at)) if at else "—"
