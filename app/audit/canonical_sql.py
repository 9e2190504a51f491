"""What the database puts together for `verify`, as each of them says it."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

from app.audit.chain import OPTIONAL_SEALED_COLUMNS, SEALED_COLUMNS
from app.audit.models import AuditRow


class _EncodedColumn(GenericFunction[str]):
    """A column as it is sealed: its length in bytes, a colon, and `=` with the text, or `-` for none."""

    type = sa.Text()
    name = "audit_part"
    inherit_cache = True


class _EncodedRow(GenericFunction[bytes]):
    """All columns as they are sealed, one behind the other, as bytes; those of `SEALED_IF_KEPT` come last."""

    type = sa.LargeBinary()
    name = "audit_whole"
    inherit_cache = True


class _AllText(GenericFunction[bool]):
    """Whether everything is stored as text: SQLite takes bytes too, which would look alike within the sealed text."""

    type = sa.Boolean()
    name = "audit_sound"
    inherit_cache = True


@compiles(_EncodedColumn, "sqlite")
def _encode_column_sqlite(element: _EncodedColumn, compiler: Any, **kw: Any) -> str:
    column = compiler.process(element.clauses, **kw)
    return f"coalesce((length(CAST({column} AS BLOB)) + 1) || ':=' || {column}, '1:-')"


@compiles(_EncodedColumn, "postgresql")
def _encode_column_postgres(element: _EncodedColumn, compiler: Any, **kw: Any) -> str:
    column = compiler.process(element.clauses, **kw)
    return f"coalesce((octet_length({column}::text) + 1) || ':=' || {column}::text, '1:-')"


@compiles(_EncodedRow, "sqlite")
def _encode_row_sqlite(element: _EncodedRow, compiler: Any, **kw: Any) -> str:
    """One printf is half again as fast as thirty concatenations; it ends a text at a NUL, which its length tells."""
    forms, values = [], []
    for column in element.clauses:
        name = compiler.process(column, **kw)
        if column.key in OPTIONAL_SEALED_COLUMNS:
            forms.append("%s")
            values.append(f"iif({name} IS NULL, '', {compiler.process(_EncodedColumn(column), **kw)})")
        elif column.nullable:
            forms.append("%s")
            values.append(compiler.process(_EncodedColumn(column), **kw))
        else:
            forms.append("%d:=%s")
            values += [f"length(CAST({name} AS BLOB)) + 1", name]
    return f"CAST(printf('{''.join(forms)}', {', '.join(values)}) AS BLOB)"


@compiles(_EncodedRow, "postgresql")
def _encode_row_postgres(element: _EncodedRow, compiler: Any, **kw: Any) -> str:
    parts = []
    for column in element.clauses:
        part = compiler.process(_EncodedColumn(column), **kw)
        name = compiler.process(column, **kw)
        parts.append(
            f"CASE WHEN {name} IS NULL THEN '' ELSE {part} END" if column.key in OPTIONAL_SEALED_COLUMNS else part
        )
    return f"convert_to({' || '.join(parts)}, 'UTF8')"


@compiles(_AllText, "sqlite")
def _all_text_sqlite(element: _AllText, compiler: Any, **kw: Any) -> str:
    # In SQLite's order every text comes before every blob.
    return " AND ".join(f"({compiler.process(one, **kw)} < x'') IS NOT 0" for one in element.clauses)


@compiles(_AllText, "postgresql")
def _all_text_postgres(_element: _AllText, _compiler: Any, **_kw: Any) -> str:
    return "true"


def select_page(after: int, limit: int) -> sa.Select[*tuple[Any, ...]]:
    """Entries behind `after`: seq, prev_hash, hash, whether stored soundly, what their hash is made of."""
    columns = [AuditRow.__table__.c[name] for name in (*SEALED_COLUMNS, *OPTIONAL_SEALED_COLUMNS)]
    sound = _AllText(*[column for column in columns if column.key != "seq"])
    chosen = sa.select(AuditRow.seq, AuditRow.prev_hash, AuditRow.hash, sound, _EncodedRow(*columns))
    return chosen.where(AuditRow.seq > after).order_by(AuditRow.seq).limit(limit)


def sealed_bytes(row: tuple[Any, ...]) -> int:
    """Of a row of `page`: the bytes of its sealed text."""
    return len(row[-1])
