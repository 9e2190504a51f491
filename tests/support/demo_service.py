"""The demo job service as a real process of its own, for every test that wants an upstream."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import requests

from tests.support.machine import scaled

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
GREETING = "demo job service at "
START_S = 20.0
ANSWER_S = 10.0


@dataclass
class DemoService:
    """A running service, and what a test does to it."""

    url: str
    process: subprocess.Popen[str]

    def get(self, path: str, **query: object) -> requests.Response:
        return requests.get(self.url + path, params={k: str(v) for k, v in query.items()}, timeout=ANSWER_S)

    def command(self, method: str, path: str, key: str | None = None) -> requests.Response:
        """One of the four commands of the API, with an Idempotency-Key if there is one."""
        headers = {"Idempotency-Key": key} if key is not None else {}
        return requests.request(method, self.url + path, headers=headers, timeout=ANSWER_S)

    def counts(self) -> dict[str, Any]:
        return self._body(self.get("/api/v1/jobs/counts"))

    def fault(self, mode: str, seconds: float | None = None, lose_jobs: int = 0) -> dict[str, Any]:
        wanted: dict[str, str | float] = {"mode": mode, "loseJobs": lose_jobs}
        if seconds is not None:
            wanted["seconds"] = seconds
        return self._body(requests.put(f"{self.url}/_fault", json=wanted, timeout=ANSWER_S))

    def lose(self, n: int = 1) -> list[str]:
        """Make n unfinished jobs vanish without a trace; ends a fault that is on. Says which."""
        lost: list[str] = self.fault("none", lose_jobs=n)["lostJobIds"]
        return lost

    def calls(self) -> list[dict[str, Any]]:
        """The commands executed so far, oldest first."""
        calls: list[dict[str, Any]] = self._body(self.get("/_calls"))["calls"]
        return calls

    def create_jobs(self, *jobs: Mapping[str, str | float]) -> list[dict[str, Any]]:
        """Create jobs, or set those there are: {id?, queue?, state?, ageS?} each."""
        answer = requests.post(f"{self.url}/_jobs", json={"jobs": list(jobs)}, timeout=ANSWER_S)
        created: list[dict[str, Any]] = self._body(answer)["jobs"]
        return created

    def create_job(self, **job: str | float) -> dict[str, Any]:
        [created] = self.create_jobs(job)
        return created

    def move(self, job_id: str, state: str) -> dict[str, Any]:
        """Put a job into a state, as its worker would: this is how it fails."""
        return self._body(requests.patch(f"{self.url}/_jobs/{job_id}", json={"state": state}, timeout=ANSWER_S))

    def age_out(self, job_id: str) -> dict[str, Any]:
        """Let a finished job go, as time does: a look-up answers 410 from now on."""
        return self._body(requests.delete(f"{self.url}/_jobs/{job_id}", timeout=ANSWER_S))

    def reset(self) -> None:
        """No fault, no jobs, no memory of any and no calls, so that tests can share a process."""
        self.fault("none")
        answer = requests.delete(f"{self.url}/_jobs", timeout=ANSWER_S)
        assert answer.status_code == 204, answer.text

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End the process and say how; SIGKILL is a crash."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout=scaled(5))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            if self.process.stdout:
                self.process.stdout.close()

    @staticmethod
    def _body(answer: requests.Response) -> dict[str, Any]:
        assert answer.ok, f"{answer.status_code}: {answer.text}"
        body: dict[str, Any] = answer.json()
        return body


def start_demo(
    tmp_path: Path,
    *,
    database: str = "demo.db",
    quiet_jobs: bool = True,
    port: int | None = 0,
    speed: float = 1,
    seed: int | None = None,
    name: str | None = None,
    env: Mapping[str, str] | None = None,
) -> DemoService:
    """Start the service with its database in `tmp_path`; jobs stand still unless `quiet_jobs` is off.

    It ends with this process at the latest; a test stops it. What it says of errors is in demo.log.
    """
    command = [sys.executable, "-m", "demo", "--with-parent"]
    command += ["--database", str(tmp_path / database), "--speed", str(speed)]
    command += ["--port", str(port)] if port is not None else []
    command += ["--quiet-jobs"] if quiet_jobs else []
    command += ["--seed", str(seed)] if seed is not None else []
    command += ["--name", name] if name is not None else []
    with (tmp_path / "demo.log").open("a") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        return DemoService(_announced_url(process, tmp_path / "demo.log"), process)
    except BaseException:
        process.kill()
        process.wait()
        raise


def _announced_url(process: subprocess.Popen[str], log: Path) -> str:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], START_S)
    line = process.stdout.readline() if ready else ""
    assert line.startswith(GREETING), f"the demo service said {line!r} and {log.read_text()!r}"
    return line.removeprefix(GREETING).strip()
