"""Searches Beacon's own facts and, for the id of a job that it does not know, the services. Ends in time."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from app.config import current_settings
from app.db import db
from app.infra.clock import utc_now, utc_text
from app.infra.concurrency import iterate_in_slices
from app.reconciliation.queries import ServiceWithState, list_services
from app.search.fact_search import FactFindings, FactScope, search_facts
from app.search.limited_reader import run_search
from app.search.search_hits import Hit, HitList
from app.search.search_terms import SearchTerms
from app.search.service_lookup import ask_services, list_askable

# Of the second that a search may take, the rest is for the response.
SEARCH_TIMEOUT_S = 0.9


@dataclass(frozen=True, slots=True)
class SearchReport:
    """`unfinished`: parts of Beacon's facts that were not searched to the end. `asked`: how many services were."""

    hits: HitList
    since: str
    unfinished: Sequence[str] = ()
    asked: int = 0
    not_answered: Sequence[str] = ()

    @property
    def is_complete(self) -> bool:
        return not self.unfinished and not self.not_answered


def search_everything(terms: SearchTerms, *, with_people: bool) -> SearchReport:
    """`with_people`: whether users may be found. Releases the caller's database connection."""
    settings, ends_at = current_settings(), time.monotonic() + SEARCH_TIMEOUT_S
    watched = list_services(db.session())
    db.session.remove()
    horizon = utc_text(utc_now() - timedelta(days=settings.event_retention_days))
    if not terms.words:
        return SearchReport(HitList(), horizon)
    scope = FactScope([one.service.id for one in watched], with_people)
    found = run_search(lambda reader: search_facts(reader, terms, scope), ends_at)
    hits = _merge_services(watched, terms, settings.poll_interval_s, found)
    since = found.since or horizon
    if not _is_worth_asking(terms, hits):
        return SearchReport(hits, since, found.unfinished)
    services = list_askable(settings.job_list_bound)
    answers = ask_services(services, terms.text, ends_at)
    hits.add(*answers.hits)
    return SearchReport(hits, since, found.unfinished, len(services), answers.not_answered)


def _is_worth_asking(terms: SearchTerms, hits: HitList) -> bool:
    """For the id of a job that Beacon does not know. A word that means something else here is not asked for."""
    if not terms.may_be_id or hits.is_known_job(terms.text):
        return False
    return terms.looks_like_id or not len(hits)


def _merge_services(
    watched: Sequence[ServiceWithState], terms: SearchTerms, interval_s: float, found: FactFindings
) -> HitList:
    """Services, their workers and queues come from the rows that every page reads. What tells most of one is first."""
    first, last = list[Hit](), list[Hit]()
    for one in iterate_in_slices(watched):
        if _is_named(one, terms):
            first.append(_service_hit(one, interval_s))
        workers = _load_workers(one, terms)
        first += [_worker_hit(one, worker) for worker in workers if terms.is_in(worker["id"])]
        unserved = json.loads(one.state.unserved_json or "{}") if one.state else {}
        first += [_queue_hit(one, queue, "no-worker", at) for queue, at in unserved.items() if terms.is_in(queue)]
        configured = json.loads(one.service.options_json).get("queues") or ()
        served = (queue for worker in workers for queue in worker.get("queues") or ())
        last += [_queue_hit(one, queue, "watched") for queue in (*configured, *served) if terms.is_in(queue)]
    hits = HitList()
    hits.add(*first, *found.hits, *last)
    hits.more |= found.hits.more
    return hits


def _is_named(one: ServiceWithState, terms: SearchTerms) -> bool:
    return terms.is_in(one.service.id, one.service.name, one.service.kind)


def _service_hit(one: ServiceWithState, interval_s: float) -> Hit:
    status = one.current_status(interval_s)
    facts = {"name": one.service.name, "type": one.service.kind, "health": status.health}
    return Hit("service", one.service.id, status.status, one.service.id, _checked_at(one), facts)


def _worker_hit(one: ServiceWithState, worker: Mapping[str, Any]) -> Hit:
    return Hit("worker", worker["id"], worker["state"], one.service.id, worker.get("seen_at") or _checked_at(one))


def _queue_hit(one: ServiceWithState, queue: str, state: str, at: str | None = None) -> Hit:
    return Hit("queue", queue, state, one.service.id, at)


def _checked_at(one: ServiceWithState) -> str | None:
    return one.state.checked_at if one.state else None


def _load_workers(one: ServiceWithState, terms: SearchTerms) -> Sequence[Mapping[str, Any]]:
    """None where no name can fit: reading them all takes long, and escaped signs are in few names."""
    text = one.state.workers_json if one.state else None
    may_fit = text and (terms.is_in(text) or '"' in terms.text or "\\" in terms.text)
    return json.loads(text) if text and may_fit else ()
