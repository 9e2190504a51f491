"""The kept head on PostgreSQL: a tail cut off and a table emptied by somebody who owns the database."""

import sqlalchemy as sa
from flask import Flask

from app.audit import chain, head_file
from app.audit.verify import read_outside_head, verify
from app.db import db, write


def test_what_the_owner_of_the_database_removes_is_found(app: Flask) -> None:
    with app.app_context():
        for number in range(6):
            with write() as session:
                chain.record(session, chain.Entry("bob", "retry-job", f"mail/{number}"))
        head_file.current_keeper().update()
        assert verify(kept=read_outside_head().expected).broken is None
        for condition, left in (("seq > 4", 4), ("seq > 0", 0)):
            with db.engine.begin() as owner:
                owner.execute(sa.text("ALTER TABLE command_audit DISABLE TRIGGER USER"))
                owner.execute(sa.text(f"DELETE FROM command_audit WHERE {condition}"))
            assert verify().broken is None
            broken = verify(kept=read_outside_head().expected).broken or ""
            assert broken.endswith(
                f"is newer than the log, which ends at seq {left}: the log was restored or truncated"
            )
