"""Finds out whether a path is on a network file system, from the kernel's list of mounts."""

import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
# SQLite's write-ahead log needs shared memory and reliable locks, which these do not give to processes on two hosts.
NETWORK_TYPES = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "9p", "ceph", "lustre", "gpfs", "ocfs2", "gfs2"),
        *("fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone", "fuse.ceph", "fuse.davfs", "davfs"),
    }
)


def find_network_type(path: Path, mounts: Path = MOUNTS) -> str | None:
    """Return the type of the network file system that `path` is on; None if it is not on one, or nothing is known."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    wanted = path.resolve()
    best = ("", "")  # the deepest mount point above the path, and of several the last, which hides the others
    for line in lines:
        mounted, kind = _parse_mount(line)
        if wanted.is_relative_to(mounted) and len(mounted) >= len(best[0]):
            best = (mounted, kind)
    return best[1] if best[1] in NETWORK_TYPES else None


def _parse_mount(line: str) -> tuple[str, str]:
    """Parse `36 35 98:0 / /mount/point rw - nfs4 server:/path rw`; blanks in a path are octal escapes."""
    before, _, after = line.partition(" - ")
    mounted = before.split()[4] if len(before.split()) > 4 else "/"
    return re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), mounted), after.split()[0] if after else ""
