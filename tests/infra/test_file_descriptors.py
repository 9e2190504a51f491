"""Descriptors: streams stay below the limit, and the limit is as high as it may be."""

import resource
from collections.abc import Iterator

import pytest

from app.infra import file_descriptors


@pytest.fixture
def _same_limits() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("limit", [256, 1024, 4096, 10_400, 65_536, 1_048_576])
def test_as_many_streams_as_a_limit_allows_need_no_more_than_it(limit: int) -> None:
    assert limit - 2 <= file_descriptors.count_needed(file_descriptors.stream_capacity(limit)) <= limit


def test_a_tiny_limit_still_allows_a_stream() -> None:
    assert file_descriptors.stream_capacity(64) == 1


@pytest.mark.usefixtures("_same_limits")
def test_the_limit_is_raised_as_far_as_it_may_be() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    assert file_descriptors.soft_limit() == 512
    assert file_descriptors.raise_descriptor_limit() == file_descriptors.hard_limit() == file_descriptors.soft_limit()


def test_a_limit_that_cannot_be_raised_stays(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(which: int, limits: tuple[int, int]) -> None:
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda which: (512, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert file_descriptors.raise_descriptor_limit() == 512
    assert "stays at 512" in caplog.text
    assert file_descriptors.hard_limit() > 10**9
