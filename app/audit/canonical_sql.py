"""SQL that builds the canonical text of audit entries inside the database, for SQLite and PostgreSQL.

It concatenates the columns as they are hashed: the length in bytes, a colon, then `=` and the text, or `-` for NULL.
"""

import sqlalchemy as sa

from app.audit.chain import OPTIONAL_SEALED_COLUMNS, SEALED_COLUMNS
from app.audit.models import AuditRow

_SELECT = "SELECT a.seq, a.prev_hash, a.hash, {} FROM command_audit a WHERE a.seq > :after ORDER BY a.seq LIMIT :limit"


def _encode_column(name: str, text: str, size: str) -> str:
    part = f"coalesce(({size} + 1) || ':=' || {text}, '1:-')"
    return f"CASE WHEN a.{name} IS NULL THEN '' ELSE {part} END" if name in OPTIONAL_SEALED_COLUMNS else part


def _build_for_sqlite() -> str:
    """One printf is 1.5 times as fast as thirty concatenations. It cuts a text at a NUL; the length reveals that."""
    forms, values, sound = [], [], []
    for name in (*SEALED_COLUMNS, *OPTIONAL_SEALED_COLUMNS):
        size = f"length(CAST(a.{name} AS BLOB))"
        if AuditRow.__table__.c[name].nullable:
            forms.append("%s")
            values.append(_encode_column(name, f"a.{name}", size))
        else:
            forms.append("%d:=%s")
            values += [f"{size} + 1", f"a.{name}"]
        if name != "seq":
            # SQLite sorts every text before every blob; a blob would give the same canonical text.
            sound.append(f"(a.{name} < x'') IS NOT 0")
    whole = f"CAST(printf('{''.join(forms)}', {', '.join(values)}) AS BLOB)"
    return _SELECT.format(f"{' AND '.join(sound)}, {whole}")


def _build_for_postgres() -> str:
    parts = [
        _encode_column(name, f"a.{name}::text", f"octet_length(a.{name}::text)")
        for name in (*SEALED_COLUMNS, *OPTIONAL_SEALED_COLUMNS)
    ]
    return _SELECT.format(f"true, convert_to({' || '.join(parts)}, 'UTF8')")


_SELECT_BY_DIALECT = {"sqlite": sa.text(_build_for_sqlite()), "postgresql": sa.text(_build_for_postgres())}


def select_page(after: int, limit: int, dialect: str) -> sa.TextClause:
    """Entries after seq `after`: seq, prev_hash, hash, whether all columns are text, the canonical text."""
    return _SELECT_BY_DIALECT[dialect].bindparams(after=after, limit=limit)
