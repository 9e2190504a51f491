"""What the tests of rollouts share."""

from collections.abc import Iterator

import pytest

from tests.support.unleash_stub import Edge


@pytest.fixture
def edge() -> Iterator[Edge]:
    made = Edge()
    yield made
    made.close()
