"""The lease: one holder at a time, a fence that only grows, and nothing written by who no longer holds it."""

import threading

import pytest
import sqlalchemy as sa
from flask import Flask

from app.db import now_epoch, read, write
from app.infra.lease import Lease, LeaseLost, LeaseRow
from tests.support.machine import scaled


def row() -> LeaseRow:
    with read() as session:
        return session.scalars(sa.select(LeaseRow)).one()


def run_out() -> None:
    """The holder's time is over, as if it had been frozen for longer than the lease lasts."""
    with write() as session:
        session.execute(sa.update(LeaseRow).values(expires_at=now_epoch() - 0.001))


def act(lease: Lease) -> None:
    """Something that only the holder may do, in a transaction that begins as all of them must."""
    with write() as session:
        lease.guard(session)
        session.execute(sa.update(LeaseRow).values(expires_at=LeaseRow.expires_at + 1))


def test_the_first_taker_gets_a_free_lease(leased: Flask) -> None:
    lease = Lease()
    assert lease.try_acquire()
    assert (row().holder, row().fence) == (lease.holder, 1)


def test_a_second_taker_gets_nothing_while_it_is_held(leased: Flask) -> None:
    first, second = Lease(), Lease()
    assert first.try_acquire()
    assert not second.try_acquire()
    assert first.renew()
    with pytest.raises(LeaseLost):
        act(second)


def test_the_holder_may_act(leased: Flask) -> None:
    lease = Lease()
    lease.try_acquire()
    before = row().expires_at
    act(lease)
    assert row().expires_at == pytest.approx(before + 1, abs=0.001)


def test_nobody_may_act_before_taking_it(leased: Flask) -> None:
    with pytest.raises(LeaseLost):
        act(Lease())


def test_a_lease_that_ran_out_goes_to_another_with_a_higher_fence(leased: Flask) -> None:
    first, second = Lease(), Lease()
    first.try_acquire()
    run_out()
    assert second.try_acquire()
    assert (row().holder, row().fence) == (second.holder, 2)


def test_a_frozen_and_thawed_holder_cannot_act(leased: Flask) -> None:
    frozen, other = Lease(), Lease()
    frozen.try_acquire()
    run_out()
    other.try_acquire()
    before = row().expires_at
    with pytest.raises(LeaseLost):
        act(frozen)
    assert row().expires_at == before


def test_a_holder_whose_time_is_over_cannot_act_even_if_nobody_took_over(leased: Flask) -> None:
    lease = Lease()
    lease.try_acquire()
    run_out()
    with pytest.raises(LeaseLost):
        act(lease)
    assert not lease.renew()


def test_work_begun_under_an_earlier_claim_is_not_finished_under_a_later_one(leased: Flask) -> None:
    lease = Lease()
    lease.try_acquire()
    old = lease.claim()
    run_out()
    assert lease.try_acquire()
    with write() as session, pytest.raises(LeaseLost):
        old.guard(session)
    with write() as session:
        lease.claim().guard(session)


def test_renewing_puts_the_end_off(leased: Flask) -> None:
    lease = Lease(ttl_s=10)
    lease.try_acquire()
    with write() as session:
        session.execute(sa.update(LeaseRow).values(expires_at=now_epoch() + 0.5))
    assert lease.renew()
    with read() as session:
        left = session.execute(sa.select(LeaseRow.expires_at - now_epoch())).scalar_one()
    assert 9 < left <= 10


def test_releasing_lets_another_take_it_at_once_and_the_fence_grows_on(leased: Flask) -> None:
    first, second = Lease(), Lease()
    first.try_acquire()
    first.release()
    with pytest.raises(LeaseLost):
        first.claim()
    assert second.try_acquire()
    assert row().fence == 2


def test_releasing_what_was_lost_takes_nothing_from_the_new_holder(leased: Flask) -> None:
    first, second = Lease(), Lease()
    first.try_acquire()
    run_out()
    second.try_acquire()
    first.release()
    assert second.renew()


def test_leases_of_other_names_do_not_meet(leased: Flask) -> None:
    assert Lease("a").try_acquire()
    assert Lease("b").try_acquire()


def test_of_many_takers_at_once_exactly_one_succeeds(leased: Flask) -> None:
    leases = [Lease() for _ in range(8)]
    barrier = threading.Barrier(len(leases))
    taken: list[Lease] = []

    def take(lease: Lease) -> None:
        with leased.app_context():
            barrier.wait(scaled(5))
            if lease.try_acquire():
                taken.append(lease)

    threads = [threading.Thread(target=take, args=(lease,)) for lease in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(scaled(10))
    assert len(taken) == 1
    assert (row().holder, row().fence) == (taken[0].holder, 1)
