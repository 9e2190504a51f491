"""Less patience with a Valkey that does not answer, for the processes that poll it.

How long it really is, tests/services/test_rq.py waits for. Background processes of a test import this first; the test
itself must not, because this changes the process that imports it.
"""

from app.sources.redis.client import RedisServer

_defaults = RedisServer.__init__.__kwdefaults__
assert "answer_s" in _defaults
_defaults["answer_s"] = 2.0
