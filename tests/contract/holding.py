"""`@holds(sentence)`: the promise of docs/stream-api.md that a case holds, word for word."""

import pytest

holds = pytest.mark.holds
