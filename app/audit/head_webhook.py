"""Posts the head of the audit chain to an external witness (`BEACON_AUDIT_HEAD_URL`)."""

import requests

from app.audit import chain
from app.config import current_settings
from app.db import read

CONNECT_TIMEOUT_S = 2.0
RESPONSE_TIMEOUT_S = 5.0


class HeadNotAccepted(Exception):
    """The witness did not accept the head. The text gives the reason, but not the URL, which may contain a secret."""


def post_head(url: str) -> None:
    """Post the head once, without a retry. Needs an app context. Raises `HeadNotAccepted`."""
    settings = current_settings()
    with read() as session:
        head = chain.read_head(session)
    body = {"database": settings.database_name, "seq": head.seq, "hash": head.hash, "timestamp": head.timestamp}
    status = 0
    try:
        with requests.Session() as session:
            session.trust_env = False  # do not send it through the environment's proxies or with its credentials
            # The response body is not read: the status is enough.
            with session.post(
                url, json=body, timeout=(CONNECT_TIMEOUT_S, RESPONSE_TIMEOUT_S), allow_redirects=False, stream=True
            ) as answer:
                status = answer.status_code
    except requests.RequestException as error:
        reason = type(error).__name__
    else:
        reason = f"it answered {status}"
    if not 200 <= status < 300:
        raise HeadNotAccepted(f"BEACON_AUDIT_HEAD_URL did not accept the audit head: {reason}")
