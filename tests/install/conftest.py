"""What a person installs, built once from this checkout."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.install.installed import Installed
from tests.support.beacon_server import ROOT
from tests.support.machine import scaled


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("dist"), "wheel")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in an environment outside the checkout, with the packages of this one beside it.

    What this environment's own .pth files name, the checkout among it, is not seen there.
    """
    home = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True, timeout=scaled(60))
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(home)}))
    (packages / "beside.pth").write_text(sysconfig.get_path("purelib"))
    pip = [sys.executable, "-m", "pip", "--python", str(home), "--disable-pip-version-check", "--quiet", "install"]
    subprocess.run([*pip, "--no-index", "--no-deps", "--no-compile", str(wheel)], check=True, timeout=scaled(120))
    return Installed(home / "bin" / "beacon")


def build(folder: Path, target: str) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=scaled(60))
    (built,) = folder.iterdir()
    return built
