"""Evaluates declared flags for a user. The only module that uses UnleashClient.

In both modes the client evaluates a configuration that Beacon hands to it: its own, or the one an Unleash server sent.
The engine and its buckets are the same, so a user who is in at 10 % is still in at 50 %, in both modes. The client's
own fetching is off; `unleash/feed_poller.py` says why.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from UnleashClient.cache import BaseCache
from UnleashClient.clients.unleash_client import UnleashClient
from UnleashClient.constants import CLIENT_SPEC_VERSION, FEATURES_URL
from UnleashClient.utils import InstanceAllowType

from app.components import components
from app.config import ConfigError
from app.eventlog.reader import Event
from app.flags import document
from app.flags.document import DEFAULTS, Flag, Rollout

__all__ = ["DEFAULTS", "Flag", "Flags", "Rollout", "build_evaluator", "has_flag_change", "is_enabled"]

# The spec version of the engine. If the client sends it, Unleash sends segments with their names.
SPEC_VERSION: str = CLIENT_SPEC_VERSION
MAX_CACHED_ANSWERS = 10_000
# Upper bound on how long cached results may diverge when constraints depend on the time.
REEVALUATE_EVERY_S = 60.0


class Flags:
    """Evaluates flags in this process, from the configuration last given to `load`."""

    def __init__(self, overrides: Mapping[str, bool]) -> None:
        unknown = sorted(overrides.keys() - set(Flag))
        if unknown:
            names = ", ".join(f"BEACON_FLAG_{name.upper()}" for name in unknown)
            raise ConfigError(f"{names}: unknown flag; known flags: {', '.join(Flag)}")
        self.overrides = dict(overrides)
        self.configuration: str | None = None
        self._cache = _MemoryCache()
        self._client: UnleashClient | None = None
        self._lock = threading.Lock()
        # Results since the last load: after a restart thousands of users ask at once.
        self._answers: dict[tuple[Flag, str], bool] = {}

    def load(self, now: Mapping[str, Rollout] | str | None) -> None:
        """Load rollouts, or a configuration as text. None means nothing is known and keeps the current one."""
        if now is None:
            return
        text = now if isinstance(now, str) else document.serialize_rollouts(now)
        with self._lock:
            self._cache.set(FEATURES_URL, text)
            if self._client is None:
                self._client = _build_client(self._cache)
            else:
                _reload_client(self._client)
            self._answers = {}
            self.configuration = text

    def evaluator_for(self, text: str | None) -> Callable[[Flag, str], bool]:
        """Evaluate against this configuration instead of the loaded one. Overrides from settings still apply."""
        if text is None or text == self.configuration:
            return self.is_enabled
        ask = build_evaluator(text)
        return lambda flag, user: self.overrides[flag] if flag in self.overrides else ask(flag, user)

    def expire_timed_answers(self, then: Callable[[], None]) -> None:
        """Called every `REEVALUATE_EVERY_S`: if results depend on the time, drop cached ones and call `then`."""
        if self.configuration is not None and document.is_timed(self.configuration):
            self._answers = {}
            then()

    def is_enabled(self, flag: Flag, user: str) -> bool:
        """True if `flag` is on for this user; the default until a configuration has been loaded."""
        if flag in self.overrides:
            return self.overrides[flag]
        client, answers = self._client, self._answers
        if client is None:
            return DEFAULTS[flag]
        answer = answers.get((flag, user))
        if answer is None:
            answer = _evaluate(client, flag, user)
            if len(answers) >= MAX_CACHED_ANSWERS:
                answers.clear()
            answers[flag, user] = answer
        return answer


def is_enabled(flag: Flag | str, user: str) -> bool:
    """Evaluate with the flags of the current application."""
    flags = components().flags
    return flags.is_enabled(Flag(flag), user)


def build_evaluator(text: str) -> Callable[[Flag, str], bool]:
    """Build an evaluator for a configuration that is not loaded."""
    cache = _MemoryCache()
    cache.set(FEATURES_URL, text)
    client = _build_client(cache)
    return lambda flag, user: _evaluate(client, flag, user)


def has_flag_change(events: Sequence[Event]) -> bool:
    return any(event.type == "flag.changed" for event in events)


def _evaluate(client: UnleashClient, flag: Flag, user: str) -> bool:
    return bool(client.is_enabled(flag.value, {"userId": user}, lambda *_: DEFAULTS[flag]))


def _build_client(cache: BaseCache) -> UnleashClient:
    """A client that evaluates the content of `cache`. Never initialised, so it starts no thread and no request."""
    return UnleashClient(
        url="http://embedded.invalid/api",
        app_name="beacon",
        cache=cache,
        disable_metrics=True,
        disable_registration=True,
        multiple_instance_mode=InstanceAllowType.SILENTLY_ALLOW,
    )


def _reload_client(client: UnleashClient) -> None:
    """Load the cache's content now. A private API of the pinned version; `tests/rollout` fails if it changes."""
    client._store.load_from_cache()


class _MemoryCache(BaseCache):
    """A cache for UnleashClient that holds what Beacon puts there instead of what the client fetched."""

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
        """Does nothing: the client must not clear Beacon's configuration."""
