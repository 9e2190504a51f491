"""The contract suite against a Beacon as a company runs it: nginx, TLS, HTTP/2 and a path prefix."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract import own
from tests.live.certificates import make_certificate
from tests.support.beacon_server import ROOT
from tests.support.machine import scaled
from tests.support.nginx import ADDRESS, PREFIXED_LINES, PROGRAM, Nginx

# `--confcutdir`: as somebody runs it who has a checkout, an address and a token, and nothing else.
SUITE = ["-m", "pytest", "-p", "no:randomly", "-q", "--confcutdir=tests/contract", "tests/contract"]


@pytest.mark.skipif(PROGRAM is None, reason="no nginx (Debian: sudo apt-get install nginx)")
@pytest.mark.long
def test_every_promise_of_the_stream_holds_behind_nginx_with_tls_and_a_prefix(tmp_path: Path) -> None:
    (tmp_path / "beacon").mkdir()
    certificate = make_certificate(tmp_path)
    with (
        own.in_use(tmp_path / "beacon", TRUSTED_PROXIES=ADDRESS) as beacon,
        Nginx(tmp_path / "nginx", beacon.port, lines=PREFIXED_LINES, certificate=certificate, below="/beacon") as nginx,
    ):
        (tmp_path / "token").write_text(own.admin_token(beacon))
        command = [sys.executable, *SUITE, f"--base-url={nginx.url}", f"--admin-token-file={tmp_path / 'token'}"]
        trust = {"SSL_CERT_FILE": str(certificate[0]), "REQUESTS_CA_BUNDLE": str(certificate[0])}
        run = subprocess.run(
            [*command, "--intrusive"],
            cwd=ROOT,
            env={**os.environ, **trust},
            capture_output=True,
            text=True,
            timeout=scaled(600),
            check=False,
        )
    assert run.returncode == 0, run.stdout[-6_000:] + run.stderr[-2_000:]
    passed = re.search(r"(\d+) passed", run.stdout)
    assert passed, run.stdout[-2_000:]
    assert int(passed[1]) > 300
