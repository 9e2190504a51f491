"""The statements of a search, each bounded and on an index. Pure: they are executed by a `LimitedReader`."""

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from app.accounts.models import User
from app.commands.models import CommandRow, ItemRow
from app.failures.models import FailedJob, FailureGroup, FailureLocation
from app.reconciliation.models import KnownJob, OpenItem
from app.search.search_terms import SearchTerms

# Causes are looked at newest first, so many at a time.
GROUPS_PER_WINDOW = 5_000
# Queues of healthy services are those of so many unfinished jobs each.
JOBS_READ_FOR_QUEUES = 200
MAX_SERVICES_PER_STATEMENT = 100
# So many of the newest queues and workers in which jobs have failed are looked at.
MAX_LOCATIONS = 10_000
# After all text that begins with a prefix, as SQLite compares text.
_LAST_SIGN = "\U0010ffff"
# Splits a message as SQLite's tokenizer `ascii` does; the index of migration 0022 has the same expression.
POSTGRES_WORDS = (
    "to_tsvector('simple', regexp_replace(failed_job.message, "
    r"'[\u0001-\u002F\u003A-\u0040\u005B-\u0060\u007B-\u007F]+', ' ', 'g'))"
)
_FACTS = (
    FailedJob.service_id,
    FailedJob.job_id,
    FailedJob.seen_at,
    FailedJob.gone_at,
    FailedJob.read_at,
    FailedJob.failed_at,
    FailedJob.queue,
    FailedJob.group_id,
    FailedJob.message,
    FailureGroup.function,
    FailureGroup.error_type,
)
_GROUP = (
    FailureGroup.id,
    FailureGroup.service_id,
    FailureGroup.function,
    FailureGroup.error_type,
    FailureGroup.message,
    FailureGroup.jobs,
    FailureGroup.last_at,
)


class IdMatch:
    """An id that is `text`, or with `is_prefix` one that begins with it; databases have different indexes for that."""

    def __init__(self, dialect: str, text: str, *, is_prefix: bool) -> None:
        self._dialect, self._text, self._is_prefix = dialect, text, is_prefix

    def __call__(self, column: sa.orm.InstrumentedAttribute[str]) -> sa.ColumnElement[bool]:
        if not self._is_prefix:
            return column == self._text
        if self._dialect == "sqlite":
            return sa.and_(column > self._text, column < self._text + _LAST_SIGN)
        return column.startswith(self._text, autoescape=True)


def select_failed(services: Collection[str], matches: IdMatch, limit: int) -> sa.Executable:
    return _select_facts().where(FailedJob.service_id.in_(services), matches(FailedJob.job_id)).limit(limit)


def select_known(services: Collection[str], matches: IdMatch, limit: int) -> sa.Executable:
    columns = (KnownJob.service_id, KnownJob.job_id, KnownJob.state, KnownJob.queue, KnownJob.seen_at)
    return sa.select(*columns).where(KnownJob.service_id.in_(services), matches(KnownJob.job_id)).limit(limit)


def select_open_items(services: Collection[str], matches: IdMatch, limit: int) -> sa.Executable:
    columns = (OpenItem.service_id, OpenItem.job_id, OpenItem.kind, OpenItem.since, OpenItem.queue)
    still = sa.select(*columns).where(OpenItem.service_id.in_(services), OpenItem.closed_at.is_(None))
    return still.where(matches(OpenItem.job_id)).limit(limit)


def select_past_jobs(services: Collection[str], job_id: str, limit: int) -> sa.Executable:
    """Jobs that are known only by what became of them: a closed item, or a command that touched them."""
    items = sa.select(OpenItem.service_id, OpenItem.job_id, OpenItem.closed_at.label("at"))
    closed = items.where(OpenItem.service_id.in_(services), OpenItem.job_id == job_id, OpenItem.closed_at.is_not(None))
    targets = sa.select(ItemRow.service_id, ItemRow.target.label("job_id"), CommandRow.ended_at.label("at"))
    touched = targets.join(CommandRow, CommandRow.id == ItemRow.command_id)
    touched = touched.where(ItemRow.service_id.in_(services), ItemRow.target == job_id)
    return sa.union_all(closed, touched).limit(limit)


def select_commands(services: Collection[str], matches: IdMatch, limit: int) -> sa.Executable:
    columns = (CommandRow.id, CommandRow.service_id, CommandRow.action, CommandRow.target, CommandRow.actor)
    found = sa.select(*columns, CommandRow.phase, CommandRow.created_at).where(matches(CommandRow.id))
    return found.where(CommandRow.service_id.in_(services)).limit(limit)


def select_locations(services: Collection[str], terms: SearchTerms, limit: int) -> sa.Executable:
    newest = sa.select(FailureLocation).order_by(FailureLocation.last_at.desc()).limit(MAX_LOCATIONS).subquery()
    found = sa.select(newest).where(newest.c.service_id.in_(services), *_contain(newest.c.name, terms))
    return found.limit(limit)


def select_known_queues(services: Sequence[str]) -> sa.Executable:
    """The queues of some unfinished jobs of each of these services: at most `MAX_SERVICES_PER_STATEMENT`."""
    # As text, because SQLAlchemy takes a fifth of a millisecond for each of them, and the event loop waits.
    one = "SELECT * FROM (SELECT service_id, queue FROM known_job WHERE service_id = :s{} LIMIT {}) AS jobs"
    each = " UNION ALL ".join(one.format(place, JOBS_READ_FOR_QUEUES) for place in range(len(services)))
    text = f"SELECT DISTINCT service_id, queue FROM ({each}) AS jobs WHERE queue IS NOT NULL"  # noqa: S608 -- no input
    return sa.text(text).bindparams(**{f"s{place}": service_id for place, service_id in enumerate(services)})


def select_people(terms: SearchTerms, limit: int) -> sa.Executable:
    columns = (User.name, User.role, User.disabled_at)
    return sa.select(*columns).where(*_contain(User.name, terms)).order_by(User.name).limit(limit)


def select_window_of_groups(after: tuple[str, str] | None) -> sa.Subquery:
    """The next causes, newest first."""
    some = sa.select(*_GROUP)
    if after is not None:
        some = some.where(sa.tuple_(FailureGroup.last_at, FailureGroup.id) < after)
    return some.order_by(FailureGroup.last_at.desc(), FailureGroup.id.desc()).limit(GROUPS_PER_WINDOW).subquery()


def select_matches_in(window: sa.Subquery, services: Collection[str], terms: SearchTerms, limit: int) -> sa.Select[Any]:
    """The causes of this window with all words in the function, the type of the error or the message."""
    column = window.c
    parts = (column.function, column.error_type, column.message)
    text = sa.func.coalesce(parts[0], "") + " " + sa.func.coalesce(parts[1], "") + " " + sa.func.coalesce(parts[2], "")
    found = sa.select(window).where(column.service_id.in_(services), *_contain(text, terms))
    return found.order_by(column.last_at.desc()).limit(limit)


def select_end_of(window: sa.Subquery) -> sa.Executable:
    """How many causes are in the window, and the last of them."""
    last = sa.select(window.c.last_at, window.c.id).order_by(window.c.last_at, window.c.id).limit(1).subquery()
    number = sa.select(sa.func.count()).select_from(window).scalar_subquery()
    return sa.select(last, number.label("number"))


def select_groups(ids: Collection[str]) -> sa.Executable:
    return sa.select(*_GROUP).where(FailureGroup.id.in_(ids))


def select_messages(dialect: str, terms: SearchTerms, limit: int, *, prefixes: bool) -> sa.Executable:
    """Failed jobs with all words in the message: on SQLite those that were read last, on PostgreSQL any."""
    if dialect == "sqlite":
        text = "SELECT rowid AS id FROM failure_text WHERE failure_text MATCH :words ORDER BY rowid DESC LIMIT :most"
        hits = sa.text(text).bindparams(words=terms.to_fts5(prefixes=prefixes), most=limit)
        ids = hits.columns(sa.column("id", sa.Integer)).subquery("hits")
        return _select_facts().join(ids, ids.c.id == FailedJob.text_id)
    matching = sa.text(f"{POSTGRES_WORDS} @@ to_tsquery('simple', :words)")
    matching = matching.bindparams(words=terms.to_tsquery(prefixes=prefixes))
    return _select_facts().where(matching).limit(limit)


def select_oldest_fact() -> sa.Executable:
    return sa.select(sa.func.min(FailedJob.failed_at).label("at"))


def _select_facts() -> sa.Select[*tuple[Any, ...]]:
    return sa.select(*_FACTS).outerjoin(FailureGroup, FailureGroup.id == FailedJob.group_id)


def _contain(column: Any, terms: SearchTerms) -> list[sa.ColumnElement[bool]]:
    return [column.icontains(word, autoescape=True) for word in terms.words]
