"""Hatchling's hook: a package needs what requirements/runtime.in names. The exact set, with hashes, is runtime.lock."""

from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class Dependencies(MetadataHookInterface):
    def update(self, metadata: dict[str, Any]) -> None:
        lines = Path(self.root, "requirements", "runtime.in").read_text().splitlines()
        metadata["dependencies"] = list(filter(None, (line.partition("#")[0].strip() for line in lines)))
