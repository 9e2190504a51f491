"""The parts of a release as CycloneDX 1.6 JSON, made from requirements/runtime.lock and the vendored scripts.

What a part needs is read from the comments ("via") that uv writes below each line of the lock.
"""

import json
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

ENTRY = re.compile(r"^([\w.-]+)(?:\[[\w,-]+\])?==(\S+)(?: ; ([^\\\n]*\S))?(.*(?:\n .*)*)", re.MULTILINE)
DIRECT = "-r requirements/runtime.in"

Json = dict[str, Any]


def make_sbom(name: str, version: str, lock: str, vendor_lock: str, epoch_s: int) -> str:
    """The document as text; the same for the same input."""
    root = f"pkg:pypi/{name}@{version}"
    parts, needs = _python_packages(lock)
    scripts = list(_vendored_scripts(vendor_lock))
    needs[root] = sorted([*needs.pop(DIRECT, []), *(part["bom-ref"] for part in scripts)])
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch_s, UTC).isoformat().replace("+00:00", "Z"),
            "component": _component("application", name, version, root),
        },
        "components": [*parts, *scripts],
        "dependencies": [{"ref": ref, "dependsOn": needs[ref]} for ref in sorted(needs)],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(document, sort_keys=True))
    return json.dumps({"serialNumber": f"urn:uuid:{serial}", **document}, indent=2) + "\n"


def _python_packages(lock: str) -> tuple[list[Json], dict[str, list[str]]]:
    """The components, and for each reference those that it needs."""
    parts, users = [], {}
    for name, version, marker, rest in ENTRY.findall(lock):
        ref = f"pkg:pypi/{name.lower().replace('_', '-')}@{version}"
        part = _component("library", name, version, ref)
        if marker:  # only some Pythons or systems need it
            part |= {"scope": "optional", "properties": [{"name": "beacon:marker", "value": marker}]}
        parts.append(part)
        users[ref] = re.findall(r"^ +# +(?:via )?(\S.*)$", rest, re.MULTILINE)
    refs: dict[str, list[str]] = {}
    for part in parts:
        refs.setdefault(part["name"], []).append(part["bom-ref"])
    needs: dict[str, list[str]] = {ref: [] for ref in users}
    for ref, names in users.items():
        for user in filter(lambda name: name != "via", names):
            for user_ref in refs.get(user, [DIRECT]):
                needs.setdefault(user_ref, []).append(ref)
    return parts, {ref: sorted(set(needed)) for ref, needed in needs.items()}


def _vendored_scripts(lock: str) -> Iterator[Json]:
    """Each package of vendor.lock once, however many of its files are used."""
    packages = {(file["package"], file["version"], file["licence"]) for file in json.loads(lock)}
    for name, version, licence in sorted(packages):
        part = _component("library", name, version, f"pkg:npm/{name}@{version}")
        yield part | {"licenses": [{"license": {"id": licence}}]}


def _component(kind: str, name: str, version: str, ref: str) -> Json:
    return {"type": kind, "bom-ref": ref, "name": name, "version": version, "purl": ref}
