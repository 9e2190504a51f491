"""What a person installs, built once from this checkout."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from scripts import release
from tests.install.installed import Installed
from tests.support.machine import scaled

EPOCH_S = 1_750_000_000


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `make release` writes."""
    folder = tmp_path_factory.mktemp("release") / "dist"
    release.release(folder, EPOCH_S)
    return folder


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


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
