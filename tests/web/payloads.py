"""Payloads of `reconciliation.update` as they go over the wire."""

from typing import Any


def update(service: str = "mail", status: str = "verified", **members: Any) -> dict[str, Any]:
    return {
        "eventId": "e1",
        "service": service,
        "status": status,
        "counts": {"succeeded": 1204, "failed": 14, "queued": 12, "running": 3},
        "checksum": "c",
        "latencyMs": 41,
        "checkedAt": "2026-11-21T12:03:05.000Z",
        "lastVerifiedAt": "2026-11-21T12:03:05.000Z",
        "previousStatus": "verified",
        **members,
    }


def discrepancy(*missing: str, **members: Any) -> dict[str, Any]:
    details = {"expected": 14, "actual": 12, "missingJobIds": list(missing)}
    return update(status="discrepancy", discrepancyDetails=details, **members)
