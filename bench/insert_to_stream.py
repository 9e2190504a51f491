"""A row inserted into `event` by another process, until an open stream has it."""

import subprocess
import sys
from pathlib import Path

from bench.figures import Figure, milliseconds, quantile
from tests.beacon_process import Beacon
from tests.live_stream import LiveStream

ROWS = 200
# Prints the moment after each commit on the clock that both processes share.
INSERTER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for n in range(int(sys.argv[2])):
    connection.execute("INSERT INTO event (type, data_json) VALUES ('bench.row', ?)", (f'{{"n": {n}}}',))
    print(time.monotonic(), flush=True)
    time.sleep(0.013)
"""


def measure(folder: Path) -> list[Figure]:
    with (
        Beacon(folder) as beacon,
        LiveStream(f"{beacon.url}/api/stream/events", beacon.bearer("alice", "stream")) as stream,
    ):
        stream.wait_named("hello")
        inserter = subprocess.run(
            [sys.executable, "-c", INSERTER, str(beacon.database), str(ROWS)], check=True, capture_output=True
        )
        committed = [float(line) for line in inserter.stdout.split()]
        stream.wait_until(lambda: len(stream.named("bench.row")) == ROWS, "all rows")
        arrivals = zip(stream.arrived, stream.frames, strict=True)
        arrived = [at for at, frame in arrivals if frame.event == "bench.row"]
    lags = [max(0.0, there - here) for there, here in zip(arrived, committed, strict=True)]
    return [
        Figure("row by another process -> stream, median", milliseconds(quantile(lags, 0.5)), "under 100 ms"),
        Figure("row by another process -> stream, p99", milliseconds(quantile(lags, 0.99))),
    ]
