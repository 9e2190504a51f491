"""The commands executed: each once for its Idempotency-Key, each written down with its answer."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from demo.clock import iso
from demo.store import Store


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: dict[str, object]


@dataclass(frozen=True, slots=True)
class Command:
    method: str
    path: str
    idempotency_key: str | None


class Ledger:
    def __init__(self, store: Store) -> None:
        self._store = store

    def once(self, command: Command, execute: Callable[[], Answer]) -> Answer:
        """Execute the command, or give the answer it got before. One transaction, so never half of it."""
        with self._store.transaction():
            if earlier := self._earlier_answer(command):
                return earlier
            answer = execute()
            self._write_down(command, answer)
            return answer

    def calls(self) -> list[dict[str, object]]:
        with self._store.transaction() as db:
            rows = db.execute("SELECT at, method, path, idempotency_key, status FROM call ORDER BY seq")
            names = ("at", "method", "path", "idempotencyKey", "status")
            return [dict(zip(names, row, strict=True)) for row in rows]

    def _earlier_answer(self, command: Command) -> Answer | None:
        with self._store.transaction() as db:
            query = "SELECT method, path, status, body FROM idempotency WHERE key = ?"
            row = db.execute(query, (command.idempotency_key,)).fetchone()
        if row is None:
            return None
        method, path, status, body = row
        if (method, path) != (command.method, command.path):
            return Answer(422, {"error": f"This Idempotency-Key was used before, for {method} {path}."})
        return Answer(status, json.loads(body))

    def _write_down(self, command: Command, answer: Answer) -> None:
        # The machine's own time, not the service's: this record is for testers and no rewind touches it.
        at = iso(datetime.now(UTC))
        request = (command.method, command.path)
        with self._store.transaction() as db:
            db.execute(
                "INSERT INTO call (at, method, path, idempotency_key, status) VALUES (?, ?, ?, ?, ?)",
                (at, *request, command.idempotency_key, answer.status),
            )
            if command.idempotency_key is not None:
                db.execute(
                    "INSERT INTO idempotency (key, at, method, path, status, body) VALUES (?, ?, ?, ?, ?, ?)",
                    (command.idempotency_key, at, *request, answer.status, json.dumps(answer.body)),
                )
