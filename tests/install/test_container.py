"""The Containerfile without a container engine: its copies, commands and settings as they stand, in namespaces.

Nothing of this machine is changed: /opt and /var/lib are other folders there, and the root is read-only at the end.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.install.installed import clean_environment
from tests.support.beacon_server import ROOT
from tests.support.machine import scaled

CONTAINERFILE = ROOT / "deploy" / "Containerfile"
NAMESPACES = ["unshare", "--user", "--map-root-user", "--mount"]
BUILD = """
set -eu
mount --bind {opt} /opt
{steps}
"""
RUN = """
set -eu
ip link set lo up
mount --bind {opt} /opt
mount -t tmpfs tmpfs /var/lib
mkdir -m 0700 /var/lib/beacon
mount -o remount,bind,ro /
cd /var/lib/beacon
{command} &
server=$!
for i in $(seq {tries}); do
  if {health} 2>/dev/null; then echo healthy; break; fi
  sleep 0.2
done
kill -TERM $server
wait $server
"""


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", CONTAINERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(name, " ".join(rest.split())) for name, rest in re.findall(r"^([A-Z]+) (.*)$", text, re.MULTILINE)]


def value(name: str) -> str:
    return [rest for instruction, rest in instructions() if instruction == name][-1]


def test_the_image_runs_as_nobody_in_particular_and_asks_itself_how_it_is() -> None:
    assert value("USER") == "10001:10001"
    assert json.loads(value("ENTRYPOINT")) == ["beacon"]
    assert "/healthz" in value("HEALTHCHECK")
    stages = [rest for name, rest in instructions() if name == "FROM"]
    assert len(stages) == 2
    assert "RUN" not in [name for name, _ in instructions()[[name for name, _ in instructions()].index("FROM", 1) :]]


def test_the_image_copies_what_the_wheel_is_made_of() -> None:
    copied = {
        path for name, rest in instructions() if name == "COPY" and "--from" not in rest for path in rest.split()[:-1]
    }
    needed = {"pyproject.toml", "README.md", "LICENSE", "gunicorn.conf.py", "scripts/package_metadata.py"}
    needed |= {
        "requirements/runtime.in",
        "requirements/runtime.lock",
        "app",
        "demo",
        "migrations",
        "static",
        "templates",
    }
    assert copied == needed


@pytest.mark.long
@pytest.mark.skipif(
    shutil.which("unshare") is None
    or shutil.which("ip") is None
    or subprocess.run([*NAMESPACES, "true"], check=False, capture_output=True).returncode != 0,
    reason="no namespaces of one's own here",
)
def test_the_commands_of_the_image_build_and_run_it_with_a_read_only_root(tmp_path: Path) -> None:
    opt = tmp_path / "opt"
    opt.mkdir()
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "plain"], check=True, timeout=scaled(120))
    plain = clean_environment() | {"PATH": f"{tmp_path / 'plain' / 'bin'}:/usr/bin:/bin:/usr/sbin"}
    steps = []
    for name, rest in instructions():
        if name == "WORKDIR" and rest.startswith("/opt"):
            steps.append(f"mkdir -p {rest} && cd {rest}")
        elif name == "COPY" and "--from" not in rest:
            *paths, target = rest.split()
            sources = [str(ROOT / path) for path in paths]
            copied = "/." if Path(sources[0]).is_dir() else ""
            steps.append(f"mkdir -p {target} && cp -r {shlex.join([one + copied for one in sources])} {target}")
        elif name == "RUN":
            steps.append(rest)
    shell(NAMESPACES, BUILD.format(opt=opt, steps="\n".join(steps)), plain, 900)

    settings = dict(pair.split("=", 1) for name, rest in instructions() if name == "ENV" for pair in rest.split())
    command = [*json.loads(value("ENTRYPOINT")), *json.loads(value("CMD"))]
    health = json.loads(value("HEALTHCHECK").partition("CMD ")[2])
    settings["PATH"] += ":/usr/sbin"
    script = RUN.format(opt=opt, command=shlex.join(command), health=shlex.join(health), tries=int(scaled(60) / 0.2))
    told = shell([*NAMESPACES, "--net"], script, settings, 300)
    assert "healthy" in told


def shell(prefix: list[str], script: str, environment: dict[str, str], within_s: float) -> str:
    done = subprocess.run(
        [*prefix, "sh", "-c", script],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=scaled(within_s),
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
