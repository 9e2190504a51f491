"""Two real hosts on one PostgreSQL and one Valkey: whatever fails, each reader gets every event once and in order.

The checker knows what was published: what a publisher was told is in the log, and what is in the log reaches everyone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from app.infra.lease import POLLER_LEASE
from tests.live.fleet import Fleet, fleet_of
from tests.live.test_engine_chaos import Publisher, check, check_same_bytes, for_user, logged
from tests.services.valkey import Valkey
from tests.support.machine import scaled
from tests.support.postgres import Postgres
from tests.support.postgres_host import PostgresHost
from tests.support.waiting import wait_for

USERS = ("alice", "bob")
READERS = 5


@dataclass(frozen=True, slots=True)
class Deployment:
    postgres: Postgres
    valkey: Valkey
    hosts: list[PostgresHost]


@pytest.fixture(scope="module")
def shared(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory, forked_servers: None) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("hosts")
    address = postgres.migrated_database()
    with Valkey() as valkey:
        usual: dict[str, Any] = {"HEARTBEAT_S": 0.5, "DRAIN_S": 2, "REDIS_URL": valkey.url}
        hosts = [PostgresHost(folder / name, address, **usual) for name in ("one", "two")]
        try:
            for host in hosts:
                host.start()
            yield Deployment(postgres, valkey, hosts)
        finally:
            for host in hosts:
                host.end()


@pytest.fixture
def deployment(shared: Deployment) -> Iterator[Deployment]:
    """Both hosts serve when a test begins."""
    for host in shared.hosts:
        wait_for(host.is_ready, "both hosts to be ready", 30)
    yield shared
    for host in shared.hosts:
        host.disconnect()


class Watch:
    """Readers and a publisher at each host. `finish` ends them and compares what was read with what was published."""

    def __init__(self, deployment: Deployment, fleets: list[Fleet]) -> None:
        self._one = deployment.hosts[0]
        self._start = self._one.head()
        self.fleets = fleets
        for fleet in fleets:
            for user in USERS:
                fleet.open(user, READERS, after=self._start)
            fleet.all_open()
        self._publishers = [Publisher(host) for host in deployment.hosts]

    def goes_on(self) -> None:
        """Every reader gets what is published from now on, through either host."""
        before = [len(one.acknowledged) for one in self._publishers]

        def published() -> bool:
            for fleet in self.fleets:
                fleet.turn(0.01)
            return all(len(one.acknowledged) > count + 5 for one, count in zip(self._publishers, before, strict=True))

        wait_for(published, "both publishers to go on", 30)
        self._read_to(self._one.head())

    def finish(self, publish_at: PostgresHost) -> None:
        for publisher in self._publishers:
            publisher.stop()
        self._read_to(publish_at.publish([{"type": "last", "data": {}}])[0])
        events = logged(publish_at, self._start)
        acknowledged = [event_id for publisher in self._publishers for event_id in publisher.acknowledged]
        assert len(acknowledged) == len(set(acknowledged)) > 20
        assert set(acknowledged) <= {event_id for event_id, _ in events}
        readers = [reader for fleet in self.fleets for reader in fleet.readers]
        assert len(readers) == len(self.fleets) * len(USERS) * READERS
        for reader in readers:
            check(reader, for_user(reader.user, events))
        check_same_bytes(readers)

    def _read_to(self, event_id: int) -> None:
        """As far as it concerns them: an event for another audience moves nobody's cursor."""
        events = logged(self._one, self._start)
        for fleet in self.fleets:
            for reader in fleet.readers:
                mine = [one for one in for_user(reader.user, events) if one <= event_id]
                if mine:
                    fleet.all_have(mine[-1], 30, [reader])


@pytest.fixture
def watch(deployment: Deployment) -> Iterator[Watch]:
    with fleet_of(deployment.hosts[0]) as one, fleet_of(deployment.hosts[1]) as two:
        yield Watch(deployment, [one, two])


def test_a_killed_valkey_costs_nothing_but_time(deployment: Deployment, watch: Watch) -> None:
    watch.goes_on()
    deployment.valkey.stop()
    watch.goes_on()
    assert all(host.is_ready() for host in deployment.hosts)
    deployment.valkey.start()
    watch.goes_on()
    watch.finish(deployment.hosts[0])


def test_a_crashed_postgres_is_said_and_everything_goes_on_after_it(deployment: Deployment, watch: Watch) -> None:
    watch.goes_on()
    deployment.postgres.stop()
    wait_for(lambda: all(state(host) == 503 for host in deployment.hosts), "both hosts to say so", 20)
    deployment.postgres.start()
    wait_for(lambda: all(state(host) == 200 for host in deployment.hosts), "both hosts to be ready again", 20)
    watch.goes_on()
    watch.finish(deployment.hosts[1])


def test_a_frozen_postgres_is_said_and_everything_goes_on_after_it(deployment: Deployment, watch: Watch) -> None:
    watch.goes_on()
    deployment.postgres.freeze()
    try:
        wait_for(lambda: all(state(host) == 503 for host in deployment.hosts), "both hosts to say so", 20)
    finally:
        deployment.postgres.thaw()
    wait_for(lambda: all(state(host) == 200 for host in deployment.hosts), "both hosts to be ready again", 30)
    watch.goes_on()
    watch.finish(deployment.hosts[0])


def test_the_readers_and_the_polls_of_a_killed_host_go_on_at_the_other(deployment: Deployment, watch: Watch) -> None:
    one, two = deployment.hosts
    watch.goes_on()
    one.kill()
    watch.fleets[0].address = ("127.0.0.1", two.port)
    try:
        watch.fleets[0].all_open(30)
        wait_for(lambda: polling_pid(two) in two.background_pids(), "the other host's worker to poll", 60)
    finally:
        one.start()
    watch.goes_on()
    watch.finish(two)


def state(host: PostgresHost) -> int:
    try:
        return requests.get(f"{host.url}/readyz", timeout=scaled(10)).status_code
    except requests.RequestException:
        return 0


def polling_pid(host: PostgresHost) -> int:
    """The process that holds the lease, as `HOST:PID:TOKEN`; 0 if nobody does."""
    rows = host.sql("SELECT holder FROM lease WHERE name = ? AND expires_at > extract(epoch FROM now())", POLLER_LEASE)
    return int(rows[0][0].split(":")[-2]) if rows else 0
