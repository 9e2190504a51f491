"""What the database puts together for `verify`, as each of them says it."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

from app.audit.chain import SEALED, SEALED_IF_KEPT
from app.audit.models import AuditRow


class _Part(GenericFunction[str]):
    """A column as it is sealed: its length in bytes, a colon, and `=` with the text, or `-` for none."""

    type = sa.Text()
    name = "audit_part"
    inherit_cache = True


class _Bytes(GenericFunction[bytes]):
    """A text as its bytes."""

    type = sa.LargeBinary()
    name = "audit_bytes"
    inherit_cache = True


class _Sound(GenericFunction[bool]):
    """Whether everything is stored as text: SQLite takes bytes too, which would look alike within the sealed text."""

    type = sa.Boolean()
    name = "audit_sound"
    inherit_cache = True


@compiles(_Part, "sqlite")
def _part_sqlite(element: _Part, compiler: Any, **kw: Any) -> str:
    column = compiler.process(element.clauses, **kw)
    return f"coalesce((length(CAST({column} AS BLOB)) + 1) || ':=' || {column}, '1:-')"


@compiles(_Part, "postgresql")
def _part_postgres(element: _Part, compiler: Any, **kw: Any) -> str:
    column = compiler.process(element.clauses, **kw)
    return f"coalesce((octet_length({column}::text) + 1) || ':=' || {column}::text, '1:-')"


@compiles(_Bytes, "sqlite")
def _bytes_sqlite(element: _Bytes, compiler: Any, **kw: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **kw)} AS BLOB)"


@compiles(_Bytes, "postgresql")
def _bytes_postgres(element: _Bytes, compiler: Any, **kw: Any) -> str:
    return f"convert_to({compiler.process(element.clauses, **kw)}, 'UTF8')"


@compiles(_Sound, "sqlite")
def _sound_sqlite(element: _Sound, compiler: Any, **kw: Any) -> str:
    # In SQLite's order every text comes before every blob.
    return " AND ".join(f"({compiler.process(one, **kw)} < x'') IS NOT 0" for one in element.clauses)


@compiles(_Sound, "postgresql")
def _sound_postgres(_element: _Sound, _compiler: Any, **_kw: Any) -> str:
    return "true"


def page(after: int, limit: int) -> sa.Select[*tuple[Any, ...]]:
    """Entries behind `after`: id, seq, prev_hash, hash, whether stored soundly, what their hash is made of."""
    columns = [getattr(AuditRow, name) for name in SEALED]
    text: Any = _Part(columns[0])
    for column in columns[1:]:
        text = text.op("||")(_Part(column))
    for name in SEALED_IF_KEPT:
        kept = getattr(AuditRow, name)
        text = text.op("||")(sa.case((kept.is_(None), sa.literal_column("''")), else_=_Part(kept)))
        columns.append(kept)
    sound = _Sound(*[column for column in columns if column.key != "seq"])
    chosen = sa.select(AuditRow.id, AuditRow.seq, AuditRow.prev_hash, AuditRow.hash, sound, _Bytes(text))
    return chosen.where(AuditRow.seq > after).order_by(AuditRow.seq).limit(limit)
