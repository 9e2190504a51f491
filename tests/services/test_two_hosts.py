"""Two real hosts on one PostgreSQL and one Valkey: whatever fails, each reader gets every event once and in order.

The checker knows what was published: what a publisher was told is in the log, and what is in the log reaches everyone.
"""

import signal
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa

from app.accounts import users
from app.accounts.models import ApiToken, User
from app.audit.verify import verify
from app.db import write
from app.infra.lease import POLLER_LEASE
from tests.live.fleet import Fleet, Reader, fleet_of
from tests.live.test_engine_chaos import Publisher, check, check_same_bytes, for_user, logged
from tests.services.valkey import Valkey
from tests.support.demo_service import DemoService, start_demo
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


@contextmanager
def two_hosts(postgres: Postgres, folder: Path) -> Iterator[Deployment]:
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


@pytest.fixture(scope="module")
def shared(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory, forked_servers: None) -> Iterator[Deployment]:
    with two_hosts(postgres, tmp_path_factory.mktemp("hosts")) as made:
        yield made


@pytest.fixture
def deployment(shared: Deployment) -> Iterator[Deployment]:
    """Both hosts serve when a test begins."""
    for host in shared.hosts:
        wait_for(host.is_ready, "both hosts to be ready", 30)
    yield shared
    for host in shared.hosts:
        host.disconnect()


@pytest.fixture
def demo_service(tmp_path: Path) -> Iterator[DemoService]:
    made = start_demo(tmp_path)
    yield made
    made.stop()


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
        """Only events that these readers may see: one for another audience does not move their cursor."""
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


def test_the_readers_and_the_polls_of_a_killed_host_go_on_at_the_other(
    postgres: Postgres, tmp_path: Path, forked_servers: None
) -> None:
    with two_hosts(postgres, tmp_path) as deployment, ExitStack() as stack:
        one, two = deployment.hosts
        wait_for(lambda: polling_pid(one), "a worker to poll", 30)
        dying, other = (one, two) if polling_pid(one) in one.background_pids() else (two, one)
        fleets = [stack.enter_context(fleet_of(host)) for host in (dying, other)]
        watch = Watch(deployment, fleets)
        watch.goes_on()
        dying.kill()
        fleets[0].address = fleets[1].address
        fleets[0].all_open(30)
        wait_for(lambda: polling_pid(other) in other.background_pids(), "the other host's worker to poll", 60)
        watch.finish(other)
        for host in deployment.hosts:
            host.disconnect()


def test_a_rolling_restart_of_both_hosts_loses_and_repeats_nothing(deployment: Deployment, watch: Watch) -> None:
    watch.goes_on()
    for host, fleet in zip(deployment.hosts, watch.fleets, strict=True):
        before = set(host.worker_pids())
        host.signal(signal.SIGHUP)
        fleet.until(partial(is_replaced, host, before), "new workers", 60)
        watch.goes_on()
    watch.finish(deployment.hosts[0])


def test_what_one_host_decides_is_so_at_both(deployment: Deployment) -> None:
    """A revoked token, and a flag that is switched off."""
    one, two = deployment.hosts
    with fleet_of(one) as here, fleet_of(two) as there:
        revoked = two.bearer("charlie", "stream")
        for fleet in (here, there):
            fleet.open("charlie", headers=revoked, comes_back=False)
            fleet.open("alice", comes_back=False)
            fleet.all_open()
        with one.app.app_context(), write() as session:
            [token] = session.scalars(sa.select(ApiToken).join(User).where(User.name == "charlie")).all()
            users.revoke_token(session, token.id, "test")
        for fleet in (here, there):
            charlie, alice = fleet.readers
            wait_until_away(fleet, charlie)
            assert alice.is_open
        one.set_rollout(100, enabled=False)
        try:
            for fleet in (here, there):
                wait_until_away(fleet, fleet.readers[1])
                assert b"flag-off" in fleet.readers[1].byes[-1]
        finally:
            one.set_rollout(100)


def test_fifty_identical_commands_at_two_hosts_run_once(deployment: Deployment, demo_service: DemoService) -> None:
    one, two = deployment.hosts
    one.watch("shop", demo_service.url)
    job_id = demo_service.create_job(state="failed", ageS=60)["id"]
    wanted = {"commandId": str(uuid.uuid4()), "actionType": "retry-job", "service": "shop", "target": job_id}

    headers = one.bearer("bob", "command")

    def ask(number: int) -> tuple[int, str] | None:
        host = deployment.hosts[number % 2]
        answer = requests.post(f"{host.url}/commands/run", json=wanted, headers=headers, timeout=scaled(20))
        if answer.status_code == 503:
            return None  # busy: a client asks again, with the same id
        return answer.status_code, answer.json().get("commandId", answer.text)

    def run(number: int) -> tuple[int, str] | None:
        return wait_for(lambda: ask(number), "an answer that is not 503", 20)

    with ThreadPoolExecutor(10) as threads:
        assert set(threads.map(run, range(50))) == {(202, wanted["commandId"])}

    def phase() -> str:
        headers = two.bearer("bob", "read")
        answer = requests.get(f"{two.url}/commands/{wanted['commandId']}", headers=headers, timeout=scaled(20))
        return str(answer.json()["phase"])

    wait_for(lambda: phase() == "success", "the command to succeed", 30)
    assert len([call for call in demo_service.calls() if call["path"].endswith(f"{job_id}/retry")]) == 1
    with one.app.app_context():
        assert verify().broken is None, "one chain, whoever wrote it"


def wait_until_away(fleet: Fleet, reader: Reader) -> None:
    fleet.until(lambda: reader.is_away, "the end of the stream", 10)


def is_replaced(host: PostgresHost, before: set[int]) -> bool:
    return not before & set(host.worker_pids()) and host.is_ready()


def state(host: PostgresHost) -> int:
    try:
        return requests.get(f"{host.url}/readyz", timeout=scaled(10)).status_code
    except requests.RequestException:
        return 0


def polling_pid(host: PostgresHost) -> int:
    """The process that holds the lease, as `HOST:PID:TOKEN`; 0 if nobody does."""
    rows = host.sql("SELECT holder FROM lease WHERE name = ? AND expires_at > extract(epoch FROM now())", POLLER_LEASE)
    return int(rows[0][0].split(":")[-2]) if rows else 0
