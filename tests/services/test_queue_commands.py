"""Commands given to Beacon and carried out by real RQ and Celery: what became of it is read from their own servers."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from app.config import Settings
from app.db import write
from app.reconciliation import registry
from tests.commands.operator_desk import NOW, SERVICE, OperatorDesk
from tests.services.celery_scene import Fleet
from tests.services.rq_scene import Scene
from tests.services.test_celery_commands import result_of
from tests.services.test_rq_commands import fail, put
from tests.services.valkey import Valkey
from tests.support.application import start_worker
from tests.support.cast import ADA, ALICE, CAST, join
from tests.support.postgres import Postgres
from tests.support.waiting import wait_for
from tests.web.test_command_pages import Reader


@pytest.fixture
def settings(postgres: Postgres, tmp_path: Path) -> Settings:
    return Settings(
        instance_dir=tmp_path,
        database_url=postgres.migrated_database(),
        secret_key="for the tests only",
        heartbeat_s=0.2,
        poll_interval_s=0.5,
    )


@pytest.fixture
def desk(app: Flask) -> OperatorDesk:
    join(app, *CAST)
    return OperatorDesk(app)


@pytest.fixture
def scene() -> Iterator[Scene]:
    with Scene() as made:
        yield made


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with Valkey() as valkey:
        made = Fleet(valkey)
        yield made
        made.close()


def watch(desk: OperatorDesk, kind: str, url: str, counts: dict[str, int], **options: Any) -> None:
    """Let Beacon poll it, until this is verified."""
    with desk.app.app_context(), write() as session:
        registry.add(session, id=SERVICE, name="Mail", kind=kind, url=url, **options)
    start_worker(desk.app)
    desk.believes(counts)


def never_wrong(desk: OperatorDesk) -> bool:
    return "discrepancy" not in [update["status"] for update in desk.events("reconciliation.update")]


class TestRq:
    def test_a_failed_job_is_queued_again_and_its_worker_runs_it(
        self, desk: OperatorDesk, scene: Scene, tmp_path: Path
    ) -> None:
        scene.queue().enqueue("os.rmdir", str(tmp_path / "a"), job_id="a")
        scene.work("mail")
        watch(desk, "rq", scene.valkey.url, {"failed": 1})
        command = desk.run("retry-job", "a")
        assert (command["phase"], command["verified"]) == ("success", True), command
        assert scene.redis.lrange("rq:queue:mail", 0, -1) == [b"a"]
        (tmp_path / "a").mkdir()
        scene.work("mail")
        assert not (tmp_path / "a").exists()
        desk.believes({"failed": 0, "finished": 1})
        assert never_wrong(desk)

    def test_a_waiting_job_is_promoted_and_its_worker_runs_it_first(self, desk: OperatorDesk, scene: Scene) -> None:
        put(scene.queue(), "a", "b", "c")
        watch(desk, "rq", scene.valkey.url, {"queued": 3})
        command = desk.run("promote-job", "c")
        assert (command["phase"], command["verified"]) == ("success", True), command
        assert command["logs"][-1].startswith("moved to the front of its queue, verified ")
        assert [entry.stage for entry in desk.audit(command["commandId"])] == ["accepted", "result"]
        assert scene.redis.lrange("rq:queue:mail", 0, -1) == [b"c", b"a", b"b"]
        scene.work("mail")
        desk.believes({"queued": 0, "finished": 3})
        again = desk.run("promote-job", "c")
        assert (again["phase"], again["results"][0]["outcome"]) == ("error", "refused"), again
        assert never_wrong(desk)

    def test_the_row_of_a_waiting_job_has_a_button_that_promotes_it(self, desk: OperatorDesk, scene: Scene) -> None:
        put(scene.queue(), "a", "b")
        watch(desk, "rq", scene.valkey.url, {"queued": 2})
        page = Reader(desk).get("/services/mail/jobs?state=queued").text
        assert re.findall(r'value="(promote-job[^"]*)"[^>]* title="([^"]+)"', page) == [
            (f"promote-job:{name}", "Move it to the front of its queue") for name in "ab"
        ]
        answer = Reader(desk).press(do="promote-job:b", nonce="0" * 16)
        assert desk.ended(answer.location.rpartition("/")[2])["verified"] is True
        assert scene.redis.lrange("rq:queue:mail", 0, -1) == [b"b", b"a"]
        seen = Reader(desk, ALICE).get("/services/mail/jobs?state=queued").text
        assert re.search(r'value="promote-job:a"[^>]* disabled title="Commands need the role operator', seen)
        assert Reader(desk, ALICE).press(do="promote-job:a", nonce="0" * 16).status_code == 403

    def test_a_deleted_job_is_gone_and_nobody_calls_it_missing(self, desk: OperatorDesk, scene: Scene) -> None:
        fail(scene, scene.queue(), "a", "b")
        watch(desk, "rq", scene.valkey.url, {"failed": 2})
        command = desk.run("delete-job", "a", by=ADA)
        assert (command["phase"], command["verified"]) == ("success", True), command
        assert [key for key in scene.redis.keys("rq:job:*") if b"dependents" not in key] == [b"rq:job:b"]
        desk.believes({"failed": 1})
        assert never_wrong(desk)

    def test_a_queue_is_purged_of_what_was_seen_and_of_nothing_that_came_since(
        self, desk: OperatorDesk, scene: Scene
    ) -> None:
        put(scene.queue(), "a", "b", "c")
        put(scene.queue("other"), "d")
        watch(desk, "rq", scene.valkey.url, {"queued": 4})
        answer = desk.send(desk.body("purge-queue", "mail", expectedCount=2, asOf=NOW), ADA)
        assert (answer.status_code, answer.get_json()["reason"]) == (409, "grown")
        assert scene.redis.llen("rq:queue:mail") == 3
        command = desk.run("purge-queue", "mail", by=ADA, expectedCount=3, asOf=NOW)
        assert (command["phase"], command["after"]["purged"]) == ("success", 3), command
        assert (scene.redis.llen("rq:queue:mail"), scene.redis.llen("rq:queue:other")) == (0, 1)
        desk.believes({"queued": 1})
        assert never_wrong(desk)


class TestCelery:
    def test_a_queued_task_is_deleted_and_no_worker_ever_runs_it(self, desk: OperatorDesk, fleet: Fleet) -> None:
        gone, kept = fleet.send("add", 1, 2), fleet.send("add", 3, 4)
        watch(desk, "celery", fleet.valkey.url, {"queued": 2}, result_backend=True)
        command = desk.run("delete-job", gone, by=ADA)
        assert (command["phase"], command["verified"]) == ("success", True), command
        fleet.worker(pool="solo")
        wait_for(lambda: result_of(fleet, kept) is not None, "the other task to end", 60)
        assert result_of(fleet, gone) is None
        desk.believes({"queued": 0})
        assert never_wrong(desk)

    def test_a_queue_is_purged_and_its_tasks_are_not_missing(self, desk: OperatorDesk, fleet: Fleet) -> None:
        fleet.send_many("add", 3, 1, 2)
        watch(desk, "celery", fleet.valkey.url, {"queued": 3}, result_backend=True)
        command = desk.run("purge-queue", "celery", by=ADA, expectedCount=3, asOf=NOW)
        assert (command["phase"], command["after"]["purged"]) == ("success", 3), command
        assert fleet.queued() == []
        desk.believes({"queued": 0})
        assert never_wrong(desk)

    def test_what_celery_cannot_do_is_refused_with_the_reason(self, desk: OperatorDesk, fleet: Fleet) -> None:
        task = fleet.send("add", 1, 2)
        watch(desk, "celery", fleet.valkey.url, {"queued": 1})
        answer = desk.send(desk.body("retry-job", task))
        assert 400 <= answer.status_code < 500
        assert "does not keep the arguments" in answer.text
        assert fleet.message(task)
