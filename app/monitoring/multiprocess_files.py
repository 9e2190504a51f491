"""The files through which gunicorn's workers share their metrics: one folder per server in the instance folder.

The library keeps one file per process and kind of metric and never deletes any. So the server empties the folder when
it starts, and merges the totals of every ended worker into separate files: the cost of a scrape depends on how many
workers run, not on how many have ever run.
"""

import fcntl
import json
import logging
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from app.config import Settings

if TYPE_CHECKING:
    from prometheus_client import Metric as MetricFamily

log = logging.getLogger(__name__)

ENV_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
FILE_BYTES = 1 << 16  # the size that the library would create, sparse
LOCK_WAIT_S = 1.0
# The totals of ended workers are stored under this id, which no process has.
AGGREGATE_PID = 0
OPENED, CLOSED, KILLED = "beacon_streams_opened_total", "beacon_streams_closed_total", "killed"
_TOTALS = ("counter", "histogram")
_KINDS = (*_TOTALS, "gauge_livesum", "gauge_livemax", "gauge_livemin")
_METRIC_FILE = re.compile(r"(?:counter|histogram|summary|gauge_[a-z]+)_\d+\.db(?:\.new)?|alive_\d+")
_GAUGE_FILE = re.compile(r"gauge_[a-z]+_(\d+)\.db")
# A worker flushes once a second. A worker that was silent for this long is frozen and does not count as live.
MAX_SILENCE_S = 10.0


class MetricFiles:
    """The metrics folder as gunicorn's master manages it, in hooks that run in the loop that supervises the workers."""

    def __init__(self, settings: Settings) -> None:
        self.folder = settings.instance_dir / f"metrics-{settings.port}"
        self._dead: set[int] = set()

    def configure_env(self) -> None:
        """Set the library's folder. Call it before the library is first imported, because it reads this once."""
        os.environ[ENV_VARIABLE] = str(self.folder)

    def clear(self) -> None:
        """Create or empty the folder, mode 0700. Call it once the port is bound: another server may use it before."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        for path in self.folder.iterdir():
            if _METRIC_FILE.fullmatch(path.name):
                path.unlink()

    def mark_dead(self, pid: int) -> None:
        """Remove the gauges of an ended worker and merge its totals. Never raises and never blocks gunicorn's master.

        If a scrape holds the lock, the files stay as they are, which is still correct, and are merged after the next
        worker ends.
        """
        from prometheus_client.multiprocess import mark_process_dead

        self._dead.add(pid)
        try:
            mark_process_dead(pid, str(self.folder))  # type: ignore[no-untyped-call]
            _alive_path(self.folder, pid).unlink(missing_ok=True)
            _close_streams(self.folder, pid)
            with lock_folder(self.folder, fcntl.LOCK_EX, wait_s=0):
                while self._dead:
                    _merge_dead_worker(self.folder, self._dead.pop())
        except BlockingIOError:
            pass
        except Exception:
            log.exception("could not clean up the metrics of ended worker pid=%s", pid)


def read_all(folder: Path) -> bytes:
    """The metrics of all workers in Prometheus text format. Raises `OSError` if the folder is gone or stays locked."""
    from prometheus_client import generate_latest

    with lock_folder(folder, fcntl.LOCK_SH, LOCK_WAIT_S):
        return generate_latest(_LiveWorkers(folder))


def touch_alive(folder: Path, pid: int) -> None:
    """Record that the worker is alive and its gauges are current."""
    _alive_path(folder, pid).touch()


def reserve_space(folder: Path, pid: int) -> None:
    """Allocate the disk space of a process's files now, so that a full disk raises `OSError`.

    The library maps sparse files; if the disk filled up later, SIGBUS would kill the process with all its streams.
    """
    for kind in _KINDS:
        _reserve_file(_metric_path(folder, kind, pid))


class _LiveWorkers:
    """A collector that leaves out the gauges of silent workers, because a gauge is about now. Their totals stay."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable["MetricFamily"]:
        from prometheus_client.multiprocess import MultiProcessCollector

        files = [str(path) for path in self._folder.glob("*.db") if self._is_true_now(path)]
        merged: Iterable[MetricFamily] = MultiProcessCollector.merge(files, accumulate=True)  # type: ignore[no-untyped-call]
        return merged

    def _is_true_now(self, path: Path) -> bool:
        found = _GAUGE_FILE.fullmatch(path.name)
        if found is None:
            return True
        try:
            silent_s = time.time() - _alive_path(self._folder, int(found[1])).stat().st_mtime
        except FileNotFoundError:
            return False
        return silent_s < MAX_SILENCE_S


@contextmanager
def lock_folder(folder: Path, how: int, wait_s: float) -> Iterator[None]:
    """Lock the folder: shared to read, exclusive to merge; otherwise a total could be read twice or not at all."""
    with (folder / "lock").open("ab") as file:
        deadline = time.monotonic() + wait_s
        while not _try_lock(file.fileno(), how):
            if time.monotonic() >= deadline:
                raise BlockingIOError("the metrics folder is locked")
            time.sleep(0.01)
        yield


def _reserve_file(path: Path) -> None:
    if not path.exists():
        new = path.with_name(path.name + ".new")
        new.write_bytes(bytes(FILE_BYTES))
        new.rename(path)  # atomic, so that a reader never sees half of it


def _try_lock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _close_streams(folder: Path, pid: int) -> None:
    """Count the open streams of a killed worker as closed, in the worker's own file.

    It writes in place and without the lock: nobody else writes to this file, and a reader sees the old or the new
    number.
    """
    from prometheus_client.mmap_dict import MmapedDict

    path = _metric_path(folder, "counter", pid)
    if not path.exists():
        return
    left, key, killed = 0.0, "", 0.0
    for text, value, _, _ in MmapedDict.read_all_values_from_file(str(path)):  # type: ignore[no-untyped-call]
        _, name, labels, _ = json.loads(text)
        left += value if name == OPENED else -value if name == CLOSED else 0
        if name == CLOSED and labels.get("reason") == KILLED:
            key, killed = text, value
    if key and left > 0:
        counters = MmapedDict(str(path))  # type: ignore[no-untyped-call]
        counters.write_value(key, killed + left, 0.0)  # type: ignore[no-untyped-call]
        counters.close()  # type: ignore[no-untyped-call]


def _merge_dead_worker(folder: Path, pid: int) -> None:
    for kind in _TOTALS:
        dead = _metric_path(folder, kind, pid)
        if dead.exists():
            _add_totals(dead, _metric_path(folder, kind, AGGREGATE_PID))
            dead.unlink()


def _add_totals(source: Path, target: Path) -> None:
    """Add the values of one file to another. Histograms are stored as counts per bucket, so they add up too."""
    from prometheus_client.mmap_dict import MmapedDict

    _reserve_file(target)
    totals = MmapedDict(str(target))  # type: ignore[no-untyped-call]
    try:
        for key, value, _, _ in MmapedDict.read_all_values_from_file(str(source)):  # type: ignore[no-untyped-call]
            totals.write_value(key, totals.read_value(key)[0] + value, 0.0)  # type: ignore[no-untyped-call]
    finally:
        totals.close()  # type: ignore[no-untyped-call]


def _alive_path(folder: Path, pid: int) -> Path:
    return folder / f"alive_{pid}"


def _metric_path(folder: Path, kind: str, pid: int) -> Path:
    return folder / f"{kind}_{pid}.db"
