"""`make release`: wheel, source archive, parts list and checksums in dist/, the same bytes for the same commit."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from app.infra.version import VERSION
from scripts.sbom import make_sbom

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
CHECKSUMS = "SHA256SUMS"
# The time of files in an archive if neither git nor SOURCE_DATE_EPOCH gives one.
UNKNOWN_EPOCH_S = 1_580_601_600


def main() -> None:
    if f"\n## {VERSION}" not in (ROOT / "CHANGELOG.md").read_text():
        sys.exit(f"CHANGELOG.md has no heading for {VERSION}, the version in app/infra/version.py")
    shutil.rmtree(DIST, ignore_errors=True)
    for path in release(DIST, epoch()):
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")


def release(folder: Path, epoch_s: int) -> list[Path]:
    """Write all files of the release into a new folder."""
    build(folder, epoch_s)
    lock = (ROOT / "requirements" / "runtime.lock").read_text()
    vendor_lock = (ROOT / "static" / "vendor" / "vendor.lock").read_text()
    sbom = make_sbom("beacon", VERSION, lock, vendor_lock, epoch_s)
    (folder / f"beacon-{VERSION}.cdx.json").write_text(sbom)
    files = sorted(folder.iterdir())
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (folder / CHECKSUMS).write_text("".join(sums))
    return [*files, folder / CHECKSUMS]


def build(folder: Path, epoch_s: int) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", str(folder)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch_s)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)


def epoch() -> int:
    """SOURCE_DATE_EPOCH, or the time of the last commit."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    command = ["git", "log", "-1", "--format=%ct"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 else UNKNOWN_EPOCH_S


if __name__ == "__main__":
    main()
