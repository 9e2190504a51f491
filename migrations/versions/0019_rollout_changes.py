"""The history of rollouts in a table of its own, the cause of changes on their way to Unleash, reported flapping."""

import contextlib
import json
from collections import Counter
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

KINDS = {
    "rollout-set": "set",
    "rollout-seen": "set",
    "rollout-hold": "held",
    "rollout-release": "released",
    "rollout-plan-start": "started",
    "rollout-plan-pause": "paused",
    "rollout-plan-resume": "resumed",
    "rollout-plan-stop": "stopped",
    "rollout-plan-end": "ended",
}
MAX_ROWS_PER_FLAG = 1_000
AUDIT = sa.table(
    "command_audit",
    *map(
        sa.column,
        ("seq", "timestamp", "actor", "action_type", "target", "outcome", "before_state_json", "after_state_json",
         "command_params_json", "logs_json"),
    ),
)  # fmt: skip


def upgrade() -> None:
    table = op.create_table(
        "rollout_change",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("flag", sa.Text, nullable=False),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("before_enabled", sa.Boolean),
        sa.Column("before_percentage", sa.Float),
        sa.Column("after_enabled", sa.Boolean),
        sa.Column("after_percentage", sa.Float),
        sa.Column("failed", sa.Text),
        sa.Column("steps_json", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_rollout_change"),
    )
    op.create_index("ix_rollout_change_flag", "rollout_change", ["flag", "id"])
    rows = _read_audit()
    if rows:
        op.bulk_insert(table, rows)
    op.add_column("flag_intent", sa.Column("cause", sa.Text, nullable=False, server_default="manual"))
    op.execute("UPDATE flag_intent SET cause = actor WHERE actor IN ('guardrail', 'plan')")
    op.add_column("outage_watch", sa.Column("is_flapping", sa.Boolean, nullable=False, server_default=sa.false()))
    op.execute(sa.text("UPDATE outage_watch SET is_flapping = :yes WHERE cause LIKE 'flapping:%'").bindparams(yes=True))


def downgrade() -> None:
    op.drop_column("outage_watch", "is_flapping")
    op.drop_column("flag_intent", "cause")
    op.drop_table("rollout_change")


def _read_audit() -> list[dict[str, Any]]:
    """The newest entries that the audit still has, oldest first, without those that cannot be read."""
    query = sa.select(AUDIT).where(AUDIT.c.action_type.in_(KINDS)).order_by(AUDIT.c.seq.desc())
    rows, counts = [], Counter[str]()
    for entry in op.get_bind().execute(query).mappings():
        counts[entry["target"]] += 1
        if counts[entry["target"]] <= MAX_ROWS_PER_FLAG:
            with contextlib.suppress(ValueError, TypeError, LookupError, AttributeError):
                rows.append(_to_row(entry))
    return rows[::-1]


def _to_row(entry: Any) -> dict[str, Any]:
    params, logs = (json.loads(entry[name] or "null") or {} for name in ("command_params_json", "logs_json"))
    failed = None if entry["outcome"] == "success" else str(logs[0] if logs else entry["outcome"])
    return {
        "flag": entry["target"],
        "at": entry["timestamp"],
        "actor": entry["actor"],
        "cause": _find_cause(entry["action_type"], entry["actor"]),
        "kind": KINDS[entry["action_type"]],
        "reason": str(params.get("reason") or ""),
        **_parse_state("before", entry["before_state_json"]),
        **_parse_state("after", entry["after_state_json"]),
        "failed": failed,
        "steps_json": json.dumps(params["steps"]) if params.get("steps") else None,
    }


def _parse_state(end: str, text: str | None) -> dict[str, bool | float | None]:
    found = json.loads(text or "null")
    enabled, percentage = (bool(found["enabled"]), found["percentage"]) if found else (None, None)
    return {f"{end}_enabled": enabled, f"{end}_percentage": None if percentage is None else float(percentage)}


def _find_cause(action: str, actor: str) -> str:
    """The only place that derives a cause from the name of an actor: the audit says it in no other way."""
    if action == "rollout-seen":
        return "unleash"
    return actor if actor in ("guardrail", "plan") else "manual"
