"""The files through which gunicorn's workers share their metrics: one folder a server, below the instance folder.

The library keeps one file for each process and kind of metric, and none of them ever goes away by itself. So the
server empties the folder when it starts, and folds the totals of every worker that ended into files of their own:
what is read for an answer depends on how many workers there are, not on how many there were.
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
FILE_BYTES = 1 << 16  # what the library would take, sparse
LOCK_WAIT_S = 1.0
# No process has this id: totals of workers that ended are kept under it.
AGGREGATE_PID = 0
OPENED, CLOSED, KILLED = "beacon_streams_opened_total", "beacon_streams_closed_total", "killed"
_TOTALS = ("counter", "histogram")
_KINDS = (*_TOTALS, "gauge_livesum", "gauge_livemax", "gauge_livemin")
_METRIC_FILE = re.compile(r"(?:counter|histogram|summary|gauge_[a-z]+)_\d+\.db(?:\.new)?|alive_\d+")
_GAUGE_FILE = re.compile(r"gauge_[a-z]+_(\d+)\.db")
# A worker flushes once a second. One that is frozen, or whose loop has stood still for so long, is no living one.
MAX_SILENCE_S = 10.0


class MetricFiles:
    """The folder as gunicorn's master sees it. Its hooks run in the loop that keeps the workers alive."""

    def __init__(self, settings: Settings) -> None:
        self.folder = settings.instance_dir / f"metrics-{settings.port}"
        self._dead: set[int] = set()

    def configure_env(self) -> None:
        """The library looks for its folder once, when it is first imported: be there before."""
        os.environ[ENV_VARIABLE] = str(self.folder)

    def clear(self) -> None:
        """An empty folder, mode 0700. Call it once the port is ours: before, another server may be using it."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        for path in self.folder.iterdir():
            if _METRIC_FILE.fullmatch(path.name):
                path.unlink()

    def mark_dead(self, pid: int) -> None:
        """A worker ended: its gauges vanish, its totals stay. Never raises and never waits: a master must do neither.

        While somebody reads, its files stay as they are, just as true, and are folded with the next worker's.
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
            log.exception("the metrics of worker %s could not be tidied up", pid)


def read_all(folder: Path) -> bytes:
    """All workers' metrics as Prometheus' text. `OSError` where the folder is gone or stays locked."""
    from prometheus_client import generate_latest

    with lock_folder(folder, fcntl.LOCK_SH, LOCK_WAIT_S):
        return generate_latest(_LiveWorkers(folder))


def touch_alive(folder: Path, pid: int) -> None:
    """A worker's sign of life: what it exports is true now."""
    _alive_path(folder, pid).touch()


def reserve_space(folder: Path, pid: int) -> None:
    """Take the disk space of a process's files now, where a full disk is an `OSError`.

    The library maps sparse files: a disk that is full later would end the process with SIGBUS, streams and all.
    """
    for kind in _KINDS:
        _reserve_file(_metric_path(folder, kind, pid))


class _LiveWorkers:
    """What the library reads, without the gauges of workers that no longer say anything: a gauge is a statement about
    now, and nobody makes it any more. What they have counted stays true."""

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
    """Readers share the folder, folding has it alone; otherwise a total would be seen twice, or not at all."""
    with (folder / "lock").open("ab") as file:
        deadline = time.monotonic() + wait_s
        while not _try_lock(file.fileno(), how):
            if time.monotonic() >= deadline:
                raise BlockingIOError("the folder of the metrics is locked")
            time.sleep(0.01)
        yield


def _reserve_file(path: Path) -> None:
    if not path.exists():
        new = path.with_name(path.name + ".new")
        new.write_bytes(bytes(FILE_BYTES))
        new.rename(path)  # whoever reads meanwhile never sees half of it


def _try_lock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _close_streams(folder: Path, pid: int) -> None:
    """Streams of a worker that was killed ended with it: what it had opened and not closed is closed in its own file.

    In place and without the lock: nobody else writes there any more, and a reader sees the one number or the other.
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
    """Histograms are kept as counts for each bucket, so that all of them simply add up."""
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
