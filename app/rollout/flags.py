"""The only module that knows UnleashClient: declared flags, asked for a user by a typed helper.

In the embedded mode the client evaluates the rollout kept in our database. It is the engine of a real
Unleash server with the same buckets, so who is in at 10 % is still in at 50 %, in either mode.
"""

import json
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from flask import current_app
from UnleashClient.cache import BaseCache
from UnleashClient.clients.unleash_client import UnleashClient
from UnleashClient.constants import FEATURES_URL
from UnleashClient.utils import InstanceAllowType

from app.eventlog.read import Event

log = logging.getLogger(__name__)

MAX_ANSWERS = 10_000


class Flag(StrEnum):
    """Every flag there is; a name that is not here cannot be asked for or set."""

    SSE_STREAMING = "enable_sse_streaming"


@dataclass(frozen=True, slots=True)
class Rollout:
    """Where a flag stands. `enabled` is the kill switch; `percentage` of the users is in while it is on."""

    enabled: bool = True
    percentage: int = 0


class Flags:
    """Evaluates flags in this process; `load` takes the rollouts as they now stand."""

    def __init__(self, overrides: Mapping[str, bool]) -> None:
        self.overrides = {name: value for name, value in overrides.items() if name in set(Flag)}
        for name in sorted(overrides.keys() - self.overrides.keys()):
            log.warning("BEACON_FLAG_%s names no flag; there is %s", name.upper(), ", ".join(Flag))
        self._cache = _Memory()
        self._client: UnleashClient | None = None
        self._lock = threading.Lock()
        # What was answered since the last load: the same user gets the same answer, and a restart has thousands ask.
        self._answers: dict[tuple[Flag, str], bool] = {}

    def load(self, rollouts: Mapping[str, Rollout]) -> None:
        features = [_feature(flag, rollouts.get(flag, Rollout())) for flag in Flag]
        self._cache.set(FEATURES_URL, json.dumps({"version": 2, "features": features}))
        with self._lock:
            if self._client is None:
                self._client = _embedded_client(self._cache)
            else:
                _reload(self._client)
            self._answers = {}

    def is_enabled(self, flag: Flag, user: str) -> bool:
        """Whether `flag` is on for the user of this name; off until the rollouts have been loaded."""
        if flag in self.overrides:
            return self.overrides[flag]
        client, answers = self._client, self._answers
        if client is None:
            return False
        answer = answers.get((flag, user))
        if answer is None:
            answer = bool(client.is_enabled(flag.value, {"userId": user}))
            if len(answers) >= MAX_ANSWERS:
                answers.clear()
            answers[flag, user] = answer
        return answer


def is_enabled(flag: Flag | str, user: str) -> bool:
    """Ask the flags of the current application."""
    flags: Flags = current_app.extensions["beacon_flags"]
    return flags.is_enabled(Flag(flag), user)


def changed(events: Sequence[Event]) -> bool:
    return any(event.type == "flag.changed" for event in events)


def _feature(flag: Flag, rollout: Rollout) -> dict[str, Any]:
    """A flag in the words of Unleash's client API. `groupId` and `stickiness` make the buckets."""
    parameters = {"rollout": str(rollout.percentage), "stickiness": "userId", "groupId": flag.value}
    strategy = {"name": "flexibleRollout", "parameters": parameters, "constraints": []}
    return {"name": flag.value, "type": "release", "enabled": rollout.enabled, "strategies": [strategy]}


def _embedded_client(cache: BaseCache) -> UnleashClient:
    """Evaluates what is in `cache`. It is never initialised: it starts no thread and calls nobody."""
    return UnleashClient(
        url="http://embedded.invalid/api",
        app_name="beacon",
        cache=cache,
        disable_metrics=True,
        disable_registration=True,
        multiple_instance_mode=InstanceAllowType.SILENTLY_ALLOW,
    )


def _reload(client: UnleashClient) -> None:
    """Take the cache's content at once. Private in the pinned version; `tests/rollout` notices when it moves."""
    client._store.load_from_cache()


class _Memory(BaseCache):
    """UnleashClient's cache, holding our own rollouts instead of what a server sent."""

    bootstrapped = True

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def set(self, key: str, value: Any) -> None:
        self._values[key] = value

    def mset(self, data: dict[str, Any]) -> None:
        self._values.update(data)

    def get(self, key: str, default: Any | None = None) -> Any:
        return self._values.get(key, default)

    def exists(self, key: str) -> bool:
        return key in self._values

    def destroy(self) -> None:
        """The rollouts are ours: the client may not empty them."""
