"""Long reads of the audit hold up nobody else, and too many of them are refused."""

import subprocess
import sys

import pytest
from flask import Flask

from app.config import Settings
from tests.support.machine import scaled

CODE = """
from gevent import monkey
monkey.patch_all()
import os
import sys
from pathlib import Path
import gevent
from app import create_app
from app.audit import reader_pool
from app.infra import concurrency
from app.config import Settings
from app.infra import concurrency
from app.infra.problems import Problem
app = create_app(Settings(instance_dir=Path(sys.argv[1]), secret_key="reader"))
answers, server = os.pipe()
reading = []

def search():
    with app.app_context():
        def slow(fetch):
            reading.append(1)
            return os.read(answers, 1)
        return reader_pool.run_read(slow)

looks = [gevent.spawn(search) for _ in range(reader_pool.MAX_PENDING_READS)]
while len(reading) < reader_pool.MAX_CONCURRENT_READS:
    gevent.sleep(0.001)
assert concurrency.run_in_thread(divmod, 7, 2) == (3, 1)
try:
    search()
    raise AssertionError("one too many was let in")
except Problem as problem:
    assert problem.status == 503 and problem.headers["Retry-After"]
assert len(reading) == reader_pool.MAX_CONCURRENT_READS
os.write(server, bytes(reader_pool.MAX_PENDING_READS))
gevent.joinall(looks, raise_error=True)
assert len(reading) == reader_pool.MAX_PENDING_READS
with app.app_context():
    assert reader_pool.run_read(lambda fetch: 7) == 7
"""


@pytest.mark.sqlite("PostgreSQL is read on the loop")
def test_searches_that_take_long_hold_up_no_login_and_one_too_many_is_refused(app: Flask, settings: Settings) -> None:
    subprocess.run([sys.executable, "-c", CODE, str(settings.instance_dir)], check=True, timeout=scaled(60))
