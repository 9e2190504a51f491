"""Less patience with a Valkey that does not answer, for the processes that poll it.

How long it really is, tests/services/test_rq.py waits for. Background processes of a test import this first.
"""

from app.sources.redis.client import RedisServer

ANSWER_S = 2.0

_defaults = RedisServer.__init__.__kwdefaults__
assert "answer_s" in _defaults
_defaults["answer_s"] = ANSWER_S
