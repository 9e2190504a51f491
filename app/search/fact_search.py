"""Searches what Beacon itself knows, from the exact and cheap to the wide, until the time is up."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from app.search import search_queries as queries
from app.search.limited_reader import LimitedReader, Record, TimeUp
from app.search.search_hits import MAX_HITS_PER_KIND, Hit, HitList
from app.search.search_queries import IdMatch
from app.search.search_terms import SearchTerms

# One more than is shown tells that there are more.
_LIMIT = MAX_HITS_PER_KIND + 1


@dataclass(frozen=True, slots=True)
class FactScope:
    """Whose facts are searched: these services, and people only for those who may list them."""

    service_ids: Sequence[str]
    with_people: bool


@dataclass(slots=True)
class FactFindings:
    """`unfinished`: the parts that were not searched to their end. `since`: the oldest failed job that is kept."""

    hits: HitList = field(default_factory=HitList)
    unfinished: list[str] = field(default_factory=list)
    since: str | None = None


def search_facts(reader: LimitedReader, terms: SearchTerms, scope: FactScope) -> FactFindings:
    """Runs on the thread of the reader."""
    found = FactFindings()
    for name, part in _list_parts(reader, terms, scope, found):
        try:
            part()
        except TimeUp:
            found.unfinished.append(name)
    return found


def _list_parts(
    reader: LimitedReader, terms: SearchTerms, scope: FactScope, found: FactFindings
) -> Iterator[tuple[str, Callable[[], None]]]:
    """Cheap ones first. The names are for people."""
    arguments = (reader, terms, scope, found)
    yield "the age of the oldest fact", partial(_find_oldest, *arguments)
    if terms.may_be_whole_id:
        yield "job ids", partial(_find_jobs, *arguments)
    if terms.may_be_id:
        yield "command ids", partial(_find_commands, *arguments)
    if scope.with_people:
        yield "people", partial(_find_people, *arguments)
    yield "queues and workers", partial(_find_locations, *arguments)
    yield "causes of failures", partial(_find_causes, *arguments)
    if terms.tokens:
        yield "error messages", partial(_find_messages, *arguments)


def _find_oldest(reader: LimitedReader, _terms: SearchTerms, _scope: FactScope, found: FactFindings) -> None:
    [row] = reader.fetch(queries.select_oldest_fact())
    found.since = row["at"]


def _find_jobs(reader: LimitedReader, terms: SearchTerms, scope: FactScope, found: FactFindings) -> None:
    services = scope.service_ids
    for is_prefix in (False, True) if terms.may_be_prefix else (False,):
        matches = IdMatch(reader.dialect, terms.text, is_prefix=is_prefix)
        failed = {_key(row): row for row in reader.fetch(queries.select_failed(services, matches, _LIMIT))}
        hits = [
            *(_item_hit(row, failed) for row in reader.fetch(queries.select_open_items(services, matches, _LIMIT))),
            *(_known_hit(row, failed) for row in reader.fetch(queries.select_known(services, matches, _LIMIT))),
            *map(_failed_hit, failed.values()),
        ]
        if not is_prefix:
            past = reader.fetch(queries.select_past_jobs(services, terms.text, _LIMIT))
            hits += [Hit("job", row["job_id"], "past", row["service_id"], row["at"]) for row in past]
        found.hits.add(*hits)


def _key(row: Record) -> tuple[str, str]:
    return row["service_id"], row["job_id"]


def _failed_hit(row: Record) -> Hit:
    """`gone`: not failed any more; what it is now was not seen."""
    state = "gone" if row["gone_at"] else "failed"
    at = row["gone_at"] or row["failed_at"] or row["seen_at"]
    return Hit("job", row["job_id"], state, row["service_id"], at, _facts_of(row))


def _known_hit(row: Record, failed: Mapping[tuple[str, str], Record]) -> Hit:
    facts = _facts_of(failed.get(_key(row), {})) | {"queue": row["queue"]}
    return Hit("job", row["job_id"], row["state"], row["service_id"], row["seen_at"], facts)


def _item_hit(row: Record, failed: Mapping[tuple[str, str], Record]) -> Hit:
    facts = _facts_of(failed.get(_key(row), {})) | {"queue": row["queue"]}
    return Hit("job", row["job_id"], row["kind"], row["service_id"], row["since"], facts)


def _facts_of(row: Record) -> dict[str, str | None]:
    names = {"queue": "queue", "function": "function", "errorType": "error_type", "message": "message"}
    return {name: row.get(column) for name, column in names.items()} | {"group": row.get("group_id")}


def _find_commands(reader: LimitedReader, terms: SearchTerms, scope: FactScope, found: FactFindings) -> None:
    for is_prefix in (False, True) if terms.may_be_prefix else (False,):
        matches = IdMatch(reader.dialect, terms.text, is_prefix=is_prefix)
        for row in reader.fetch(queries.select_commands(scope.service_ids, matches, _LIMIT)):
            facts = {"action": row["action"], "target": row["target"], "actor": row["actor"]}
            found.hits.add(Hit("command", row["id"], row["phase"], row["service_id"], row["created_at"], facts))


def _find_people(reader: LimitedReader, terms: SearchTerms, _scope: FactScope, found: FactFindings) -> None:
    for row in reader.fetch(queries.select_people(terms, _LIMIT)):
        state = "disabled" if row["disabled_at"] else "active"
        found.hits.add(Hit("person", row["name"], state, at=row["disabled_at"], facts={"role": row["role"]}))


def _find_locations(reader: LimitedReader, terms: SearchTerms, scope: FactScope, found: FactFindings) -> None:
    for row in reader.fetch(queries.select_locations(scope.service_ids, terms, _LIMIT)):
        found.hits.add(Hit(row["kind"], row["name"], "failed", row["service_id"], row["last_at"]))
    for start in range(0, len(scope.service_ids), queries.MAX_SERVICES_PER_STATEMENT):
        some = scope.service_ids[start : start + queries.MAX_SERVICES_PER_STATEMENT]
        for row in reader.fetch(queries.select_known_queues(some)):
            if terms.is_in(row["queue"]):
                found.hits.add(Hit("queue", row["queue"], "busy", row["service_id"]))


def _find_causes(reader: LimitedReader, terms: SearchTerms, scope: FactScope, found: FactFindings) -> None:
    after: tuple[str, str] | None = None
    while True:
        window = queries.select_window_of_groups(after)
        rows = reader.fetch(queries.select_matches_in(window, scope.service_ids, terms, _LIMIT))
        found.hits.add(*map(_cause_hit, rows))
        end = reader.fetch(queries.select_end_of(window))
        if not end or end[0]["number"] < queries.GROUPS_PER_WINDOW or "failure" in found.hits.more:
            return
        after = (end[0]["last_at"], end[0]["id"])


def _cause_hit(row: Record) -> Hit:
    facts = {
        "group": row["id"],
        "function": row["function"],
        "errorType": row["error_type"],
        "message": row["message"],
        "count": row["jobs"],
    }
    return Hit("failure", row["id"], "failing" if row["jobs"] > 0 else "over", row["service_id"], row["last_at"], facts)


def _find_messages(reader: LimitedReader, terms: SearchTerms, scope: FactScope, found: FactFindings) -> None:
    """Whole words first: all words that begin like these are many, and rarely what was meant."""
    if not reader.has_text_index:
        found.unfinished.append("error messages of single jobs, as this SQLite has no FTS5")
        return
    rows: list[Record] = []
    for prefixes in (False, True):
        if len(rows) < _LIMIT:
            rows = reader.fetch(queries.select_messages(reader.dialect, terms, _LIMIT, prefixes=prefixes))
    watched = set(scope.service_ids)
    rows = sorted(
        (row for row in rows if row["service_id"] in watched), key=lambda row: row["failed_at"] or "", reverse=True
    )
    found.hits.add(*map(_failed_hit, rows))
    causes = {row["group_id"] for row in rows if row["group_id"]}
    found.hits.add(*map(_cause_hit, reader.fetch(queries.select_groups(sorted(causes)))))
