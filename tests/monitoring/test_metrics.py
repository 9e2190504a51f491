"""`/metrics`: from plain numbers to Prometheus, in one process and over many."""

import fcntl
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
from flask import Flask
from prometheus_client import CollectorRegistry, Histogram, generate_latest, values

from app import create_app
from app.config import Settings
from app.db import db
from app.monitoring import metric_definitions, multiprocess_files
from app.monitoring.metric_definitions import LAG_METRIC, METRICS, MetricExporter, WorkerSnapshot, observe_many
from app.monitoring.multiprocess_files import MetricFiles, read_all
from app.stream.counters import LAG_BUCKETS_S, Counters
from app.web.health.metrics import Metrics
from tests.support.cast import ALICE, CAST, Person, bearer, headers_of, logged_in, make_token
from tests.support.machine import scaled
from tests.support.prometheus_text import Numbers, numbers, total
from tests.support.waiting import wait_for

ROOT = Path(__file__).resolve().parent.parent.parent


def snapshot(counters: Counters, **changed: Any) -> WorkerSnapshot:
    sizes = dict.fromkeys(("wal_bytes", "wal_age_s", "log_rows", "log_bytes", "max_log_rows", "max_log_bytes"), 0)
    others = {"cursor": 0, "degraded": False, "unreadable": 0, "build": "1-a", "client_errors": {}}
    return WorkerSnapshot(counters=counters, **{**sizes, **others, **changed})


def read(made: MetricExporter) -> Numbers:
    return numbers(generate_latest(made.registry).decode())


# --- from plain numbers to metrics ---


def test_two_flushes_export_differences_and_never_twice() -> None:
    counters, made = Counters(), MetricExporter()
    counters.deliveries, counters.closes["drain"] = 3, 1
    made.update(snapshot(counters, unreadable=2))
    made.update(snapshot(counters, unreadable=2))
    counters.deliveries, counters.closes["drain"] = 10, 4
    made.update(snapshot(counters, unreadable=3))
    found = read(made)
    assert found["beacon_deliveries_total",] == 10
    assert found["beacon_streams_closed_total", "drain"] == 4
    assert found["beacon_unreadable_events_total",] == 3


def test_each_number_arrives_under_its_name() -> None:
    counters, made = Counters(), MetricExporter()
    for number, name in enumerate(("open", "opens", "closes", "resumes", "refusals"), start=1):
        getattr(counters, name)["x"] = number
    plain = ("deliveries", "bytes", "fell_behind", "slow_now", "loop_lag_s", "draining", "drain_left")
    for number, name in enumerate(plain, start=11):
        setattr(counters, name, number)
    made.update(
        snapshot(
            counters,
            cursor=31,
            degraded=True,
            unreadable=32,
            build="1.0-abc",
            client_errors={"swap": 33},
            wal_bytes=34,
            wal_age_s=35.0,
            log_rows=36,
            log_bytes=37,
            max_log_rows=38,
            max_log_bytes=39,
        )
    )
    expected = {
        ("beacon_streams_open", "x"): 1,
        ("beacon_streams_opened_total", "x"): 2,
        ("beacon_streams_closed_total", "x"): 3,
        ("beacon_stream_resumes_total", "x"): 4,
        ("beacon_streams_refused_total", "x"): 5,
        ("beacon_deliveries_total",): 11,
        ("beacon_stream_bytes_total",): 12,
        ("beacon_readers_fell_behind_total",): 13,
        ("beacon_readers_slow",): 14,
        ("beacon_loop_lag_seconds",): 15,
        ("beacon_draining",): 16,
        ("beacon_drain_streams_left",): 17,
        ("beacon_log_head",): 31,
        ("beacon_log_tail_cursor",): 31,
        ("beacon_degraded",): 1,
        ("beacon_unreadable_events_total",): 32,
        ("beacon_client_errors_total", "swap"): 33,
        ("beacon_wal_bytes",): 34,
        ("beacon_wal_age_seconds",): 35,
        ("beacon_log_rows",): 36,
        ("beacon_log_bytes",): 37,
        ("beacon_log_max_rows",): 38,
        ("beacon_log_max_bytes",): 39,
        ("beacon_workers",): 1,
        ("beacon_build_info", "1.0-abc"): 1,
    }
    found = read(made)
    assert {key: value for key, value in found.items() if value and not key[0].startswith(LAG_METRIC)} == expected
    assert {key[0] for key in expected} == {metric.name for metric in METRICS}


def test_known_label_values_are_there_at_zero_from_the_start() -> None:
    made = MetricExporter()
    made.update(snapshot(Counters()))
    found = read(made)
    assert found["beacon_streams_closed_total", "client-gone"] == 0
    assert found["beacon_stream_resumes_total", "reset"] == 0
    assert found["beacon_streams_refused_total", "user-cap"] == 0


def test_gauges_fall_also_when_their_label_is_gone() -> None:
    counters, made = Counters(), MetricExporter()
    counters.open["json"], counters.open["html"], counters.slow_now = 2, 1, 5
    made.update(snapshot(counters))
    del counters.open["html"]
    counters.open["json"], counters.slow_now = 1, 0
    made.update(snapshot(counters))
    found = read(made)
    assert (found["beacon_streams_open", "json"], found["beacon_streams_open", "html"]) == (1, 0)
    assert found["beacon_readers_slow",] == 0


def test_a_counter_that_fell_began_again_and_holds_up_nothing() -> None:
    counters, made = Counters(), MetricExporter()
    counters.deliveries = 5
    made.update(snapshot(counters))
    counters.deliveries, counters.bytes = 2, 9
    made.update(snapshot(counters))
    found = read(made)
    assert (found["beacon_deliveries_total",], found["beacon_stream_bytes_total",]) == (7, 9)


def test_many_observations_at_once_equal_single_ones() -> None:
    """Fails where a new version of the library keeps its buckets in another way."""
    registries = [CollectorRegistry(), CollectorRegistry()]
    single, bulk = (Histogram("lag", "x", buckets=LAG_BUCKETS_S, registry=registry) for registry in registries)
    seconds = [0.0, 0.001, *LAG_BUCKETS_S, 0.3, 0.3, 7.0, 31.0, 1000.0]
    lag = Counters().lag
    for value in seconds:
        single.observe(value)
        lag.add(value, 1)
    observe_many(bulk, lag.counts, lag.sum_s)
    one, many = (numbers(generate_latest(registry).decode()) for registry in registries)
    assert many == pytest.approx(one)
    assert many["lag_count",] == len(seconds)


def test_the_lag_of_deliveries_is_exported_once() -> None:
    counters, made = Counters(), MetricExporter()
    counters.lag.add(0.02, 100)
    made.update(snapshot(counters))
    made.update(snapshot(counters))
    counters.lag.add(3.0, 2)
    made.update(snapshot(counters))
    found = read(made)
    assert found[f"{LAG_METRIC}_bucket", "0.01"] == 0
    assert found[f"{LAG_METRIC}_bucket", "0.02"] == 100
    assert found[f"{LAG_METRIC}_bucket", "2.5"] == 100
    assert found[f"{LAG_METRIC}_count",] == 102
    assert found[f"{LAG_METRIC}_sum",] == pytest.approx(8.0)


def test_a_flush_touches_only_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    touched: list[str] = []
    for kind, change in ((prometheus_client.Counter, "inc"), (prometheus_client.Gauge, "set")):
        real = getattr(kind, change)

        def noting(self: Any, number: float, real: Any = real) -> None:
            touched.append(str(self))
            real(self, number)

        monkeypatch.setattr(kind, change, noting)
    counters, made = Counters(), MetricExporter()
    made.update(snapshot(counters))
    touched.clear()
    made.update(snapshot(counters))
    assert touched == []
    counters.slow_now, counters.deliveries = 1, 1
    made.update(snapshot(counters))
    assert touched == ["counter:beacon_deliveries", "gauge:beacon_readers_slow"]


# --- many processes, one folder ---


class Worker:
    """A worker's metrics, made in this process as that one would make them."""

    def __init__(self, pid: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counters, self._pid = Counters(), pid
        self._monkeypatch = monkeypatch
        self._values = values.MultiProcessValue(lambda: pid)  # type: ignore[no-untyped-call]
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: pid)
            patch.setattr(values, "ValueClass", self._values)
            self._made = MetricExporter()

    def flush(self, **changed: Any) -> None:
        with self._monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: self._pid)
            patch.setattr(values, "ValueClass", self._values)
            self._made.update(snapshot(self.counters, **changed))


MakeWorker = Callable[[int], Worker]


@pytest.fixture
def files(tmp_path: Path) -> MetricFiles:
    made = MetricFiles(Settings(instance_dir=tmp_path, secret_key="x", port=8123))
    made.clear()
    return made


@pytest.fixture
def worker(files: MetricFiles, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeWorker]:
    monkeypatch.setenv(multiprocess_files.ENV_VARIABLE, str(files.folder))
    yield lambda pid: Worker(pid, monkeypatch)
    values.close_all_multiprocess_files()  # type: ignore[no-untyped-call]


def shared(files: MetricFiles) -> Numbers:
    return numbers(read_all(files.folder).decode())


def test_workers_are_added_up_and_the_worst_and_the_slowest_are_told(files: MetricFiles, worker: MakeWorker) -> None:
    for pid, lag_s, cursor in ((101, 0.5, 40), (102, 0.1, 38)):
        made = worker(pid)
        made.counters.open["json"] = made.counters.opens["json"] = made.counters.deliveries = pid
        made.counters.loop_lag_s, made.counters.draining = lag_s, 1
        made.counters.lag.add(0.02, 10)
        made.flush(cursor=cursor)
    found = shared(files)
    assert found["beacon_streams_open", "json"] == 203
    assert found["beacon_streams_opened_total", "json"] == 203
    assert found["beacon_deliveries_total",] == 203
    assert found["beacon_loop_lag_seconds",] == 0.5
    assert (found["beacon_log_head",], found["beacon_log_tail_cursor",]) == (40, 38)
    assert (found["beacon_draining",], found["beacon_workers",]) == (2, 2)
    assert (found[f"{LAG_METRIC}_count",], found[f"{LAG_METRIC}_bucket", "0.02"]) == (20, 20)
    assert found[f"{LAG_METRIC}_sum",] == pytest.approx(0.4)
    assert found["beacon_build_info", "1-a"] == 1


def test_both_modes_export_the_same_names(files: MetricFiles, worker: MakeWorker, monkeypatch: Any) -> None:
    worker(101).flush()
    monkeypatch.delenv(multiprocess_files.ENV_VARIABLE)
    alone = MetricExporter()
    alone.update(snapshot(Counters()))
    assert {key[0] for key in shared(files)} == {key[0] for key in read(alone)}


def test_a_dead_workers_gauges_vanish_and_its_totals_stay(files: MetricFiles, worker: MakeWorker) -> None:
    for pid in (101, 102):
        made = worker(pid)
        made.counters.open["json"] = made.counters.deliveries = pid
        made.counters.closes['a "reason" \\ é'] = 1
        made.counters.lag.add(0.02, 10)
        made.flush(cursor=pid)
    before = shared(files)
    files.mark_dead(101)
    found = shared(files)
    assert found["beacon_streams_open", "json"] == 102
    assert (found["beacon_workers",], found["beacon_log_tail_cursor",]) == (1, 102)
    totals = [key for key in before if key[0].endswith(("_total", "_bucket", "_sum", "_count"))]
    assert {key: found[key] for key in totals} == {key: before[key] for key in totals}
    assert found["beacon_deliveries_total",] == 203
    assert found["beacon_streams_closed_total", 'a "reason" \\ é'] == 2


def test_every_gauge_of_a_worker_that_says_nothing_any_more_vanishes_and_its_totals_stay(
    files: MetricFiles, worker: MakeWorker
) -> None:
    def one(pid: int) -> Worker:
        made = worker(pid)
        for name in ("open", "opens", "closes", "resumes", "refusals"):
            getattr(made.counters, name)["x"] = pid
        for name in ("deliveries", "bytes", "fell_behind", "slow_now", "loop_lag_s", "draining", "drain_left"):
            setattr(made.counters, name, pid)
        made.flush(cursor=pid, degraded=True)
        return made

    speaking = one(102)
    alone = shared(files)
    frozen = one(101)
    both = shared(files)
    silent_since = time.time() - multiprocess_files.MAX_SILENCE_S - 1
    os.utime(files.folder / "alive_101", (silent_since, silent_since))
    speaking.flush(cursor=102, degraded=True)
    found = shared(files)
    gauges = {metric.name for metric in METRICS if metric.mode is not None}
    assert {key: number for key, number in found.items() if key[0] in gauges} == {
        key: number for key, number in alone.items() if key[0] in gauges
    }
    assert {key: number for key, number in found.items() if key[0] not in gauges} == {
        key: number for key, number in both.items() if key[0] not in gauges
    }
    frozen.flush(cursor=101, degraded=True)
    assert shared(files) == both


def balance(found: Numbers) -> float:
    """Streams opened, less those closed and those open: nothing, whatever happened."""
    opened, closed = (total(found, f"beacon_streams_{what}_total") for what in ("opened", "closed"))
    return opened - closed - total(found, "beacon_streams_open")


@pytest.mark.parametrize("read_meanwhile", [False, True])
def test_streams_of_a_killed_worker_are_closed_with_it(
    files: MetricFiles, worker: MakeWorker, read_meanwhile: bool
) -> None:
    for pid in (101, 102):
        counters = (made := worker(pid)).counters
        counters.opens.update(json=5, html=2)
        counters.closes.update({"drain": 1, "client-gone": 1})
        counters.open.update(json=4, html=1)
        made.flush()
    assert balance(shared(files)) == 0
    with multiprocess_files.lock_folder(files.folder, fcntl.LOCK_SH, wait_s=0) if read_meanwhile else nullcontext():
        files.mark_dead(101)
    for _ in range(2):
        found = shared(files)
        assert found["beacon_streams_closed_total", "killed"] == 5
        assert (balance(found), total(found, "beacon_streams_open")) == (0, 5)
        files.mark_dead(101)  # told twice, counted once


def test_a_worker_that_said_goodbye_leaves_nothing_to_close(files: MetricFiles, worker: MakeWorker) -> None:
    made = worker(101)
    made.counters.opens["json"], made.counters.closes["drain"] = 3, 3
    made.flush()
    files.mark_dead(101)
    found = shared(files)
    assert (found["beacon_streams_closed_total", "killed"], balance(found)) == (0, 0)


def test_workers_that_end_again_and_again_leave_no_more_files(files: MetricFiles, worker: MakeWorker) -> None:
    """Process ids come again, too."""
    for turn in range(30):
        pid = 101 + turn % 7
        made = worker(pid)
        made.counters.deliveries = 1
        made.counters.lag.add(0.02, 1)
        made.flush()
        files.mark_dead(pid)
    found = shared(files)
    assert (found["beacon_deliveries_total",], found[f"{LAG_METRIC}_count",]) == (30, 30)
    assert len(list(files.folder.glob("*.db"))) <= 5
    assert total(found, "beacon_workers") == 0


def test_while_somebody_reads_files_stay_and_count_and_are_folded_later(
    files: MetricFiles, worker: MakeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    for pid in (101, 102):
        made = worker(pid)
        made.counters.deliveries = 1
        made.flush()
    with multiprocess_files.lock_folder(files.folder, fcntl.LOCK_SH, wait_s=0):
        files.mark_dead(101)
        found = shared(files)
        assert (found["beacon_deliveries_total",], found["beacon_workers",]) == (2, 1)
        assert (files.folder / "counter_101.db").exists()
    assert caplog.text == "", "waiting for a reader is nothing to report"
    files.mark_dead(102)
    assert shared(files)["beacon_deliveries_total",] == 2
    assert not list(files.folder.glob("*_10?.db"))


def test_a_process_id_that_comes_again_goes_on_from_its_totals(files: MetricFiles, worker: MakeWorker) -> None:
    for _ in range(2):
        made = worker(101)
        made.counters.deliveries = 2
        made.flush()
    assert shared(files)["beacon_deliveries_total",] == 4


def test_the_disk_space_is_taken_before_the_library_maps_it(files: MetricFiles, worker: MakeWorker) -> None:
    multiprocess_files.reserve_space(files.folder, 101)
    reserved = {path.name: path.stat() for path in files.folder.glob("*.db")}
    assert all(stat.st_blocks * 512 >= stat.st_size == multiprocess_files.FILE_BYTES for stat in reserved.values())
    made = worker(101)
    for shape in ("json", "html", "reconciliation", "events", "sse"):
        made.counters.open[shape] = made.counters.opens[shape] = 1
    made.flush()
    after = {path.name: path.stat().st_size for path in files.folder.glob("*.db")}
    assert after == {name: stat.st_size for name, stat in reserved.items()}, "no further file, and none that grew"


def test_wiping_takes_the_librarys_files_only_and_closes_the_folder(files: MetricFiles) -> None:
    for name in ("counter_7.db", "gauge_livesum_7.db", "histogram_0.db", "counter_7.db.new", "notes.txt", "beacon.db"):
        (files.folder / name).touch()
    files.folder.chmod(0o755)
    files.clear()
    assert {path.name for path in files.folder.iterdir()} == {"notes.txt", "beacon.db"}
    assert files.folder.stat().st_mode & 0o777 == 0o700
    assert files.folder.name == "metrics-8123"


def test_burying_never_raises(files: MetricFiles, caplog: pytest.LogCaptureFixture) -> None:
    (files.folder / "counter_101.db").write_bytes(b"\x60\0\0\0" + b"\x7f" * 92)
    files.mark_dead(101)
    assert "could not clean up the metrics" in caplog.text
    files.folder.rename(files.folder.with_name("away"))
    files.mark_dead(102)


def test_a_full_disk_keeps_no_worker_from_starting(
    files: MetricFiles, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(multiprocess_files.ENV_VARIABLE, str(files.folder))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(multiprocess_files, "reserve_space", full)
    metrics = Metrics(lambda: snapshot(Counters()))
    metrics.start()
    metrics.stop()
    assert "metrics could not be exported" in caplog.text
    with pytest.raises(OSError, match="No space left"):
        metrics.text()


LOOK = """
import os, sys
sys.modules["prometheus_client"] = None
import app.monitoring.multiprocess_files, app, wsgi
"""


def test_nothing_imports_the_library_before_gunicorn_has_named_its_folder(tmp_path: Path) -> None:
    environment = {"BEACON_INSTANCE_DIR": str(tmp_path), "PATH": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=scaled(60),
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_an_application_that_was_only_built_keeps_no_files(
    files: MetricFiles, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(multiprocess_files.ENV_VARIABLE, str(files.folder))
    create_app(settings)
    assert list(files.folder.iterdir()) == []


# --- the part of the live half ---


def test_stopping_exports_the_last_second() -> None:
    counters = Counters()
    metrics = Metrics(lambda: snapshot(counters))
    metrics.start()
    counters.closes["drain"] = 7
    metrics.stop()
    counters.closes["drain"] = 0
    assert metrics._exported is not None
    assert read(metrics._exported)["beacon_streams_closed_total", "drain"] == 7


def test_it_exports_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.web.health.metrics.FLUSH_INTERVAL_S", 0.01)
    counters = Counters()
    metrics = Metrics(lambda: snapshot(counters))
    metrics.start()
    counters.deliveries = 3
    made = metrics._exported
    assert made is not None
    wait_for(lambda: read(made)["beacon_deliveries_total",] == 3)
    metrics.stop()


# --- the route ---


def test_closed_to_the_anonymous(app: Flask) -> None:
    response = app.test_client().get("/metrics")
    assert (response.status_code, response.content_type) == (401, "application/problem+json")
    assert "beacon_" not in response.text
    assert app.test_client().get("/metrics", headers=bearer("no-such-token")).status_code == 401


def test_a_token_needs_the_scope_read(cast: Flask) -> None:
    others = headers_of(cast, CAST[-1], "stream", "publish", "command", "rollout", "widget", "admin")
    response = cast.test_client().get("/metrics", headers=others)
    assert (response.status_code, response.get_json()["reason"]) == (403, "scope")


@pytest.mark.parametrize("person", CAST, ids=lambda person: person.role)
def test_every_role_may_read_with_token_or_session(cast: Flask, person: Person) -> None:
    headers = headers_of(cast, person, "read")
    for client, sent in ((cast.test_client(), headers), (logged_in(cast, person), {})):
        response = client.get("/metrics", headers=sent)
        assert response.status_code == 200
        assert response.content_type == "text/plain; version=0.0.4; charset=utf-8"
        assert numbers(response.text)["beacon_workers",] == 1


def test_it_answers_with_what_the_hub_counted_until_now(live_app: Flask) -> None:
    headers = headers_of(live_app, ALICE, "read")
    counters = live_app.extensions["beacon"].background.hub.counters
    counters.resumes["reset"] += 2
    found = numbers(live_app.test_client().get("/metrics", headers=headers).text)
    assert found["beacon_stream_resumes_total", "reset"] == 2
    assert found["beacon_build_info", live_app.extensions["beacon"].assets.build] == 1
    assert found["beacon_log_head",] == live_app.extensions["beacon"].background.tail.cursor
    assert found["beacon_degraded",] == 0


def test_two_applications_in_one_process_keep_their_numbers_apart(cast: Flask, tmp_path: Path) -> None:
    headers = bearer(make_token(cast, ALICE, "read")[1])
    cast.extensions["beacon"].background.hub.counters.deliveries = 5
    create_app(Settings(instance_dir=tmp_path / "other", secret_key="x")).extensions["beacon"].metrics.text()
    assert numbers(cast.test_client().get("/metrics", headers=headers).text)["beacon_deliveries_total",] == 5


def test_it_holds_no_connection_after_it_asked_who_is_there(cast: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = headers_of(cast, ALICE, "read")
    assert cast.test_client().get("/metrics", headers=headers).status_code == 200
    with cast.app_context():
        assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # the queue pool's own


def test_a_folder_that_cannot_be_used_is_said(
    cast: Flask, files: MetricFiles, worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = headers_of(cast, ALICE, "read")
    monkeypatch.setattr(multiprocess_files, "LOCK_WAIT_S", 0.05)
    monkeypatch.setattr(values, "ValueClass", values.MultiProcessValue())  # type: ignore[no-untyped-call]
    client = cast.test_client()
    assert client.get("/metrics", headers=headers).status_code == 200
    with multiprocess_files.lock_folder(files.folder, fcntl.LOCK_EX, wait_s=0):
        response = client.get("/metrics", headers=headers)
    assert (response.status_code, response.content_type) == (503, "application/problem+json")
    assert int(response.headers["Retry-After"]) > 0
    files.folder.rename(files.folder.with_name("away"))
    assert client.get("/metrics", headers=headers).status_code == 503


# --- the document ---


def test_the_document_names_every_metric_and_no_other() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text()
    rows = re.findall(r"^\| `(beacon_\w+)(?:\{(\w+)\})?` \|", text, re.MULTILINE)
    assert dict(rows) == {**{metric.name: metric.label for metric in METRICS}, LAG_METRIC: ""}
    assert len(rows) == len(METRICS) + 1
    named = set(re.findall(r"\bbeacon_[a-z_]+", text))
    exported_names = {metric.name for metric in METRICS} | {
        LAG_METRIC,
        f"{LAG_METRIC}_bucket",
        f"{LAG_METRIC}_count",
        f"{LAG_METRIC}_sum",
    }
    assert named <= exported_names, "an alert that asks for what nobody exports never fires"


def test_the_document_names_every_known_label_value() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text()
    assert [value for metric in METRICS for value in metric.known if f"`{value}`" not in text] == []


def test_counters_are_named_as_counters() -> None:
    for metric in METRICS:
        assert (metric.mode is None) == metric.name.endswith("_total"), metric.name
        assert metric.help.endswith(".")
    assert metric_definitions.LAG_METRIC.endswith("_seconds")
