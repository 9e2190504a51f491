"""Who has what in hand: a worker that is silent, one that left, one that was killed, and what each may still hold."""

from app.sources.celery.celery_workers import (
    MAX_REMEMBERED_HEARTBEATS,
    Inspection,
    Roster,
    RosterTracker,
    RunningTask,
    WorkerAnswer,
)
from app.sources.celery.task_details import list_workers

ONE, PID = "one@x", 7
RUNS = RunningTask("mail.send", "celery", None)


class Scene:
    """A roll, told of things one after the other; each takes a second."""

    def __init__(self) -> None:
        self.roll, self.now = RosterTracker(), 1_000.0
        self.roll.start_listening(self.now)
        self.pass_s(5)

    def pass_s(self, seconds: float) -> None:
        self.now += seconds

    def say(self, kind: str, pid: int = PID, worker: str = ONE) -> None:
        self.pass_s(1)
        self.roll.record_announcement(f"worker-{kind}", worker, pid, self.now)

    def inspect(self, asked: int, **held: tuple[set[str], set[str]]) -> Roster:
        self.pass_s(1)
        answers = {
            f"{name}@x": WorkerAnswer(self.now, frozenset(reserved), dict.fromkeys(active, RUNS))
            for name, (reserved, active) in held.items()
        }
        return self.roll.record_inspection(Inspection(self.now, asked, answers), self.now + 0.1)


def with_one_at_work() -> Scene:
    scene = Scene()
    scene.say("online")
    scene.inspect(1, one=({"waits"}, {"runs"}))
    return scene


def test_what_a_worker_names_is_in_its_hands() -> None:
    roster = with_one_at_work().roll.roster
    assert roster.settled
    assert (roster.find_holder("waits"), roster.find_holder("runs"), roster.find_holder("other")) == (ONE, ONE, None)
    assert not roster.may_be_elsewhere("other", None, 2_000)


def test_while_one_is_silent_anything_may_be_elsewhere() -> None:
    scene = with_one_at_work()
    assert scene.inspect(1).may_be_elsewhere("other", None, scene.now)


def test_one_that_is_gone_without_a_word_was_killed_and_its_tasks_are_lost() -> None:
    scene = with_one_at_work()
    assert scene.inspect(0).may_be_elsewhere("runs", scene.now, scene.now), "it gets the time for its last words"
    roster = scene.inspect(0)
    assert not roster.may_be_elsewhere("runs", scene.now, scene.now)
    assert roster.find_orphans({"waits": 1_005.0, "others": 1_006.0}) == {"waits", "others"}


def test_a_task_taken_after_its_worker_died_is_no_orphan() -> None:
    scene = with_one_at_work()
    scene.inspect(0)
    scene.inspect(0)
    scene.say("online", worker="two@x")
    roster = scene.inspect(1, two=(set(), set()))
    assert roster.find_orphans({"waits": scene.now}) == set()
    assert roster.find_orphans({"waits": 1_005.0, "two's own": 1_005.0}) == {"waits"}


def test_one_that_said_it_leaves_may_be_finishing_what_it_had() -> None:
    scene = with_one_at_work()
    scene.say("offline")
    roster = scene.inspect(0)
    roster = scene.inspect(0)
    assert roster.settled
    assert roster.may_be_elsewhere("runs", scene.now, scene.now)
    assert roster.may_be_elsewhere("taken just before", 1_000.0, scene.now)
    assert not roster.may_be_elsewhere("seen after that", scene.now, scene.now)
    assert not roster.may_be_elsewhere("runs", 1_000.0, scene.now + 3_601)
    assert roster.find_orphans({"waits": 1_005.0}) == set()


def test_last_words_that_come_late_are_believed() -> None:
    scene = with_one_at_work()
    scene.inspect(0)
    scene.inspect(0)
    scene.say("offline")
    assert scene.inspect(0).may_be_elsewhere("runs", 1_000.0, scene.now)


def test_one_whose_last_words_could_not_be_heard_is_not_called_killed() -> None:
    scene = with_one_at_work()
    scene.roll.stop_listening()
    assert not scene.roll.roster.settled
    scene.pass_s(1)
    scene.roll.start_listening(scene.now)
    scene.pass_s(5)
    scene.inspect(0)
    assert scene.inspect(0).may_be_elsewhere("runs", 1_000.0, scene.now)


def test_one_that_comes_back_after_an_outage_has_not_left() -> None:
    scene = with_one_at_work()
    scene.roll.stop_listening()
    scene.roll.start_listening(scene.now)
    scene.pass_s(5)
    scene.inspect(0)
    scene.inspect(0)
    scene.say("online")
    roster = scene.inspect(1, one=(set(), {"runs"}))
    assert not roster.may_be_elsewhere("other", 1_000.0, scene.now)


def test_another_process_of_the_same_name_means_that_the_first_was_killed() -> None:
    scene = with_one_at_work()
    scene.say("online", pid=8)
    roster = scene.inspect(1, one=(set(), set()))
    assert not roster.may_be_elsewhere("runs", 1_000.0, scene.now)
    assert roster.find_orphans({"waits": 1_005.0}) == {"waits"}


def test_one_that_beats_and_never_answers_leaves_everything_open() -> None:
    scene = Scene()
    scene.say("heartbeat")
    assert not scene.inspect(0).settled
    scene.pass_s(10)
    assert scene.inspect(0).settled


def test_nobody_is_believed_to_be_nobody_before_a_beat_could_have_come() -> None:
    roll = RosterTracker()
    roll.start_listening(1_000.0)
    assert not roll.record_inspection(Inspection(1_000.5, 0, {}), 1_000.5).settled
    assert roll.record_inspection(Inspection(1_004.0, 0, {}), 1_004.0).settled


def test_names_that_somebody_invents_are_not_kept_for_ever() -> None:
    scene = Scene()
    for number in range(MAX_REMEMBERED_HEARTBEATS + 500):
        scene.say("online", worker=f"{number}@x")
    assert len(scene.roll._beats) == MAX_REMEMBERED_HEARTBEATS


def test_queues_are_known_only_where_every_worker_has_named_its_own() -> None:
    def serve(asked: int, **queues: set[str] | None) -> Roster:
        scene.pass_s(1)
        answers = {
            f"{name}@x": WorkerAnswer(scene.now, frozenset(), {}, queues=None if told is None else frozenset(told))
            for name, told in queues.items()
        }
        return scene.roll.record_inspection(Inspection(scene.now, asked, answers), scene.now + 0.1)

    scene = Scene()
    assert Roster().served_queues() is None, "nobody was asked yet"
    assert serve(0).served_queues() == frozenset()
    assert serve(2, one={"mail"}, two={"mail", "web"}).served_queues() == {"mail", "web"}
    assert serve(2, one={"mail"}).served_queues() is None, "somebody is silent"
    assert serve(2, one={"mail"}, two=None).served_queues() is None, "somebody did not say"
    assert serve(1, one={"mail"}).served_queues() is None, "one may be saying its last words"
    assert serve(1, one={"mail"}).served_queues() == {"mail"}


def test_its_row_says_how_long_its_end_may_go_unnoticed() -> None:
    scene = with_one_at_work()
    [worker] = list_workers(scene.roll.roster, set(), scene.now) or ()
    assert (worker.id, worker.state, worker.job_id) == (ONE, "busy", "runs")
    assert worker.note == "its death is detected within 5 s of the end of its connection to Redis"
